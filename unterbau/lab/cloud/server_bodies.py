"""What requests about servers carry. Source: Hetzner Cloud API, "Servers"."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from unterbau.lab.cloud import limits
from unterbau.lab.cloud.bodies import Body, IdOrName, Labels, LoadBalancerNetworkJoined, NetworkLeft, Protection

_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*"
)


def _hostname(name: str) -> str:
    if not _HOSTNAME.fullmatch(name):
        raise ValueError(f"{name!r} is no hostname as in RFC 1123")
    return name


def _user_data(text: str) -> str:
    if len(text.encode()) > limits.USER_DATA_BYTES:
        raise ValueError(f"user data is longer than {limits.USER_DATA_BYTES} bytes")
    return text


Hostname = Annotated[str, AfterValidator(_hostname)]
UserData = Annotated[str, AfterValidator(_user_data)]


class ServerChanged(Body):
    """PUT of a server, whose name is a hostname."""

    name: Hostname | None = None
    labels: Labels | None = None


class ServerProtection(Protection):
    """change_protection of a server: both must be the same."""

    rebuild: bool | None = None


class ServerFirewall(Body):
    """{firewall}: one of a new server's."""

    firewall: int


class PublicNet(Body):
    """A new server's public addresses: on or off, and whose."""

    enable_ipv4: bool = True
    enable_ipv6: bool = True
    ipv4: int | None = None
    ipv6: int | None = None


class Server(Body):
    """POST /servers."""

    name: Hostname
    server_type: IdOrName
    image: IdOrName
    location: IdOrName | None = None
    start_after_create: bool = True
    ssh_keys: list[IdOrName] = Field(default_factory=list)
    volumes: list[int] = Field(default_factory=list)
    automount: bool = False
    networks: list[int] = Field(default_factory=list)
    firewalls: list[ServerFirewall] = Field(default_factory=list)
    placement_group: int | None = None
    public_net: PublicNet = PublicNet()
    user_data: UserData = ""
    labels: Labels = Field(default_factory=dict)


class Rebuild(Body):
    """rebuild; without user data the server keeps what it has."""

    image: IdOrName
    user_data: UserData | None = None


class ServerType(Body):
    """change_type of a server."""

    server_type: IdOrName
    upgrade_disk: bool


class PlacementGroupJoined(Body):
    """add_to_placement_group."""

    placement_group: int


class AliasIps(NetworkLeft):
    """change_alias_ips: the whole new list."""

    alias_ips: list[str]


class NetworkJoined(LoadBalancerNetworkJoined):
    """attach_to_network of a server."""

    alias_ips: list[str] = Field(default_factory=list)
