"""Floating addresses of a Hetzner Cloud project: they move between running servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from facts.hcloud import Servers
from facts.hcloud_asset import FloatingIps
from operations.config_file import Commands
from operations.hcloud_object import FLOATING_IP, Thing, act, by_name, present
from operations.hcloud_reverse_dns import pointers, set_pointer
from unterbau import changes
from unterbau.domain.unknown import Unknown


@dataclass(frozen=True)
class FloatingIp:
    """One address as it should be. `server` "": whoever has it keeps it, for software of its own moves it."""

    name: str
    type: str  # ipv4, ipv6
    home_location: str
    server: str = ""
    reverse_dns: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)  # besides our marks
    protected: bool = True


@operation()
def declared(addresses: list[FloatingIp], *, cluster: str) -> Commands:
    """Each of these addresses is there, and the server that is declared has it.

    Args:
        addresses: as they should be.
        cluster: whose they are.
    """
    found, servers = host.get_fact(FloatingIps), host.get_fact(Servers)
    if isinstance(servers, Unknown):
        yield from changes.refuse(f"cannot converge floating_ips: {host.name} could not be read; see the error above")
        return
    there, names = by_name(found), {one["id"]: name for name, one in by_name(servers).items()}
    things = [_thing(address, there.get(address.name), names) for address in addresses]
    yield from present(FLOATING_IP, things, found, cluster)


def _thing(address: FloatingIp, found: Mapping[str, Any] | None, servers: Mapping[int, str]) -> Thing:
    names = {address.type: address.reverse_dns} if address.reverse_dns else {}
    named = set_pointer(FLOATING_IP, address.name, names)
    wanted = {"server": address.server} if address.server else {}
    return Thing(
        address.name,
        attributes={"type": address.type, "home location": address.home_location, **wanted, **pointers(names)},
        now=_now(names, found, servers) if found else {},
        create={"type": address.type, "home_location": address.home_location, **wanted},
        corrections={"server": [act(FLOATING_IP, address.name, "assign", wanted)], **named},
        after=[command for commands in named.values() for command in commands],
        labels=address.labels,
        protected=address.protected,
    )


def _now(names: Mapping[str, str], found: Mapping[str, Any], servers: Mapping[int, str]) -> dict[str, str]:
    return {
        "type": found["type"],
        "home location": found["home_location"],
        "server": servers.get(found["server"] or 0, ""),
        **pointers(names, found),
    }
