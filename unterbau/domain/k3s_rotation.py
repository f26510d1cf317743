"""When what a K3s cluster is kept secret with has to be made anew, and which of its tokens it is under."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta


def key_made_at(name: str) -> datetime | None:
    """When a key of Secrets was made, by its name; None for a cluster's first one, which has no date.

    "AES-CBC aescbckey-2026-11-22T01:02:03Z". Source: K3s, pkg/server/handlers/secrets-encrypt.go.
    """
    _, found, moment = name.partition("key-")
    try:
        made = datetime.fromisoformat(moment) if found else None
    except ValueError:
        return None
    return made.replace(tzinfo=made.tzinfo or UTC) if made else None


def key_is_due(name: str, not_before: str) -> bool:
    """Whether the key was made before `not_before` (a date, UTC, "2026-11-22"; "" for never)."""
    if not not_before:
        return False
    made = key_made_at(name)
    return made is None or made < datetime.fromisoformat(not_before).replace(tzinfo=UTC)


def ending(ends: Mapping[str, str], now_s: float, within_days: int) -> dict[str, str]:
    """Those of {certificate: its end, ISO 8601} that end within so many days, but not of authorities."""
    limit = datetime.fromtimestamp(now_s, UTC) + timedelta(days=within_days)
    return {path: end for path, end in ends.items() if not _is_authority(path) and datetime.fromisoformat(end) < limit}


def _is_authority(path: str) -> bool:
    return path.endswith(("-ca.crt", "-ca.nochain.crt"))


def used(cluster: Collection[str], known: Sequence[str]) -> int | None:
    """Which of the known tokens (hashes, newest first) the cluster is under; None if it is none of them.

    The newest counts as soon as its entry is there: K3s writes it whole before it deletes the one before.
    """
    return next((number for number, one in enumerate(known) if one in cluster), None)
