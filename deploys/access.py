"""The base layer's access side: who may log in, how, and from where. Called by deploys/base.py."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from deploys.leaving import leaving
from operations import firewall as node_firewall
from operations import operator_account
from operations import ssh_server as sshd
from operations.operator_account import Operator
from unterbau.declaration import K3s, flows_of
from unterbau.declaration.rules_k3s_flows import ports_of
from unterbau.domain.flows import Accept, FlowLike, accepts, counted_in

LEAVING = "nodes that leave K3s"  # no group is called so: names of groups have no spaces


@deploy("access")
def operators() -> None:
    """Before `ssh_server`: its drop-in sends the members of the operators' group to our key files."""
    operator_account.exactly(
        operators=[Operator(who.name, who.authorized_keys, who.sudo) for who in host.data.operators],
        connected_as=host.data.ssh_user,
        name="operators",
    )


@deploy("access")
def ssh_server() -> None:
    declared = host.data.ssh_server
    sshd.hardened(
        port=declared.port,
        ciphers=declared.ciphers,
        kex_algorithms=declared.kex_algorithms,
        macs=declared.macs,
        host_key_algorithms=declared.host_key_algorithms,
        max_auth_tries=declared.max_auth_tries,
        login_grace_s=declared.login_grace_s,
        client_alive_s=declared.client_alive_s,
        connected_as=host.data.ssh_user,
        operators=[who.name for who in host.data.operators],
        permit_root_login=declared.permit_root_login,
        name="ssh server",
        _serial=True,
    )


@deploy("access")
def firewall() -> None:
    network = host.data.network
    node_firewall.default_deny(
        accepts=accepted(),
        pingers=[str(network.cidr), *(str(cidr) for cidr in network.controllers)],
        name="firewall",
        _serial=True,
    )


def accepted() -> list[Accept]:
    """What this node accepts, by the flows that are declared."""
    cluster = host.data.get("k3s")
    controllers = [str(cidr) for cidr in host.data.network.controllers]
    # A pod that reaches its own node does so with its own address.
    pods = [str(cluster.cluster_cidr)] if cluster else []
    sources = {**groups(), "controllers": controllers, "pods": pods, LEAVING: _leaving()}
    flows: list[FlowLike] = list(flows_of(host.data))
    return accepts([*flows, *_of_leaving(cluster, flows)], sources, str(host.data.node.address))


def _of_leaving(cluster: K3s | None, flows: list[FlowLike]) -> list[FlowLike]:
    """K3s' own ways stay open for who leaves, as long as it is named: in no group, and yet a member until it is out.

    A vote that nobody reaches cannot be taken out. Whether it was a server or an agent nobody has declared.
    """
    return counted_in(LEAVING, {cluster.servers, cluster.agents}, ports_of(cluster), flows) if cluster else []


def groups() -> dict[str, list[str]]:
    """{group: addresses of its nodes}; "all" is every node of the inventory, also outside a --limit."""
    members = {"all": list(inventory), **inventory.groups}
    return {
        group: sorted(str(member.data.node.address) for member in hosts if member.data.get("node"))
        for group, hosts in members.items()
    }


def _leaving() -> list[str]:
    nodes, gone = (one.data.node for one in inventory if one.data.get("node")), leaving()
    return [str(node.address) for node in nodes if node.name in gone]
