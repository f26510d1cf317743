"""When snapshots of a cluster are overdue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """What one member has: its newest snapshot, and how long it has had data. None: it has none of it."""

    member: str
    newest_at: str | None
    newest_age_s: float | None
    data_age_s: float | None


def newest(kept: Iterable[Kept]) -> Kept | None:
    """The member with the newest snapshot of all; None if there is no snapshot."""
    return min(
        (one for one in kept if one.newest_age_s is not None), key=lambda one: one.newest_age_s or 0, default=None
    )


def overdue(kept: Iterable[Kept], every_hours: int) -> str | None:
    """What is wrong if the newest is older than two periods: one may be missed while leadership moves. Else None."""
    members, limit_s = list(kept), 2 * every_hours * 3600
    found = newest(members)
    if found is not None:
        age_s = found.newest_age_s or 0
        late = age_s > limit_s
        return f"the newest snapshot is {words(age_s)} old, one is due every {every_hours} h" if late else None
    cluster_age_s = max((one.data_age_s or 0 for one in members), default=0)
    if cluster_age_s > limit_s:
        return f"there is no snapshot, one is due every {every_hours} h, and the cluster is {words(cluster_age_s)} old"
    return None


def words(age_s: float) -> str:
    """ "3 h 20 min", days from two of them on."""
    minutes = int(age_s // 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60)} days"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
