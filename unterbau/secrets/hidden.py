"""A value that no output shows: pyinfra masks it where it knows it, `redact` takes it out of everything else."""

from __future__ import annotations

from pyinfra.api.hiddenvalue import HiddenValue

MASK = "*MASKED*"
SHORTEST_REDACTED = 4  # replacing shorter ones would tear words apart and so give them away

_known: set[str] = set()


class Hidden(HiddenValue):
    """A HiddenValue whose text is remembered, so that error texts of others can be redacted too."""

    def __init__(self, content: str) -> None:
        super().__init__(content, MASK)  # type: ignore[no-untyped-call]
        _known.update(part for part in (content, *content.splitlines()) if len(part) >= SHORTEST_REDACTED)

    def to_json(self) -> str:
        """What pyinfra's own JSON output shows."""
        return MASK


def redact(text: str) -> str:
    """`text` with every value that was ever hidden in this process masked, longest first."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text
