"""Placement groups: which of a pool's groups a server goes to, and whether a project has room for them all.

Servers of one group run on different machines. A group takes 10 servers and a server is in one group, so a pool has as
many groups as it needs, its shards, numbered from 1. Source: Hetzner Cloud, "Placement Groups", limits.
"""

from __future__ import annotations

from collections.abc import Mapping

from unterbau.domain.quorum import Verdict

GROUP_SIZE = 10  # servers a group
GROUPS = 50  # groups a project


def shards(servers: int) -> int:
    """How many groups so many servers need: 0 for none, 1 for 1 to 10, 2 for 11 …"""
    return -(-servers // GROUP_SIZE)


def shard_of(number: int) -> int:
    """The group of a pool's server number n: 1 to 10 are in the first, so none ever has to move or has no room."""
    return shards(number)


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
