"""The host keys that are pinned: lines of an OpenSSH known_hosts file, one a name, address and type of key.

Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. The comment `first` marks a key that came with the server's user data:
whoever can ask the metadata service knows it, so it is good for the first login only.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FIRST = "first"


@dataclass(frozen=True)
class Pin:
    """One key of one host. `names` are all that it is entered by; `key` is the type and the key in base64."""

    names: tuple[str, ...]
    key: str
    comment: str = ""

    @property
    def type(self) -> str:
        """The key's type: ssh-ed25519 …"""
        return self.key.partition(" ")[0]

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return " ".join(filter(None, (",".join(self.names), self.key, self.comment)))


def pinned(path: Path, name: str) -> list[Pin]:
    """The keys of a host, by one of its names; [] if there is none, or no such file."""
    return [pin for pin in map(_pin, _lines(path)) if pin is not None and name in pin.names]


def first_keys(path: str, name: str) -> list[str]:
    """Those of a host that came with its user data, "type base64" each."""
    return [one.key for one in pinned(Path(path).expanduser(), name) if one.comment == FIRST]


def pin(path: Path, wanted: Pin) -> None:
    """Add a key; of the same type it takes the place of those that its names had. Written before this returns."""
    with _changing(path) as lines:
        lines[:] = [line for line in lines if not _replaced(_pin(line), wanted)] + [wanted.line]


def repinned(path: Path, names: Iterable[str], wanted: Iterable[Pin], only_for: str = "") -> None:
    """These keys in place of all that are pinned under any of these names; `only_for`: if this key is among those."""
    gone = set(names)
    with _changing(path) as lines:
        there = {one.key for one in map(_pin, lines) if one and not gone.isdisjoint(one.names)}
        if only_for and only_for not in there:
            return
        kept = [line for line in lines if not ((one := _pin(line)) and not gone.isdisjoint(one.names))]
        lines[:] = kept + [one.line for one in wanted]


def forget(path: Path, name: str, key: str) -> None:
    """Take one key of a host out, if it is there."""
    with _changing(path) as lines:
        lines[:] = [line for line in lines if not ((one := _pin(line)) and name in one.names and one.key == key)]


def _pin(line: str) -> Pin | None:
    """None for what is no line of ours to read: a comment, a hashed name, a marker."""
    parts = line.split()
    if len(parts) < 3 or line.startswith(("#", "@", "|")):
        return None
    return Pin(tuple(parts[0].split(",")), " ".join(parts[1:3]), " ".join(parts[3:]))


def _replaced(found: Pin | None, wanted: Pin) -> bool:
    return found is not None and found.type == wanted.type and not set(wanted.names).isdisjoint(found.names)


@contextmanager
def _changing(path: Path) -> Iterator[list[str]]:
    """The lines, to be changed; two runs at once wait for each other, and a reader sees all or nothing.

    Where a link leads to the file, that stays a link.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _lines(path)
        lines = list(before)
        yield lines
        if lines != before or not path.exists():
            _write(path, "".join(f"{line}\n" for line in lines))


def _lines(path: Path) -> list[str]:
    """Comments may be in any encoding, and stay as they are."""
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if path.exists() else []


def _write(path: Path, text: str) -> None:
    """With the permissions that it had."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8", errors="surrogateescape") as file:
        if path.exists():
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
