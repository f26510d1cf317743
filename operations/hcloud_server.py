"""Servers of a Hetzner Cloud project: created where they can be had, and in their networks, protected and running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hcloud import Networks, PlacementGroups, Servers
from facts.hcloud_load_balancer import LoadBalancers
from operations.config_file import Commands
from operations.hcloud_object import SEEN_WITHIN_S, SERVER, Listed, Thing, act, by_name, call, present
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
        networks: {private network that it is in, whatever else it is in: its address there}.
        placement_group: name of its group, "" for none.
        firewalls: names of those that filter it from its first moment; a label selector takes seconds to see it.
        public: of "ipv4" and "ipv6" those that it gets a public address of.
        primary_ips: {"ipv4" or "ipv6": name of the address that it gets instead of a new one}.
        reverse_dns: {"ipv4" or "ipv6": name}.
        user_data: for cloud-init. Every process on the server may read it: no secrets.
        protected: from deletion and rebuild.
        spread: where the fewest of its pool are is asked first, when it is bought.
        most_per_location: how many of its pool there may be in one location; None: any number.
        pin: the known_hosts file in which its first host key is pinned before it is asked for; "" for no key of ours.
        monthly_cost: what it adds to a month's price where it is asked for first, as the plan shows it.
    """

    name: str
    candidates: Sequence[tuple[str, str]]
    image: str
    ssh_keys: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    placement_group: str = ""
    firewalls: Sequence[str] = ()
    public: Sequence[str] = ("ipv4", "ipv6")
    primary_ips: Mapping[str, str] = field(default_factory=dict)
    reverse_dns: Mapping[str, str] = field(default_factory=dict)
    user_data: str = ""
    protected: bool = True
    spread: bool = False
    most_per_location: int | None = None
    pin: str = ""
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
    yield from converged(servers, cluster)


def converged(servers: Sequence[Server], cluster: str) -> Commands:
    """What `declared` does, for operations that decide more about servers."""
    found = host.get_fact(Servers)
    networks, groups = host.get_fact(Networks), host.get_fact(PlacementGroups)
    balancers = host.get_fact(LoadBalancers)
    if any(isinstance(one, Unknown) for one in (networks, groups, balancers)):
        yield from changes.refuse(f"cannot converge servers: {host.name} could not be read; see the error above")
        return
    there = by_name(found)
    names = _Names(_by_id(networks), _by_id(groups))
    holders = _holders(there, names) | _holders(by_name(balancers), names, "load balancer ")
    refusals = [said for one in servers for said in _refusals(one, there.get(one.name), names)]
    if refusals := refusals + [said for one in servers for said in _held(one, holders)]:
        for sentence in refusals:
            yield from changes.refuse(sentence)
        return
    things = [_thing(one, there.get(one.name), names) for one in servers]
    yield from present(SERVER, things, found, cluster)


def _by_id(found: Listed) -> dict[int, str]:
    return {one["id"]: name for name, one in by_name(found).items()}


def _refusals(server: Server, found: Mapping[str, Any] | None, names: _Names) -> list[str]:
    """Why it is not created, or not made so."""
    there, cannot = found is not None, f"cannot create server {server.name}"
    refusals = _moved(server, found, names) if found else []
    if redact(server.user_data) != server.user_data:
        refusals.append(f"{cannot}: found a secret in its user data, which everybody on it may read; take it out")
    if len(server.user_data.encode()) > LARGEST_USER_DATA_BYTES:
        refusals.append(f"{cannot}: found user data of {len(server.user_data.encode())} bytes, of at most 32 KiB")
    if not there and not server.ssh_keys:
        refusals.append(f"{cannot}: found no SSH key, so its root would get a password by mail; declare one")
    if not there and not server.candidates:
        refusals.append(f"{cannot}: found no type and location to ask for; declare more of them")
    return refusals


def _moved(server: Server, found: Mapping[str, Any], names: _Names) -> list[str]:
    """A running server does not change its address: whoever knows it by that would go on with another one."""
    there = {names.networks.get(net["network"], ""): net["ip"] for net in found["private_net"]}
    return [
        f"cannot give server {server.name} the address {address} in the network {network}: found {there[network]}; "
        "declare that one, or replace the server"
        for network, address in server.networks.items()
        if there.get(network, address) != address
    ]


_Place = tuple[str, str]  # network, address


