"""Pools of servers in a Hetzner Cloud project: what each new server is asked for as, where, and for how much.

Who is in a pool is declared, by name; where one is bought follows from what is sold and from where the others are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from facts.hcloud import Servers
from facts.hcloud_catalogue import Pricing, ServerTypes
from operations import hcloud_server
from operations.config_file import Commands
from operations.hcloud_object import by_name
from operations.hcloud_server import Server
from unterbau import changes
from unterbau.domain.capacity import Candidate, Offer, Purchase, Wish, offers, purchases
from unterbau.domain.cloud_cost import Item, cost
from unterbau.domain.cloud_labels import POOL, ours
from unterbau.domain.unknown import AfterApply, Unknown

FACTS: Sequence[type[FactBase[Any]]] = (Servers, ServerTypes, Pricing)
Market = Mapping[Candidate, Offer]


@dataclass(frozen=True)
class Pool:
    """One pool as it should be.

    Args:
        name: of it, as its servers' labels have it.
        types: server types in order of preference.
        locations: in order of preference.
        servers: in the order in which they are bought; what they are asked for as is decided here.
        spread: the next server goes where the fewest are.
        most_per_location: so many in one location at most; None: any number.
        places: {server: the one location that it may be in}, where something that it gets is bound to one.
        volumes_gb: sizes of the volumes that each server gets, for what it costs.
        votes: its servers are a quorum.
    """

    name: str
    types: Sequence[str]
    locations: Sequence[str]
    servers: list[Server] = field(default_factory=list)
    spread: bool = True
    most_per_location: int | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    volumes_gb: Sequence[int] = ()
    votes: bool = False

    def wish(self, server: str) -> Wish:
        """What `domain.capacity` is asked for."""
        locations = (self.places[server],) if server in self.places else tuple(self.locations)
        return Wish(tuple(self.types), locations, self.spread, self.most_per_location)

    def items(self, server: Server, candidate: Candidate) -> list[Item]:
        """What a server costs where it is bought: itself, the addresses that it brings along, its volumes."""
        families = [family for family in server.public if family not in server.primary_ips]
        return [
            Item("server", *candidate),
            *(Item("primary_ip", family, candidate.location) for family in families),
            *(Item("volume", location=candidate.location, size_gb=size) for size in self.volumes_gb),
        ]


@operation()
def servers(pools: list[Pool], *, cluster: str) -> Commands:
    """Each server of these pools is there, bought where it can be had. Those that are there stay as they are.

    Args:
        pools: with all of their servers.
        cluster: whose they are.
    """
    found: Any
    found, types, pricing = (host.get_fact(one) for one in FACTS)
    if any(isinstance(one, Unknown | AfterApply) for one in (found, types, pricing)):
        yield from changes.refuse(f"cannot buy servers: {host.name} could not be read; see the error above")
        return
    there, market = by_name(found), offers(types)
    bought = {pool.name: to_buy(pool, list(there.values()), cluster, market) for pool in pools}
    if lacking := [one for every in bought.values() for one in every.values() if not one.choice.candidates]:
        for purchase in lacking:
            yield from changes.refuse(str(purchase))
        return
    wanted = [_wanted(pool, one, bought[pool.name], pricing) for pool in pools for one in pool.servers]
    yield from hcloud_server.converged(wanted, cluster)


def to_buy(pool: Pool, there: Sequence[Mapping[str, Any]], cluster: str, market: Market) -> dict[str, Purchase]:
    """{server that lacks: what it is asked for as}, each as if those before it were had where they are asked first.

    Args:
        pool: whose servers they are.
        there: all servers of the project.
        cluster: whose servers in it count.
        market: what is sold where.
    """
    names = {one["name"] for one in there}
    locations = [one["location"] for one in of_pool(pool, there, cluster)]
    found = {}
    for server in (one for one in pool.servers if one.name not in names):
        [found[server.name]] = purchases([server.name], pool.wish(server.name), locations, market)
        locations += [candidate.location for candidate in found[server.name].choice.candidates[:1]]
    return found


def of_pool(pool: Pool, there: Sequence[Mapping[str, Any]], cluster: str) -> list[Mapping[str, Any]]:
    """The servers of a pool that are there."""
    return [one for one in there if ours(one["labels"], cluster) and one["labels"].get(POOL) == pool.name]


def _wanted(pool: Pool, server: Server, bought: Mapping[str, Purchase], pricing: Mapping[str, Any]) -> Server:
    if server.name not in bought:
        return server
    candidates = bought[server.name].choice.candidates
    return replace(
        server,
        candidates=candidates,
        spread=pool.spread,
        most_per_location=pool.most_per_location,
        monthly_cost=str(cost(pricing, pool.items(server, candidates[0]))),
    )
