"""The S3 gateway on every node: applications speak with their own node, by the name s3.<domain>."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys import pki
from deploys.base import addresses
from deploys.object_storage import endpoint, is_member
from facts.s3_gateway import USER
from operations import package, s3_gateway
from operations.s3_gateway_config import Gateway
from unterbau.declaration import ObjectStorage


@deploy("gateway")
def gateway_roots(roots_change: bool = False) -> None:
    """Before the members: a gateway that runs knows a new root before they show certificates of it."""
    s3_gateway.trusting(gateway=_gateway(), roots_change=roots_change, name="trusted roots", _serial=True)


@deploy("gateway")
def gateway() -> None:
    """After the members: HAProxy starts without them too, and says 503 until they serve."""
    needed = ["haproxy", "nftables"]  # members have curl, and say so
    package.installed(names=needed if is_member() else ["curl", *needed], name="packages")
    leaf = pki.leaf(
        service="s3-gateway",
        user=USER,
        group=USER,
        dns_names=[f"s3.{host.data.network.domain}", "localhost"],
        addresses=["127.0.0.1"],
        usages=("server",),
    )
    s3_gateway.running(gateway=_gateway(), certificate_changes=leaf.will_change, name="HAProxy", _serial=True)
    if is_member():
        s3_gateway.drained(gateway=_gateway(), node=host.data.node.name, name="farewell of the member")


def _gateway() -> Gateway:
    """This node's."""
    declared: ObjectStorage = host.data.object_storage
    return Gateway(
        address=str(host.data.node.address),
        port=declared.gateway_port,
        members={node: address for pool in declared.pools for node, address in addresses(pool.nodes).items()},
        gateways=list(addresses("all").values()),
        member_port=endpoint().port,
        domain=host.data.network.domain,
    )
