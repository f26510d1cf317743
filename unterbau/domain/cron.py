"""Cron schedules as Kubernetes and K3s read them: five fields, UTC or the zone that is named beside them."""

from __future__ import annotations

from calendar import monthrange
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_A_LEAP_YEAR = 2028


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    words: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


def problem(schedule: str) -> str:
    """What is wrong with a schedule, in a few words; "" if it comes round.

    Stricter than the parser of Kubernetes: no `@daily`, no seconds, no `TZ=` before it.
    Source: github.com/robfig/cron v3, parser.go (ranges, steps and names; Sunday is 0 and not 7).
    """
    parts = schedule.split(" ")
    if len(parts) != len(_FIELDS):
        found = len(schedule.split())
        return (
            f"{found} field{'s' * (found != 1)}, not the five minute, hour, day, month and weekday with blanks between"
        )
    wrong = [_wrong(part, field) for part, field in zip(parts, _FIELDS, strict=True)]
    return next(filter(None, wrong), "") or _never(parts)


def values(part: str, name: str) -> frozenset[int]:
    """The numbers that a field's text stands for. ValueError if it is none of the field `name`."""
    field = next(one for one in _FIELDS if one.name == name)
    if said := _wrong(part, field):
        raise ValueError(said)
    return frozenset(number for item in part.split(",") for number in _item(item, field))


def _wrong(part: str, field: _Field) -> str:
    try:
        empty = [item for item in part.split(",") if not _item(item, field)]
    except ValueError as error:
        return str(error)
    return f"the {field.name} {empty[0]!r} goes from high to low" if empty else ""


def _item(item: str, field: _Field) -> range:
    span, slash, step = item.partition("/")
    low, dash, high = span.partition("-")
    if span in ("*", "?"):
        first, last = field.first, field.last
    else:
        first = _number(low, field)
        last = _number(high, field) if dash else (field.last if slash else first)
    return range(first, last + 1, _step(step, field) if slash else 1)


def _number(text: str, field: _Field) -> int:
    if text.lower() in field.words:
        return field.words.index(text.lower()) + field.first
    if not (text.isascii() and text.isdigit()) or not field.first <= int(text) <= field.last:
        raise ValueError(f"the {field.name} {text!r} is none of {field.first} to {field.last}")
    return int(text)


def _step(text: str, field: _Field) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError(f"the step {text!r} of the {field.name} is no number from 1")
    return int(text)


def _never(parts: list[str]) -> str:
    """A day that none of the months has, as 30 February; a weekday beside it would make it come all the same."""
    days, months = values(parts[2], "day of month"), values(parts[3], "month")
    longest = max(monthrange(_A_LEAP_YEAR, month)[1] for month in months)
    if parts[4] in ("*", "?") and min(days) > longest:
        return f"day {min(days)} is in none of its months"
    return ""
