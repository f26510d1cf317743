"""Primary addresses of a Hetzner Cloud project: what a server is reached at, kept when it is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from facts.hcloud_asset import PrimaryIps
from operations.config_file import Commands
from operations.hcloud_object import PRIMARY_IP, Thing, by_name, call, present
from operations.hcloud_reverse_dns import pointers, set_pointer


@dataclass(frozen=True)
class PrimaryIp:
    """One address as it should be; `type` is "ipv4" or "ipv6", whose address is a network."""

    name: str
    type: str
    location: str
    reverse_dns: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)  # besides our marks
    protected: bool = True


@operation()
def declared(addresses: list[PrimaryIp], *, cluster: str) -> Commands:
    """Each of these addresses is there and outlives the server that has it. Servers are created with them.

    Args:
        addresses: as they should be.
        cluster: whose they are.
    """
    found = host.get_fact(PrimaryIps)
    there = by_name(found)
    things = [_thing(address, there.get(address.name)) for address in addresses]
    yield from present(PRIMARY_IP, things, found, cluster)


def _thing(address: PrimaryIp, found: Mapping[str, Any] | None) -> Thing:
    names = {address.type: address.reverse_dns} if address.reverse_dns else {}
    named = set_pointer(PRIMARY_IP, address.name, names)
    return Thing(
        address.name,
        attributes={
            "type": address.type,
            "location": address.location,
            "goes with its server": "no",
            **pointers(names),
        },
        now=_now(names, found) if found else {},
        create={
            "type": address.type, "assignee_type": "server", "location": address.location, "auto_delete": False,
        },
        corrections={
            "goes with its server": [call("PUT", (PRIMARY_IP.path, address.name), {"auto_delete": False})], **named,
        },
        until={"auto_delete": False},
        after=[command for commands in named.values() for command in commands],
        labels=address.labels,
        protected=address.protected,
    )  # fmt: skip


def _now(names: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "type": found["type"],
        "location": found["location"],
        "goes with its server": "yes" if found["auto_delete"] else "no",
        **pointers(names, found),
    }
