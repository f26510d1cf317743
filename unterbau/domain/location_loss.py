"""What is left of a quorum when a location is lost with all that is in it."""

from __future__ import annotations

from collections.abc import Mapping

from unterbau.domain.quorum import Verdict, needed


def most_per_location(servers: int) -> int:
    """How many may be in one location so that the others are a majority: n - (n//2 + 1). Source: Raft, section 5.2.

    0 for one server and for two: none of them can be missing.
    """
    return servers - needed(servers)


def locations_needed(servers: int) -> int | None:
    """How many locations it takes; None where no number is enough. It is 3 from three servers on, but 4 for four."""
    most = most_per_location(servers)
    return -(-servers // most) if most else None


def loss(servers: Mapping[str, int]) -> Verdict:
    """Whether a majority is left whichever location is lost. `servers`: location -> how many are in it."""
    total = sum(servers.values())
    if not total:
        return Verdict(True, "there are no servers: no location to lose")
    worst = max(servers, key=lambda location: servers[location])
    left = total - servers[worst]
    return Verdict(
        left >= needed(total),
        f"losing {worst} leaves {left} of {total} server{'s' * (total != 1)}, quorum needs {needed(total)}",
    )


def spread(servers: int, locations: int) -> Verdict:
    """Whether so many servers, spread as evenly as can be, keep their majority when a location is lost."""
    worst = -(-servers // locations)
    left, enough = servers - worst, locations_needed(servers)
    where = f"{servers} server{'s' * (servers != 1)} in {locations} location{'s' * (locations != 1)}"
    arithmetic = f"{where}: losing one leaves {left} of {servers}, quorum needs {needed(servers)}"
    if left >= needed(servers):
        return Verdict(True, arithmetic)
    instead = f"{enough} locations" if enough else "3 servers in 3 locations"
    return Verdict(False, f"{arithmetic}; {instead} at least")
