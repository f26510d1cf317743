"""Load balancers of a Hetzner Cloud project."""

from __future__ import annotations

from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.hcloud_object import Listed, Object, PrivateNet, common, private
from unterbau.domain.unknown import AfterApply, Unknown


class Target(TypedDict):
    """Whom a load balancer sends to; of the last three fields exactly one is not None."""

    type: str  # label_selector, server, ip
    use_private_ip: bool
    label_selector: str | None
    server: int | None
    ip: str | None


class LoadBalancer(Object):
    """One load balancer. A service is the API's own object: protocol, ports, proxyprotocol, http, health_check."""

    load_balancer_type: str
    location: str
    algorithm: str  # round_robin, least_connections
    services: list[dict[str, Any]]
    targets: list[Target]
    private_net: list[PrivateNet]
    public_interface: bool
    ipv4: str | None
    ipv6: str | None
    protection: dict[str, bool]


class LoadBalancers(Listed[LoadBalancer], FactBase[list[LoadBalancer] | Unknown | AfterApply]):
    """All load balancers."""

    kind = "load_balancers"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> LoadBalancer:
        public = value["public_net"]
        return LoadBalancer(
            **common(value),
            load_balancer_type=value["load_balancer_type"]["name"],
            location=value["location"]["name"],
            algorithm=value["algorithm"]["type"],
            services=[dict(one) for one in value["services"]],
            targets=[_target(one) for one in value["targets"]],
            private_net=[private(one) for one in value["private_net"]],
            public_interface=public["enabled"],
            ipv4=(public["ipv4"] or {}).get("ip"),
            ipv6=(public["ipv6"] or {}).get("ip"),
            protection=dict(value["protection"]),
        )


def _target(value: dict[str, Any]) -> Target:
    selector, server, address = value.get("label_selector"), value.get("server"), value.get("ip")
    return Target(
        type=value["type"],
        use_private_ip=bool(value.get("use_private_ip")),
        label_selector=selector["selector"] if selector else None,
        server=server["id"] if server else None,
        ip=address["ip"] if address else None,
    )
