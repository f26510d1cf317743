"""Servers of a Hetzner Cloud project and what they stand in: networks, placement groups, firewalls, public keys."""

from __future__ import annotations

from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.hcloud_object import Listed, Object, Pointer, PrivateNet, common, pointers, private
from unterbau.domain.unknown import AfterApply, Unknown


class Server(Object):
    """One server. `ipv6` is a network, of which the server has the first address."""

    status: str  # running, initializing, starting, stopping, off, deleting, migrating, rebuilding, unknown
    created: str
    server_type: str
    location: str
    image: str | None  # None: one that has no name, a snapshot
    placement_group: int | None
    ipv4: str | None
    ipv6: str | None
    dns_ptr: list[Pointer]
    private_net: list[PrivateNet]
    firewalls: list[int]
    volumes: list[int]
    protection: dict[str, bool]  # {delete, rebuild}


class Servers(Listed[Server], FactBase[list[Server] | Unknown | AfterApply]):
    """All servers."""

    kind = "servers"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> Server:
        public, group = value["public_net"], value.get("placement_group")
        return Server(
            **common(value),
            status=value["status"],
            created=value["created"],
            server_type=value["server_type"]["name"],
            location=value["location"]["name"],
            image=(value["image"] or {}).get("name"),
            placement_group=group["id"] if group else None,
            ipv4=(public["ipv4"] or {}).get("ip"),
            ipv6=(public["ipv6"] or {}).get("ip"),
            dns_ptr=_server_pointers(public),
            private_net=[private(one) for one in value["private_net"]],
            firewalls=[one["id"] for one in public.get("firewalls") or ()],
            volumes=list(value["volumes"]),
            protection=dict(value["protection"]),
        )


def _server_pointers(public: dict[str, Any]) -> list[Pointer]:
    four, six = public["ipv4"], public["ipv6"]
    of_four = [Pointer(ip=four["ip"], dns_ptr=four["dns_ptr"])] if four else []
    return of_four + pointers(six["dns_ptr"] if six else [])


class Subnet(TypedDict):
    """A part of a network. `ip_range` is CIDR."""

    type: str  # cloud, server, vswitch
    ip_range: str
    network_zone: str


class Route(TypedDict):
    """Where a network sends what is not its own."""

    destination: str  # CIDR
    gateway: str


class Network(Object):
    """One private network."""

    ip_range: str
    subnets: list[Subnet]
    routes: list[Route]
    servers: list[int]
    load_balancers: list[int]
    protection: dict[str, bool]


class Networks(Listed[Network], FactBase[list[Network] | Unknown | AfterApply]):
    """All private networks."""

    kind = "networks"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> Network:
        return Network(
            **common(value),
            ip_range=value["ip_range"],
            subnets=[
                Subnet(type=one["type"], ip_range=one["ip_range"], network_zone=one["network_zone"])
                for one in value["subnets"]
            ],
            routes=[Route(destination=one["destination"], gateway=one["gateway"]) for one in value["routes"]],
            servers=list(value["servers"]),
            load_balancers=list(value.get("load_balancers") or ()),
            protection=dict(value["protection"]),
        )


class SshKey(Object):
    """One public key. A project has each only once, under whatever name."""

    fingerprint: str
    public_key: str


class SshKeys(Listed[SshKey], FactBase[list[SshKey] | Unknown | AfterApply]):
    """All public keys."""

    kind = "ssh_keys"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> SshKey:
        return SshKey(**common(value), fingerprint=value["fingerprint"], public_key=value["public_key"])


class PlacementGroup(Object):
    """Servers that run on different hosts."""

    type: str  # spread
    servers: list[int]


class PlacementGroups(Listed[PlacementGroup], FactBase[list[PlacementGroup] | Unknown | AfterApply]):
    """All placement groups."""

    kind = "placement_groups"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> PlacementGroup:
        return PlacementGroup(**common(value), type=value["type"], servers=list(value["servers"]))


class Rule(TypedDict):
    """One rule of a firewall; `port` is None where the protocol has none."""

    direction: str  # in, out
    protocol: str  # tcp, udp, icmp, esp, gre
    port: str | None  # "443", "30000-32767", "any"
    source_ips: list[str]  # CIDR; of a rule in
    destination_ips: list[str]  # CIDR; of a rule out
    description: str | None


class AppliedTo(TypedDict):
    """Whom a firewall filters: one server, or all with these labels. The other one is None."""

    type: str  # server, label_selector
    server: int | None
    label_selector: str | None


class Firewall(Object):
    """One firewall, which filters public interfaces only."""

    rules: list[Rule]
    applied_to: list[AppliedTo]


class Firewalls(Listed[Firewall], FactBase[list[Firewall] | Unknown | AfterApply]):
    """All firewalls."""

    kind = "firewalls"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> Firewall:
        return Firewall(
            **common(value),
            rules=[_rule(one) for one in value["rules"]],
            applied_to=[_applied_to(one) for one in value["applied_to"]],
        )


def _rule(value: dict[str, Any]) -> Rule:
    return Rule(
        direction=value["direction"],
        protocol=value["protocol"],
        port=value.get("port"),
        source_ips=list(value.get("source_ips") or ()),
        destination_ips=list(value.get("destination_ips") or ()),
        description=value.get("description"),
    )


def _applied_to(value: dict[str, Any]) -> AppliedTo:
    server, selector = value.get("server"), value.get("label_selector")
    return AppliedTo(
        type=value["type"],
        server=server["id"] if server else None,
        label_selector=selector["selector"] if selector else None,
    )
