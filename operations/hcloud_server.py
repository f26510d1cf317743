"""Servers of a Hetzner Cloud project: created where they can be had, and in their networks, protected and running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from facts.hcloud import Networks, PlacementGroups, Servers
from operations.config_file import Commands
from operations.hcloud_object import SERVER, Listed, Thing, act, by_name, present
from operations.hcloud_reverse_dns import pointers, set_pointer
from unterbau import changes
from unterbau.domain.unknown import Unknown
from unterbau.secrets.hidden import redact

LARGEST_USER_DATA_BYTES = 32 << 10  # Source: Hetzner Cloud API, servers, user_data
NO_PRICE = "unknown"


@dataclass(frozen=True)
class Server:
    """One server as it should be. What only matters when it is created is not compared later.

    Args:
        name: also its host name.
        candidates: (type, location) in the order in which they are asked for; one that is there keeps its own.
        image: name of the image.
        ssh_keys: names of the keys that are let in at first.
        labels: besides our marks: its pool, its groups, others.
        networks: names of private networks that it is in, whatever else it is in.
        placement_group: name of its group, "" for none.
        firewalls: names of those that filter it from its first moment; a label selector takes seconds to see it.
        public: of "ipv4" and "ipv6" those that it gets a public address of.
        primary_ips: {"ipv4" or "ipv6": name of the address that it gets instead of a new one}.
        reverse_dns: {"ipv4" or "ipv6": name}.
        user_data: for cloud-init. Every process on the server may read it: no secrets.
        protected: from deletion and rebuild.
        spread: where the fewest of its pool are is asked first, when it is bought.
        most_per_location: how many of its pool there may be in one location; None: any number.
        monthly_cost: what it adds to a month's price where it is asked for first, as the plan shows it.
    """

    name: str
    candidates: Sequence[tuple[str, str]]
    image: str
    ssh_keys: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: Sequence[str] = ()
    placement_group: str = ""
    firewalls: Sequence[str] = ()
    public: Sequence[str] = ("ipv4", "ipv6")
    primary_ips: Mapping[str, str] = field(default_factory=dict)
    reverse_dns: Mapping[str, str] = field(default_factory=dict)
    user_data: str = ""
    protected: bool = True
    spread: bool = False
    most_per_location: int | None = None
    monthly_cost: str = NO_PRICE


@dataclass(frozen=True)
class _Names:
    """What ids of other kinds are called."""

    networks: Mapping[int, str]
    groups: Mapping[int, str]


@operation()
def declared(servers: list[Server], *, cluster: str) -> Commands:
    """Each of these servers is there and running. No other is deleted here.

    Args:
        servers: as they should be.
        cluster: whose they are.
    """
    found = host.get_fact(Servers)
    networks, groups = host.get_fact(Networks), host.get_fact(PlacementGroups)
    if isinstance(networks, Unknown) or isinstance(groups, Unknown):
        yield from changes.refuse(f"cannot converge servers: {host.name} could not be read; see the error above")
        return
    there = by_name(found)
    if refusals := [said for one in servers for said in _refusals(one, one.name in there)]:
        for sentence in refusals:
            yield from changes.refuse(sentence)
        return
    names = _Names(_by_id(networks), _by_id(groups))
    things = [_thing(one, there.get(one.name), names) for one in servers]
    yield from present(SERVER, things, found, cluster)


def _by_id(found: Listed) -> dict[int, str]:
    return {one["id"]: name for name, one in by_name(found).items()}


def _refusals(server: Server, there: bool) -> list[str]:
    """Why it is not created."""
    cannot = f"cannot create server {server.name}"
    refusals = []
    if redact(server.user_data) != server.user_data:
        refusals.append(f"{cannot}: found a secret in its user data, which everybody on it may read; take it out")
    if len(server.user_data.encode()) > LARGEST_USER_DATA_BYTES:
        refusals.append(f"{cannot}: found user data of {len(server.user_data.encode())} bytes, of at most 32 KiB")
    if not there and not server.ssh_keys:
        refusals.append(f"{cannot}: found no SSH key, so its root would get a password by mail; declare one")
    if not there and not server.candidates:
        refusals.append(f"{cannot}: found no type and location to ask for; declare more of them")
    return refusals


def _thing(server: Server, found: Mapping[str, Any] | None, names: _Names) -> Thing:
    if found is None:
        return _new(server)
    attached = [names.networks.get(one["network"], f"network {one['network']}") for one in found["private_net"]]
    lacking = [one for one in server.networks if one not in attached]
    wanted = pointers(server.reverse_dns)
    return Thing(
        server.name,
        attributes={
            "power": "running",
            "networks": ", ".join(sorted([*attached, *lacking])),
            "placement group": server.placement_group,
            **wanted,
        },
        now={
            "power": found["status"],
            "networks": ", ".join(sorted(attached)),
            "placement group": names.groups.get(found["placement_group"] or 0, ""),
            **pointers(server.reverse_dns, found),
        },
        create={},
        corrections={
            "power": [act(SERVER, server.name, "poweron")] if found["status"] == "off" else [],
            "networks": [act(SERVER, server.name, "attach_to_network", {"network": one}) for one in lacking],
            **set_pointer(SERVER, server.name, server.reverse_dns),
        },
        labels=server.labels,
        until={"status": "running"},
        protected=server.protected,
    )


def _new(server: Server) -> Thing:
    asked = [f"{server_type} in {location}" for server_type, location in server.candidates]
    after = [
        command for commands in set_pointer(SERVER, server.name, server.reverse_dns).values() for command in commands
    ]
    return Thing(
        server.name,
        attributes={
            "type": ", or else ".join(asked),
            "monthly cost": server.monthly_cost,
            "image": server.image,
            "networks": ", ".join(sorted(server.networks)),
            "placement group": server.placement_group,
            "public addresses": ", ".join(sorted(server.public)),
            "SSH keys": ", ".join(sorted(server.ssh_keys)),
            "user data": server.user_data,
            **pointers(server.reverse_dns),
        },
        now={},
        create=_create(server),
        labels=server.labels,
        until={"status": "running"},
        after=after,
        protected=server.protected,
    )


def _create(server: Server) -> dict[str, Any]:
    public = {f"enable_{family}": family in server.public for family in ("ipv4", "ipv6")}
    wanted = {
        "candidates": [list(pair) for pair in server.candidates],
        "image": server.image,
        "ssh_keys": list(server.ssh_keys),
        "networks": list(server.networks),
        "firewalls": [{"firewall": one} for one in server.firewalls],
        "public_net": {**public, **server.primary_ips},
        "start_after_create": True,
        "spread": server.spread,
    }
    most = {} if server.most_per_location is None else {"most_per_location": server.most_per_location}
    group = {"placement_group": server.placement_group} if server.placement_group else {}
    return {**wanted, **most, **group, **({"user_data": server.user_data} if server.user_data else {})}
