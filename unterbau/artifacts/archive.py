"""One member out of an archive, as a stream: nothing else of the archive is ever written anywhere."""

from __future__ import annotations

import gzip
import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.store import CHUNK_BYTES, Staged

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


class Readable(Protocol):
    """What bytes can be read from, however it is packed."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def unpack(archive: Path, form: str, member: str | None, into: Staged) -> None:
    """Write the file inside `archive` (a format of the lock file, or "tar"); SourceError says what is wrong with it."""
    with _understood(archive, form):
        match form:
            case "raw":
                with archive.open("rb") as raw:
                    copy(raw, into)
            case "gz":
                with gzip.open(archive) as packed:
                    copy(packed, into)
            case "zip":
                _unzip(archive, member or "", into)
            case _:
                _untar(archive, member or "", into)


def copy(source: Readable, into: Staged) -> None:
    """All of it."""
    while chunk := source.read(CHUNK_BYTES):
        into.write(chunk)


@contextmanager
def _understood(archive: Path, form: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise SourceError(f"{archive.name} cannot be read as {form}: {error or type(error).__name__}") from error


def _unzip(archive: Path, member: str, into: Staged) -> None:
    with zipfile.ZipFile(archive) as opened:
        if member not in opened.namelist():
            raise SourceError(f"{archive.name} has no member {member}")
        with opened.open(member) as packed:
            copy(packed, into)


def _untar(archive: Path, member: str, into: Staged) -> None:
    with tarfile.open(archive, "r|*") as opened:
        for entry in opened:
            if posixpath.normpath(entry.name) != posixpath.normpath(member):
                continue
            file = opened.extractfile(entry) if entry.isreg() else None
            if file is None:
                raise SourceError(f"{archive.name}: {member} is no regular file; name the one it stands for")
            return copy(file, into)
    raise SourceError(f"{archive.name} has no member {member}")
