"""What is inside a store once it is decrypted: JSON that `jq` can read.

{"schema": "unterbau.secrets/1", "recipients": ["age1…"], "secrets": {"db/password": [{"number": 1, "value": "…",
"made_at": "2026-11-22T02:00:00Z", "made_by": "alice@desk"}]}, "ledger": {"size": 0, "lines": 0, "digest": "000…",
"journal": "{…}\\n"}}. Versions are 1, 2, 3 … in order. The ledger is as it was before the last change; `journal` are
the lines of that change, so that a run that was killed between the store and its ledger can be completed by the next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from unterbau.audit.ledger import Mark, end_of

SCHEMA = "unterbau.secrets/1"
NAME = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class PayloadError(Exception):
    """Found something else than a store of ours; the text says what, and never a value."""


@dataclass(frozen=True)
class Version:
    """One value of a secret. `made_at` is UTC, whole seconds."""

    number: int
    value: str = field(repr=False)
    made_at: datetime
    made_by: str


@dataclass(frozen=True)
class Contents:
    """A whole store. Versions of a secret are in order, the last one is the current."""

    recipients: tuple[str, ...]
    secrets: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    ledger: Mark = field(default_factory=Mark)
    journal: bytes = b""

    @property
    def ledger_end(self) -> Mark:
        """Where the ledger ends when the last change is in it."""
        return end_of(self.ledger, self.journal)

    def current(self, name: str) -> Version | None:
        """The version in use; None if there is no such secret."""
        versions = self.secrets.get(name)
        return versions[-1] if versions else None

    def number(self, name: str) -> int:
        """The current version's number, 0 if there is none."""
        version = self.current(name)
        return version.number if version else 0


def time_text(moment: datetime) -> str:
    """2026-11-22T02:00:00Z."""
    return moment.astimezone(UTC).strftime(_TIME)


def to_json(contents: Contents) -> bytes:
    """The text that is encrypted."""
    mark = contents.ledger
    document = {
        "schema": SCHEMA,
        "recipients": list(contents.recipients),
        "secrets": {name: [_version_json(one) for one in found] for name, found in sorted(contents.secrets.items())},
        "ledger": {"size": mark.size, "lines": mark.lines, "digest": mark.digest, "journal": contents.journal.decode()},
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _version_json(version: Version) -> dict[str, Any]:
    return {
        "number": version.number, "value": version.value, "made_at": time_text(version.made_at),
        "made_by": version.made_by,
    }  # fmt: skip


def from_json(text: bytes) -> Contents:
    """The contents, or PayloadError."""
    try:
        document = json.loads(text)
    except ValueError:  # its message quotes nothing, but its `doc` is everything: not even as a cause
        raise PayloadError("no JSON in it") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        schema = document.get("schema") if isinstance(document, dict) else None
        found = f"the schema {schema[:40]!r}" if isinstance(schema, str) else "JSON without a schema"
        raise PayloadError(f"{found} in it, not {SCHEMA!r}")
    try:
        ledger = document["ledger"]
        mark = Mark(_typed(ledger["size"], int), _typed(ledger["lines"], int), _typed(ledger["digest"], str))
        return Contents(
            recipients=tuple(_typed(one, str) for one in _typed(document["recipients"], list)),
            secrets={_name(name): _versions(found) for name, found in _typed(document["secrets"], dict).items()},
            ledger=mark,
            journal=_typed(ledger["journal"], str).encode(),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PayloadError(f"JSON of the schema {SCHEMA!r} that lacks something, or has it in another form") from None


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _text(value: Any) -> str:
    """Not half a character: it could not be written again."""
    _typed(value, str).encode()
    return str(value)


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError
    return name


def _versions(found: Any) -> tuple[Version, ...]:
    versions = tuple(
        Version(
            number=_typed(one["number"], int), value=_text(one["value"]),
            made_at=datetime.strptime(one["made_at"], _TIME).replace(tzinfo=UTC), made_by=_typed(one["made_by"], str),
        )
        for one in _typed(found, list)
    )  # fmt: skip
    if not versions or [one.number for one in versions] != list(range(1, len(versions) + 1)):
        raise ValueError
    return versions
