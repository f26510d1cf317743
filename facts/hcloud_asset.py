"""What a Hetzner Cloud project lends to servers, and what outlives them: volumes, primary and floating addresses."""

from __future__ import annotations

from typing import Any

from pyinfra.api import FactBase
from typing_extensions import override

from facts.hcloud_object import Listed, Object, Pointer, common, pointers
from unterbau.domain.unknown import AfterApply, Unknown


class Volume(Object):
    """One volume. `server` is None while none has it."""

    size: int  # GB as the API counts them
    location: str
    server: int | None
    format: str | None  # as it was made: xfs, ext4
    status: str  # available, creating
    linux_device: str
    protection: dict[str, bool]


class Volumes(Listed[Volume], FactBase[list[Volume] | Unknown | AfterApply]):
    """All volumes."""

    kind = "volumes"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> Volume:
        return Volume(
            **common(value),
            size=value["size"],
            location=value["location"]["name"],
            server=value["server"],
            format=value["format"],
            status=value["status"],
            linux_device=value["linux_device"],
            protection=dict(value["protection"]),
        )


class PrimaryIp(Object):
    """One address that a server is created with; an IPv6 one is a network. `assignee_id` is None while none has it."""

    type: str  # ipv4, ipv6
    ip: str
    location: str
    assignee_id: int | None
    auto_delete: bool  # goes with its server
    dns_ptr: list[Pointer]
    protection: dict[str, bool]


class PrimaryIps(Listed[PrimaryIp], FactBase[list[PrimaryIp] | Unknown | AfterApply]):
    """All primary addresses, those that servers brought along too."""

    kind = "primary_ips"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> PrimaryIp:
        return PrimaryIp(
            **common(value),
            type=value["type"],
            ip=value["ip"],
            location=value["location"]["name"],
            assignee_id=value["assignee_id"],
            auto_delete=value["auto_delete"],
            dns_ptr=pointers(value["dns_ptr"]),
            protection=dict(value["protection"]),
        )


class FloatingIp(Object):
    """One address that moves between running servers; an IPv6 one is a network."""

    type: str  # ipv4, ipv6
    ip: str
    description: str
    home_location: str
    server: int | None
    dns_ptr: list[Pointer]
    protection: dict[str, bool]


class FloatingIps(Listed[FloatingIp], FactBase[list[FloatingIp] | Unknown | AfterApply]):
    """All floating addresses."""

    kind = "floating_ips"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> FloatingIp:
        return FloatingIp(
            **common(value),
            type=value["type"],
            ip=value["ip"],
            description=value["description"] or "",
            home_location=value["home_location"]["name"],
            server=value["server"],
            dns_ptr=pointers(value["dns_ptr"]),
            protection=dict(value["protection"]),
        )
