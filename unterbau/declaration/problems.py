"""What is wrong with a declaration, and the collector that gathers all of it instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A line of a file; line 0 is the file as a whole."""

    file: str
    line: int


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to put right. `field` is "" where the object as a whole is meant."""

    file: str
    line: int
    object: str
    field: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.object}: {self.field}" if self.field else self.object
        return f"{where}: {what}: found {self.found}; allowed: {self.allowed}"

    def to_json(self) -> dict[str, str | int]:
        """{file, line, object, field, found, allowed}."""
        return asdict(self)


class DeclarationError(ValueError):
    """Everything that is wrong, in a stable order; str() is the report: one line each and a count."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...], subject: str = "the declaration") -> None:
        self.subject = subject
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__(str(self))

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems]
        return "\n".join(
            [*lines, f"cannot use {self.subject}: {count} problem{'s' * (count != 1)}; correct and run again"]
        )


class Inert:
    """Stands where a value would be whose declaration failed: whatever is asked of it, nothing happens."""

    def __getattr__(self, name: str) -> Inert:
        if name.startswith("__"):  # copy, pickle and pydantic probe for hooks: it has none
            raise AttributeError(name)
        return self

    def __call__(self, *args: object, **kwargs: object) -> Inert:  # noqa: ARG002, D102  # takes anything
        return self

    def __getitem__(self, key: object) -> Inert:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __add__(self, other: object) -> Inert:
        return self

    __radd__ = __or__ = __ror__ = __add__

    def __repr__(self) -> str:
        return "(not valid)"


INERT = Inert()


@dataclass
class Collector:
    """Problems so far, and where each declaration was made. The objects are kept, so an id stays theirs."""

    problems: list[Problem] = field(default_factory=list)
    _places: dict[int, tuple[object, Place]] = field(default_factory=dict)
    _broken: set[int] = field(default_factory=set)

    def made(self, thing: object, place: Place, problems: list[Problem] | None = None) -> None:
        """Remember where `thing` was made; with `problems` (even none, when its parts have them) it is not valid."""
        self._places[id(thing)] = (thing, place)
        if problems is not None:
            self._broken.add(id(thing))
            self.problems.extend(problems)

    def place(self, thing: object) -> Place | None:
        """Where it was made, if it was made under this collector."""
        known = self._places.get(id(thing))
        return known[1] if known else None

    def valid(self, thing: object) -> bool:
        """False for a placeholder and for what stands in place of a value."""
        return id(thing) not in self._broken and not isinstance(thing, Inert)


_active: ContextVar[Collector | None] = ContextVar("declaration_problems", default=None)


def active() -> Collector | None:
    """The collector of this context, if there is one."""
    return _active.get()


@contextmanager
def collecting() -> Iterator[Collector]:
    """In this block a bad declaration is recorded and becomes an inert placeholder; outside it raises at once."""
    collector = Collector()
    token = _active.set(collector)
    try:
        yield collector
    finally:
        _active.reset(token)
