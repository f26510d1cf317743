"""Label selectors: which labels a request asks for.

Terms with commas between them, all of which must hold: `key`, `!key`, `key=value`, `key==value`, `key!=value`,
`key in (a,b)`, `key notin (a,b)`. As in Kubernetes, whose grammar it is, `!=` and `notin` hold where the key is
missing.
Source: Hetzner Cloud API, "Label Selector".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_NAME = r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,251}[A-Za-z0-9])?/"
_KEY = rf"(?:{_PREFIX})?{_NAME}"
_VALUE = rf"(?:{_NAME})?"

KEY = re.compile(_KEY)
VALUE = re.compile(_VALUE)

_COMMA = re.compile(r",(?![^(]*\))")  # not those in brackets
_ABSENT = re.compile(rf"!\s*({_KEY})")
_COMPARED = re.compile(rf"({_KEY})\s*(==|!=|=)\s*({_VALUE})")
_LISTED = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")

Operator = Literal["exists", "absent", "in", "notin"]


class SelectorError(ValueError):
    """A selector that cannot be read: the term at fault."""


@dataclass(frozen=True)
class Term:
    """One condition; `values` are those of `in` and `notin`, one of them for `=` and `!=`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil it."""
        if self.operator in {"exists", "absent"}:
            return (self.key in labels) == (self.operator == "exists")
        return (labels.get(self.key) in self.values) == (self.operator == "in")


@dataclass(frozen=True)
class Selector:
    """All terms must hold; none: everything is chosen."""

    terms: tuple[Term, ...]

    def chooses(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is chosen."""
        return all(term.holds(labels) for term in self.terms)


def parse(text: str) -> Selector:
    """The selector that a text means; SelectorError if it means none."""
    if not text.strip():
        return Selector(())
    return Selector(tuple(_term(part.strip()) for part in _COMMA.split(text)))


def _term(text: str) -> Term:
    if found := _ABSENT.fullmatch(text):
        return Term(found[1], "absent")
    if found := _COMPARED.fullmatch(text):
        return Term(found[1], "notin" if found[2] == "!=" else "in", (found[3],))
    if found := _LISTED.fullmatch(text):
        return Term(found[1], "notin" if found[2] == "notin" else "in", _values(found[3]))
    if KEY.fullmatch(text):
        return Term(text, "exists")
    raise SelectorError(f"cannot read the label selector's term {text!r}; write key, !key, key=value or key in (a,b)")


def _values(text: str) -> tuple[str, ...]:
    values = tuple(value.strip() for value in text.split(","))
    for value in values:
        if not VALUE.fullmatch(value):
            raise SelectorError(f"cannot read {value!r} as the value of a label")
    return values
