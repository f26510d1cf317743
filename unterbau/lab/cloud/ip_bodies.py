"""What requests about primary and floating IPs carry. Source: Hetzner Cloud API."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unterbau.lab.cloud.bodies import Body, Changed, IdOrName, Labels, Name

IpType = Literal["ipv4", "ipv6"]


class PrimaryIpChanged(Changed):
    """PUT of a primary IP."""

    auto_delete: bool | None = None


class FloatingIpChanged(Changed):
    """PUT of a floating IP."""

    description: str | None = None


class PrimaryIp(Body):
    """POST /primary_ips: at a location, or of a server."""

    name: Name
    type: IpType
    assignee_type: Literal["server"] = "server"
    assignee_id: int | None = None
    location: IdOrName | None = None
    auto_delete: bool = False
    labels: Labels = Field(default_factory=dict)


class PrimaryIpAssigned(Body):
    """assign."""

    assignee_id: int
    assignee_type: Literal["server"]


class FloatingIp(Body):
    """POST /floating_ips: at a location, or of a server."""

    type: IpType
    name: Name | None = None
    home_location: IdOrName | None = None
    server: int | None = None
    description: str | None = None
    labels: Labels = Field(default_factory=dict)


class FloatingIpAssigned(Body):
    """assign."""

    server: int