def _holders(there: Mapping[str, Mapping[str, Any]], names: _Names, kind: str = "") -> dict[_Place, str]:
    """{place: who has it}. A load balancer took whichever address was free first."""
    return {
        (names.networks.get(net["network"], ""), net["ip"]): f"{kind}{holder}"
        for holder, one in there.items()
        for net in one["private_net"]
    }


def _held(server: Server, holders: Mapping[_Place, str]) -> list[str]:
    """Whoever has its address keeps it, and its pinned key: else there would be one server more that cannot start."""
    return [
        f"cannot give server {server.name} the address {place[1]} in the network {place[0]}: {holders[place]} has it; "
        "delete or rename that one first, or declare another address"
        for place in server.networks.items()
        if holders.get(place, server.name) != server.name
    ]


def _thing(server: Server, found: Mapping[str, Any] | None, names: _Names) -> Thing:
    if found is None:
        return _new(server)
    attached = {
        names.networks.get(net["network"], f"network {net['network']}"): net["ip"] for net in found["private_net"]
    }
    lacking = {network: address for network, address in server.networks.items() if network not in attached}
    wanted = pointers(server.reverse_dns)
    return Thing(
        server.name,
        attributes={
            "networks": _places(attached | lacking),
            "placement group": server.placement_group,
            "power": "running",
            **wanted,
        },
        now={
            "networks": _places(attached),
            "power": found["status"],
            "placement group": names.groups.get(found["placement_group"] or 0, ""),
            **pointers(server.reverse_dns, found),
        },
        create={},
        corrections={
            "networks": [*_made(server, found), *_attached(server, lacking)],
            "power": _on(server, found, lacking),
            **set_pointer(SERVER, server.name, server.reverse_dns),
        },
        labels=server.labels,
        until={"status": "running"},
        protected=server.protected,
    )


def _made(server: Server, found: Mapping[str, Any]) -> list[StringCommand]:
    """One that a killed run left in the middle of its creation comes to be, off, before anything else is done."""
    until = {"until": {"status": "off"}, "within_s": SEEN_WITHIN_S}
    return [call("AWAIT", (SERVER.path, server.name), until)] if found["status"] == "initializing" else []


def _attached(server: Server, lacking: Mapping[str, str]) -> list[StringCommand]:
    return [
        act(SERVER, server.name, "attach_to_network", {"network": network, **({"ip": address} if address else {})})
        for network, address in lacking.items()
    ]


def _on(server: Server, found: Mapping[str, Any], lacking: Mapping[str, str]) -> list[StringCommand]:
    """After its networks: what has none cannot be started. One that starts already is only waited for."""
    if found["status"] not in {"off", "initializing"}:
        return []
    return [*(() if lacking else _made(server, found)), act(SERVER, server.name, "poweron")]


def _places(networks: Mapping[str, str]) -> str:
    return ", ".join(sorted(f"{name} ({address})" if address else name for name, address in networks.items()))


def _new(server: Server) -> Thing:
    """It is made off and in no network, gets its address, and then is started: so it never has another one."""
    asked = [f"{server_type} in {location}" for server_type, location in server.candidates]
    named = set_pointer(SERVER, server.name, server.reverse_dns).values()
    after = [*_attached(server, server.networks), act(SERVER, server.name, "poweron")]
    return Thing(
        server.name,
        attributes={
            "type": asked[0]
            + (f"; may fall back, if it cannot be had, to {', '.join(asked[1:])}" if asked[1:] else ""),
            "monthly cost": server.monthly_cost,
            "image": server.image,
            "networks": _places(server.networks),
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
        after=after + [command for commands in named for command in commands],
        protected=server.protected,
    )


def _create(server: Server) -> dict[str, Any]:
    public = {f"enable_{family}": family in server.public for family in ("ipv4", "ipv6")}
    wanted = {
        "candidates": [list(pair) for pair in server.candidates],
        "image": server.image,
        "ssh_keys": list(server.ssh_keys),
        "firewalls": [{"firewall": one} for one in server.firewalls],
        "public_net": {**public, **server.primary_ips},
        "start_after_create": False,
        "spread": server.spread,
    }
    most = {} if server.most_per_location is None else {"most_per_location": server.most_per_location}
    group = {"placement_group": server.placement_group} if server.placement_group else {}
    address = next(iter(server.networks.values()), "")
    pin = {"pin": {"file": server.pin, "address": address}} if server.pin else {}
    return {**wanted, **most, **group, **pin, **({"user_data": server.user_data} if server.user_data else {})}
