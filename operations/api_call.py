"""Commands of an API's connector: some words, then JSON data whose secrets stay hidden until they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pyinfra.api import HiddenValue, StringCommand
from typing_extensions import override

from unterbau.secrets.hidden import MASK


def command(words: str, body: Any = None) -> StringCommand:
    """`words {json}`. `body` is JSON data; its leaves that are HiddenValue, and only these, are masked."""
    bits = () if body is None else (" ", *_json_bits(body))
    return StringCommand(words, *bits, _separator="")


class _HiddenJson(HiddenValue):
    """A hidden text as JSON; unmasked no earlier than the command is sent."""

    def __init__(self, hidden: HiddenValue) -> None:
        super().__init__("", MASK)  # type: ignore[no-untyped-call]
        self._hidden = hidden

    @override
    def unmask(self) -> str:
        return json.dumps(self._hidden.unmask())


def _json_bits(value: Any) -> Iterator[str | HiddenValue]:
    match value:
        case HiddenValue():
            yield _HiddenJson(value)
        case Mapping():
            yield from _joined("{", (((f"{json.dumps(k)}: ",), value[k]) for k in sorted(value)), "}")
        case list() | tuple():
            yield from _joined("[", (((), item) for item in value), "]")
        case _:
            yield json.dumps(value)


def _joined(start: str, items: Iterator[tuple[tuple[str, ...], Any]], end: str) -> Iterator[str | HiddenValue]:
    yield start
    for number, (prefix, item) in enumerate(items):
        yield from (", ",) if number else ()
        yield from prefix
        yield from _json_bits(item)
    yield end
