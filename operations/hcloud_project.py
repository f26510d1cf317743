"""A Hetzner Cloud project as a whole: what a plan tells of it, whatever there is to do. Nothing changes here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from facts.hcloud_catalogue import Pricing, ServerTypes
from operations.config_file import Commands
from operations.hcloud_declared import Declared
from operations.hcloud_object import Kind
from operations.hcloud_pool import Market, Pool, of_pool, to_buy
from operations.hcloud_withdrawal import ORDER, allowance
from unterbau import changes
from unterbau.domain.capacity import Candidate, offers, stays
from unterbau.domain.cloud_cost import Item, delta, item_of
from unterbau.domain.cloud_labels import CLUSTER, MANAGED_BY, US, ours
from unterbau.domain.location_loss import loss
from unterbau.domain.unknown import AfterApply, Unknown

COST, ORPHANS, STAYS, LOSS = "monthly cost", "orphans", "servers that stay", "loss of a location"
SHOWN = 10  # names of one kind

FACTS: Sequence[type[FactBase[Any]]] = (ServerTypes, Pricing)

Found = Mapping[str, Sequence[Mapping[str, Any]]]  # kind as the API lists it -> all objects, ours and others'


@operation()
def told(declared: Declared, *, cluster: str, deletions: Sequence[str] = ()) -> Commands:
    """The plan tells what a month costs before and after, whose else objects are here, and what is not as it would be.

    Args:
        declared: all of the project.
        cluster: whose it is.
        deletions: "<kind>/<name>" of those that may be deleted.
    """
    found: dict[str, Any] = {kind.path: host.get_fact(fact) for kind, fact in ORDER}
    types, pricing = (host.get_fact(one) for one in FACTS)
    if any(isinstance(one, Unknown | AfterApply) for one in (*found.values(), types, pricing)):
        yield from changes.refuse(f"cannot tell what there is: {host.name} could not be read; see the error above")
        return
    market = offers(types)
    changes.remark(COST, str(delta(pricing, *items(declared, found, cluster, deletions, market))))
    changes.remark(ORPHANS, orphans(found, cluster))
    for sentence in staying(declared.pools, found["servers"], cluster, market):
        changes.remark(STAYS, sentence)
    for sentence in losses(declared.pools, found["servers"], cluster, market):
        changes.remark(LOSS, sentence)
    host.noop("told what it costs and what else is there")


def items(
    declared: Declared, found: Found, cluster: str, deletions: Collection[str], market: Market
) -> tuple[list[Item], list[Item]]:
    """What is paid for before and after: by us, for what is ours and the addresses of our servers."""
    gone = {
        (kind.path, one["name"])
        for kind, _ in ORDER
        for one in found[kind.path]
        if ours(one["labels"], cluster)
        and one["name"] not in declared.names[kind.path]
        and allowance(kind, one["name"]) in deletions
    }
    before = [(key, item) for key, item in _there(found, cluster)]
    sizes = {volume.name: volume.size_gb for volume in declared.volumes}
    after = [_grown(item, sizes.get(key[1], 0)) for key, item in before if key not in gone]
    return [item for _, item in before], [*after, *_new(declared, found, cluster, market)]


def _there(found: Found, cluster: str) -> Iterator[tuple[tuple[str, str], Item]]:
    """((kind, name), item); an address that goes with its server counts as part of that."""
    servers = {one["id"]: one["name"] for one in found["servers"] if ours(one["labels"], cluster)}
    for kind, every in found.items():
        for one in every:
            brought = kind == "primary_ips" and one["auto_delete"] and one["assignee_id"] in servers
            item = item_of(kind, one) if brought or ours(one["labels"], cluster) else None
            if item:
                yield ("servers", servers[one["assignee_id"]]) if brought else (kind, one["name"]), item


def _grown(item: Item, size_gb: int) -> Item:
    return Item("volume", location=item.location, size_gb=size_gb) if item.kind == "volume" and size_gb else item


def _new(declared: Declared, found: Found, cluster: str, market: Market) -> Iterator[Item]:
    there = {kind: {one["name"] for one in every} for kind, every in found.items()}
    where = {one["name"]: one["location"] for one in found["servers"]}
    for pool in declared.pools:
        for name, purchase in to_buy(pool, found["servers"], cluster, market).items():
            [server] = [one for one in pool.servers if one.name == name]
            for candidate in purchase.choice.candidates[:1]:
                where[name] = candidate.location
                yield from (item for item in pool.items(server, candidate) if item.kind != "volume")
    for volume in (one for one in declared.volumes if one.name not in there["volumes"]):
        yield Item("volume", location=where.get(volume.server, volume.location), size_gb=volume.size_gb)
    for ip in (one for one in declared.primary_ips if one.name not in there["primary_ips"]):
        yield Item("primary_ip", ip.type, ip.location)
    for floating in (one for one in declared.floating_ips if one.name not in there["floating_ips"]):
        yield Item("floating_ip", floating.type, floating.home_location)
    for balancer in (one for one in declared.load_balancers if one.name not in there["load_balancers"]):
        yield Item("load_balancer", balancer.type, balancer.location)


def orphans(found: Found, cluster: str) -> str:
    """Objects of the project that are not ours, by kind: whoever pays for the project should know them."""
    servers = {one["id"] for one in found["servers"]}
    strangers = [
        (kind, [one for one in found[kind.path] if not ours(one["labels"], cluster) and not _of_a_server(one, servers)])
        for kind, _ in ORDER
    ]
    parts = [_strangers(kind, every) for kind, every in strangers if every]
    return f"{'; '.join(parts)}: not ours, left alone" if parts else "none: all that is there is ours"


def _of_a_server(one: Mapping[str, Any], servers: Collection[int]) -> bool:
    """An address that came with a server and goes with it."""
    return bool(one.get("auto_delete")) and one["assignee_id"] in servers


def _strangers(kind: Kind, every: Sequence[Mapping[str, Any]]) -> str:
    named = sorted(f"{one['name']}{_whose(one)}" for one in every)
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"{len(named)} {kind.path.replace('_', ' ') if len(named) > 1 else kind.name.replace('_', ' ')} " + (
        f"({', '.join(named[:SHOWN])}{more})"
    )


def _whose(one: Mapping[str, Any]) -> str:
    return f" of the cluster {one['labels'].get(CLUSTER, '')}" if one["labels"].get(MANAGED_BY) == US else ""


def staying(pools: Iterable[Pool], there: Sequence[Mapping[str, Any]], cluster: str, market: Market) -> Iterator[str]:
    """Which servers run as what would not be bought anew."""
    for pool in pools:
        for one in of_pool(pool, there, cluster):
            runs = Candidate(one["server_type"], one["location"])
            if sentence := stays(one["name"], runs, pool.wish(one["name"]), market):
                yield sentence


def losses(pools: Iterable[Pool], there: Sequence[Mapping[str, Any]], cluster: str, market: Market) -> Iterator[str]:
    """What is left of each quorum if the location with most of it is lost, once all are had where they are planned."""
    for pool in (one for one in pools if one.votes and one.servers):
        names = {server.name for server in pool.servers}
        places = [one["location"] for one in of_pool(pool, there, cluster) if one["name"] in names]
        bought = to_buy(pool, there, cluster, market).values()
        places += [candidate.location for one in bought for candidate in one.choice.candidates[:1]]
        yield f"{pool.name}: {loss(Counter(places)).arithmetic}"
