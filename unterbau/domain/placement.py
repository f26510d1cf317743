"""Placement groups: which of a pool's groups a server goes to, and whether a project has room for them all.

Servers of one group run on different machines. A group takes 10 servers and a server is in one group, so a pool has as
many groups as it needs, its shards, numbered from 1. Source: Hetzner Cloud, "Placement Groups", limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unterbau.domain.quorum import Verdict

GROUP_SIZE = 10  # servers a group
GROUPS = 50  # groups a project


def shards(servers: int) -> int:
    """How many groups so many servers need: 0 for none, 1 for 1 to 10, 2 for 11 …"""
    return -(-servers // GROUP_SIZE)


def free_shard(members: Mapping[int, int]) -> int:
    """The lowest shard that has room. `members`: shard -> servers in it; one that is not there is empty.

    A server keeps its group for life, so after a shrink the gaps are filled first and no new group is made for them.
    """
    return next(shard for shard in range(1, len(members) + 2) if members.get(shard, 0) < GROUP_SIZE)


def assigned(servers: Iterable[str], members: Mapping[int, int]) -> dict[str, int]:
    """{server: shard} for new servers in their order; `members` as for `free_shard`, before the first of them."""
    there = dict(members)
    found: dict[str, int] = {}
    for server in servers:
        found[server] = shard = free_shard(there)
        there[shard] = there.get(shard, 0) + 1
    return found


def fits(pools: Mapping[str, int]) -> Verdict:
    """Whether a project has groups enough. `pools`: name -> servers, of pools that are placed apart."""
    needed = {pool: shards(servers) for pool, servers in pools.items()}
    total = sum(needed.values())
    parts = " + ".join(f"{needed[pool]} ({pool}, {_servers(count)})" for pool, count in pools.items()) or "0"
    arithmetic = f"{parts} = {total} placement groups of {GROUP_SIZE}, a project has {GROUPS}"
    if total <= GROUPS:
        return Verdict(True, arithmetic)
    return Verdict(False, f"{arithmetic}; take servers out of a pool, or set placement to 'none' for one")


def _servers(count: int) -> str:
    return f"{count} server{'s' * (count != 1)}"
