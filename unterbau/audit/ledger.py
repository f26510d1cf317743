"""An append-only trail: one JSON object a line, each with the SHA-256 of the line before.

A line that is changed, removed from the middle or put in breaks the chain. Lines removed from the end do not: whoever
keeps a ledger keeps its `Mark` elsewhere too (the bootstrap store does, inside its encrypted file).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGINNING = "0" * 64


class LedgerError(Exception):
    """A ledger that cannot be read, written or trusted, as a sentence."""


@dataclass(frozen=True)
class Mark:
    """A place in a ledger: how many bytes and lines are before it, and the digest of the line that ends there."""

    size: int = 0
    lines: int = 0
    digest: str = BEGINNING


@dataclass(frozen=True)
class Trail:
    """A whole ledger, whose chain holds. `content` may end in half a line: a write that was cut off."""

    content: bytes
    entries: tuple[dict[str, Any], ...]
    marks: tuple[Mark, ...]  # one more than entries: marks[0] is the beginning

    @property
    def end(self) -> Mark:
        """The end of the last whole line."""
        return self.marks[-1]


def digest_of(line: bytes) -> str:
    """What the next line says of this one (without its newline)."""
    return hashlib.sha256(line).hexdigest()


def chained(after: Mark, entries: Iterable[Mapping[str, Any]]) -> bytes:
    """The entries as lines that follow `after`."""
    text, before = b"", after.digest
    for entry in entries:
        line = json.dumps({**entry, "before": before}, ensure_ascii=False, separators=(",", ":")).encode()
        text, before = text + line + b"\n", digest_of(line)
    return text


def end_of(after: Mark, text: bytes) -> Mark:
    """The mark behind lines that follow `after`."""
    last = text.rstrip(b"\n").rpartition(b"\n")[2]
    return Mark(after.size + len(text), after.lines + text.count(b"\n"), digest_of(last)) if text else after


def read(path: Path) -> Trail | None:
    """The ledger; None if there is no file. LedgerError if a line does not follow from the one before."""
    try:
        return parse(path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"cannot read the ledger {path}: {error.strerror}; see its owner and mode") from error


def parse(content: bytes, path: Path) -> Trail:
    """What `read` does, of bytes at hand; `path` is for the sentence only."""
    *lines, _rest = content.split(b"\n")
    entries: list[dict[str, Any]] = []
    marks = [Mark()]
    for number, line in enumerate(lines, start=1):
        entry, last = _entry(line), marks[-1]
        if entry is None or entry.get("before") != last.digest:
            found = "no entry" if entry is None else "a line that does not follow from the one before"
            raise LedgerError(f"cannot trust the ledger {path}: line {number} is {found}; it was changed")
        entries.append(entry)
        marks.append(Mark(last.size + len(line) + 1, number, digest_of(line)))
    return Trail(content, tuple(entries), tuple(marks))


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return entry if isinstance(entry, dict) else None


def unwritten(trail: Trail | None, since: Mark, text: bytes) -> bytes:
    """What of `text`, which belongs behind `since`, the ledger does not have yet: b"" if all of it is there.

    LedgerError if the ledger is another one, ends before `since`, or goes on differently.
    """
    if trail is None:
        if since == Mark():
            return text
        raise LedgerError(f"found no ledger, and there should be one of {since.lines} lines")
    if since not in trail.marks:
        raise LedgerError(f"found {trail.end.lines} lines that do not begin with the {since.lines} there should be")
    tail = trail.content[since.size :]
    if text.startswith(tail):
        return text[len(tail) :]
    if tail.startswith(text):
        more = trail.end.lines - since.lines - text.count(b"\n")
        last = f", the last: {summary(trail.entries[-1])}" if more else " and half a one"
        raise LedgerError(f"found {more} more than the lines there should be{last}")
    raise LedgerError(f"found another line {since.lines + 1} than the one there should be")


def append(path: Path, text: bytes) -> None:
    """Add to the end, and see that it is on the disk. LedgerError if it is not; the rest can follow."""
    new = not path.exists()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while text:
                text = text[os.write(descriptor, text) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(path.parent)
    except OSError as error:
        raise LedgerError(f"cannot write the ledger {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def summary(entry: Mapping[str, Any]) -> str:
    """One entry in words."""
    words = [entry.get("action"), entry.get("name"), entry.get("version")]
    return " ".join(str(word) for word in words if word) + f", {entry.get('at')} by {entry.get('who')}"
