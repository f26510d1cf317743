"""Which facts' commands a node was asked last time: a file a node, in the user's cache. A hint, never a result.

What stands in such a file is run on the node, so nobody may write it who may not log in there anyway: it is sealed
with the private key that opens the node. One that is not, or is not whole, or of another version, is as good as none.
No command with a secret in it gets here, see `node.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
MOST_COMMANDS = 256
COMMAND_LIMIT_BYTES = 100_000  # below what Linux takes for one argument: 128 KiB
FILE_LIMIT_BYTES = 1 << 20
MOST_FILES = 512  # nodes; the one that was used longest ago makes room


def folder() -> Path:
    """Where the files are: in the user's own cache, not the machine's. RuntimeError if this user has no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unterbau" / "prefetch"


def memory_of(node: tuple[str, ...], key_file: str | None, cwd: str | None) -> Memory | None:
    """The memory of a node that is entered with this key; None without a key file (an agent's key seals nothing)."""
    try:
        return Memory(node, Path(cwd or ".", key_file).expanduser().read_bytes(), folder()) if key_file else None
    except (OSError, RuntimeError):  # no such file; no home
        return None


@dataclass(frozen=True)
class Memory:
    """What is remembered of one node: `node` says which, `key` is the content of the private key file."""

    node: tuple[str, ...]
    key: bytes
    folder: Path

    @property
    def path(self) -> Path:
        """A name that no node's name can break out of."""
        return self.folder / hashlib.sha256(json.dumps(self.node).encode()).hexdigest()[:32]

    def read(self) -> tuple[str, ...]:
        """The commands, in the order in which they were asked; () for whatever is not exactly what `write` wrote."""
        try:
            seal, _, body = self._content().partition(b"\n")
            if not hmac.compare_digest(seal, self._seal(body)):
                return ()
            document = json.loads(body)
            known = document["format"] == FORMAT and tuple(document["node"]) == self.node
            return tuple(document["commands"]) if known else ()
        except (OSError, ValueError, KeyError, TypeError):
            return ()

    def write(self, commands: Sequence[str]) -> None:
        """Remember these instead of what was there; nothing if they cannot be kept: the next run takes longer."""
        kept = [one for one in commands if _fits(one)][:MOST_COMMANDS]
        body = json.dumps({"format": FORMAT, "node": self.node, "commands": kept}).encode()
        if len(body) < FILE_LIMIT_BYTES // 2:
            with suppress(OSError):
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._replace(self._seal(body) + b"\n" + body)
                self._make_room()

    def _content(self) -> bytes:
        with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise OSError("not a file of ours alone")
            return file.read(FILE_LIMIT_BYTES)

    def _seal(self, body: bytes) -> bytes:
        return hmac.new(b"unterbau prefetch\0" + self.key, body, hashlib.sha256).hexdigest().encode()

    def _replace(self, content: bytes) -> None:
        number, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")  # mode 0600
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _make_room(self) -> None:
        files = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[:-MOST_FILES]:
            path.unlink(missing_ok=True)


def _fits(command: str) -> bool:
    return "\0" not in command and len(command.encode()) <= COMMAND_LIMIT_BYTES
