"""Who may reboot when: one window for all, cut into slots, so that only one node is down at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DAY = 24 * 60
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def slots(start: str, window_minutes: int, slot_minutes: int, names: Sequence[str]) -> dict[str, str]:
    """{name: "HH:MM"}: a slot each in the order of `names`, from `start`, past midnight if need be.

    ValueError with the arithmetic if they don't fit, and for a name given twice. Appending a name moves no other.
    """
    begin = _minutes(start)
    _check(window_minutes, slot_minutes, names)
    return {name: _clock(begin + index * slot_minutes) for index, name in enumerate(names)}


def _check(window_minutes: int, slot_minutes: int, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"cannot give slots: {', '.join(twice)} named more than once; name each node once")
    if slot_minutes < 1 or not 1 <= window_minutes < _DAY:
        raise ValueError(
            f"cannot cut a window of {window_minutes} min into slots of {slot_minutes} min; "
            f"a slot has 1 min or more, a window 1 to {_DAY - 1}"
        )
    needed = len(names) * slot_minutes
    if needed > window_minutes:
        raise ValueError(
            f"{len(names)} nodes x {slot_minutes} min = {needed} min, but the window has {window_minutes} min; "
            f"widen it to {needed} min or shorten the slots to {window_minutes // len(names)} min"
        )


def _minutes(clock: str) -> int:
    read = _CLOCK.fullmatch(clock)
    if not read:
        raise ValueError(f"cannot read the time {clock!r}; write HH:MM from 00:00 to 23:59")
    return int(read[1]) * 60 + int(read[2])


def _clock(minutes: int) -> str:
    return f"{minutes % _DAY // 60:02}:{minutes % 60:02}"
