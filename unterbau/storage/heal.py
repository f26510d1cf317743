"""Healing: every object is looked at, and shards that are missing or wrong are made again from the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gevent

LOOK_AGAIN_S = 1.0
TELL_EVERY_S = 10.0
SILENT_S = 600.0  # one object may be as large as a drive's share, and its shards are made one after the other
MORE_WAITS = 500  # so many at once: more wait already, and the servers stop at 1000 that nobody has asked for
LARGEST_KEPT = 100  # of what could not be healed; the others are counted
WHOLE = "ok"
GONE = "missing"
UNREADABLE = "unknown ("  # and why: an xl.meta that fails its checksum. Source: MinIO, cmd/erasure-healing.go
BY_HAND = "MinIO repairs no xl.meta that it cannot read: move the object's folder on that drive away, then heal again"
LOST = "the server that healed was restarted or went away: what it had not told is not known; heal again"

Tell = Callable[[str], None]


class Asked(Protocol):
    """Whoever can be asked: a `Service`."""

    def ask(self, command: str, **parameters: Any) -> Any:
        """JSON."""


@dataclass(frozen=True)
class Unhealed:
    """One object version that is still not whole, and why."""

    bucket: str
    key: str
    version: str
    reason: str

    def __str__(self) -> str:
        version = f" (version {self.version})" if self.version not in ("", "null") else ""
        return f"{'/'.join(filter(None, (self.bucket, self.key)))}{version}: {self.reason}"


@dataclass
class Result:
    """What came of it. `looked_at`: buckets, versions of objects and the servers' own entries."""

    looked_at: int = 0
    healed: int = 0
    unhealed: int = 0
    unhealed_first: tuple[Unhealed, ...] = ()  # the first LARGEST_KEPT
    error: str | None = None  # why it did not come to its end

    @property
    def whole(self) -> bool:
        """Whether everything was looked at, and has all of its shards."""
        return self.error is None and self.unhealed == 0

    def take(self, said: dict[str, Any]) -> None:
        """Add what the servers said since they were asked last."""
        self.looked_at += said["seen"]
        for problem in said["problems"]:
            if gone(problem):
                continue
            if (reason := reason_of(problem)) is None:
                self.healed += 1
                continue
            self.unhealed += 1
            found = Unhealed(problem["bucket"], problem["key"], problem["version"], reason)
            self.unhealed_first = (*self.unhealed_first, found)[:LARGEST_KEPT]


def gone(problem: dict[str, Any]) -> bool:
    """Whether it was deleted after it was listed: then no drive has it, and each of them could say so."""
    states = set(problem["before"].values())
    return states == {GONE}


def reason_of(problem: dict[str, Any]) -> str | None:
    """Why it is not whole; None if it is now. An error counts even where the drives look well: it may be gone."""
    if problem["error"] and not problem["after"]:
        return f"the servers could not put it together, and may have removed what was left of it: {problem['error']}"
    wrong = {drive: state for drive, state in problem["after"].items() if state != WHOLE}
    if not wrong and not problem["error"]:
        return None
    drives = ", ".join(f"{state} on {drive}" for drive, state in sorted(wrong.items()))
    unreadable = any(state.startswith(UNREADABLE) for state in wrong.values())
    return "; ".join(part for part in (problem["error"], drives, BY_HAND if unreadable else "") if part)


def heal(service: Asked, bucket: str, tell: Tell, *, deep: bool = False) -> Result:
    """Start it over everything, or one bucket, and wait for its end. `deep`: every byte is read and compared.

    Only silence ends it before: SILENT_S without anything that was looked at. Then it goes on without us.
    """
    started = service.ask("heal_start", bucket=bucket, deep=deep)
    tell(f"healing {bucket or 'everything'}, begun at {started['started_at']}")
    result, heard_s, told_s = Result(), time.monotonic(), time.monotonic()
    while True:
        said = service.ask("heal_status", token=started["token"])
        result.take(said)
        if said["state"] != "running" or said["seen"]:
            heard_s = time.monotonic()
        if said["state"] not in ("running", "not started"):
            result.error = _end(said)
            return result
        if time.monotonic() - heard_s > SILENT_S:
            result.error = f"nothing was looked at for {SILENT_S:.0f} s; see `unterbau storage status`, then heal again"
            return result
        if time.monotonic() - told_s >= TELL_EVERY_S:
            told_s = time.monotonic()
            tell(words(result))
        gevent.sleep(0 if said["seen"] >= MORE_WAITS else LOOK_AGAIN_S)


def _end(said: dict[str, Any]) -> str | None:
    match said["state"]:
        case "finished":
            return None
        case "lost":
            return LOST
        case state:
            return f"it ended as {state}: {said['error'] or 'without a reason'}; heal again"


def words(result: Result) -> str:
    """ "looked at 1204, healed 12, not healed 0"."""
    return f"looked at {result.looked_at}, healed {result.healed}, not healed {result.unhealed}"
