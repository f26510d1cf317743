"""What may be told of a store: one row a secret, those that are declared and missing too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from unterbau.domain.rotation import overdue_days
from unterbau.secrets.payload import Contents, time_text

if TYPE_CHECKING:
    from unterbau.declaration.secret import Secret

_HEAD = ("NAME", "VERSION", "MADE", "BY", "AGE", "PERIOD", "STATE")


@dataclass(frozen=True)
class Row:
    """One secret. `version` 0 and None for the rest if it is missing; `generated`: apply makes it."""

    name: str
    version: int
    made_at: str | None
    made_by: str | None
    age_days: int | None
    rotate_after_days: int | None
    overdue_days: int | None
    declared: bool
    generated: bool

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should do something."""
        return self.overdue_days is not None or (not self.version and not self.generated)

    @property
    def state(self) -> str:
        """In words, "" if there is nothing to say."""
        if not self.version:
            by_hand = f"MISSING, run `unterbau secrets set {self.name} --env ENV`"
            return "missing, the next apply makes it" if self.generated else by_hand
        if self.overdue_days is not None:
            return f"OVERDUE by {self.overdue_days} d, " + (
                "the next apply rotates it" if self.generated else "set it anew"
            )
        return "" if self.declared else "not declared"


def listing(contents: Contents, declared: Mapping[str, Secret], now: datetime) -> list[Row]:
    """By name."""
    return [_row(name, contents, declared.get(name), now) for name in sorted({*contents.secrets, *declared})]


def _row(name: str, contents: Contents, secret: Secret | None, now: datetime) -> Row:
    current = contents.current(name)
    period = secret.rotate_after_days if secret else None
    return Row(
        name=name,
        version=current.number if current else 0,
        made_at=time_text(current.made_at) if current else None,
        made_by=current.made_by if current else None,
        age_days=(now - current.made_at).days if current else None,
        rotate_after_days=period,
        overdue_days=overdue_days(current.made_at, period, now) if current else None,
        declared=secret is not None,
        generated=secret is not None and secret.kind is not None,
    )


def table(rows: Iterable[Row]) -> str:
    """Aligned columns, no value in them."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    days = [f"{number} d" if number is not None else "-" for number in (row.age_days, row.rotate_after_days)]
    return (row.name, str(row.version or "-"), row.made_at or "-", row.made_by or "-", *days, row.state)
