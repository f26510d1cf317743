"""A value that no output shows: pyinfra masks it where it knows it, `redact` takes it out of everything else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from pyinfra.api.hiddenvalue import HiddenValue

MASK = "*MASKED*"
SHORTEST_REDACTED = 4  # replacing shorter ones would tear words apart and so give them away
SHORTEST_LINE_REDACTED = 12  # of a text of many lines: "port 22" is no secret by itself

_known: set[str] = set()


class Hidden(HiddenValue):
    """A HiddenValue whose text is remembered, so that error texts of others can be redacted too."""

    def __init__(self, content: str) -> None:
        super().__init__(content, MASK)  # type: ignore[no-untyped-call]
        _known.update(_spellings(content))

    def to_json(self) -> str:
        """What pyinfra's own JSON output shows."""
        return MASK


def _spellings(content: str) -> Iterator[str]:
    """The ways in which an error text may spell a value: as it is, for a shell, in JSON, in Python, line by line."""
    lines = [line for line in content.splitlines() if len(line) >= SHORTEST_LINE_REDACTED and " " not in line]
    for value in (content, content.rstrip("\n"), *lines):
        if len(value) >= SHORTEST_REDACTED:
            yield from (value, shlex.quote(value), json.dumps(value)[1:-1], repr(value)[1:-1])


def redact(text: str) -> str:
    """`text` with every value that was ever hidden in this process masked, longest first."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text
