"""The content store on the operator's machine: `<cache>/artifacts/sha256/<hex>`, each file whole or not there.

Beside it: `verified/<hex>` (what the file looked like when it was hashed last, so that an unchanged one is not hashed
again), `lock/<hex>` (one run at a time fetches an artifact) and `partial/` (what is under construction; whatever a
killed run left there goes with the next fetch).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unterbau.artifacts.errors import ArtifactError, SourceError
from unterbau.artifacts.lock import Artifact

CACHE = Path("/var/cache/unterbau")
CHUNK_BYTES = 1 << 20
LOCK_TIMEOUT_S = 3600  # longer than a source may take, and than most artifacts' sources together
LOCK_INTERVAL_S = 0.1
WHOLE, DAMAGED, ABSENT = "whole", "damaged", "absent"


def cache_directory() -> Path:
    """The cache that UNTERBAU_CACHE_DIR names; the usual one without it. Raises ArtifactError."""
    path = Path(os.environ.get("UNTERBAU_CACHE_DIR") or CACHE)
    if not path.is_absolute():
        raise ArtifactError(f"cannot use UNTERBAU_CACHE_DIR {str(path)!r}: it is not absolute; use an absolute path")
    return path


def _breathe() -> None:
    """In a run, other nodes' connections are served between two chunks (gevent); elsewhere nothing."""
    time.sleep(0)


class Staged:
    """A file under construction: counted, hashed, never longer than `limit_bytes`."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path, self._limit_bytes = path, limit_bytes
        self._digest, self.size_bytes = hashlib.sha256(), 0
        with _refusing(path):
            self._file = path.open("wb", buffering=0)

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append. Raises SourceError if it becomes too long, ArtifactError if there is no room for it."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limit_bytes:
            raise SourceError(f"it is longer than {self._limit_bytes} bytes")
        self._digest.update(chunk)
        with _refusing(self.path):
            view = memoryview(chunk)
            while view:  # a raw file may take less than it is given
                view = view[self._file.write(view) :]
        _breathe()

    def close(self, *, sync: bool = False) -> None:
        """No more is coming; with `sync` it is on the disk."""
        with _refusing(self.path):
            if sync and not self._file.closed:
                os.fsync(self._file.fileno())
            self._file.close()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"cannot use {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room there, or name another place with UNTERBAU_CACHE_DIR"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}; run as root, or name a place of your own with UNTERBAU_CACHE_DIR"
    return f"{error.strerror or error}; see to it, then try again"


class ContentStore:
    """Whole, verified files by their sha256."""

    def __init__(self, cache: Path | None = None) -> None:
        self.root = (cache or cache_directory()) / "artifacts"

    def path_of(self, artifact: Artifact) -> Path:
        """Where it is, or would be."""
        return self.root / "sha256" / artifact.sha256

    def find(self, artifact: Artifact) -> Path | None:
        """Its path, verified; None if it is absent or damaged. Hashes only what changed since it was hashed last."""
        path = self.path_of(artifact)
        seen = _look(path)
        if seen is not None and _text(self._stamp(artifact)) == seen:
            return path
        return path if self.verify(artifact) == WHOLE else None

    def verify(self, artifact: Artifact) -> str:
        """WHOLE, DAMAGED or ABSENT, by hashing it. Raises ArtifactError if it cannot be read."""
        path = self.path_of(artifact)
        seen = _look(path)
        if seen is None:
            return ABSENT
        with _refusing(path):
            found = _sha256(path)
        if found != artifact.sha256:
            return DAMAGED
        self._write_stamp(artifact, seen)
        return WHOLE

    @contextmanager
    def locked(self, artifact: Artifact, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the right to fetch it; `waiting` is called once if another run has it. It ends with the process."""
        path = self.root / "lock" / artifact.sha256
        with _refusing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("ab")
        with lock:
            _take(lock.fileno(), artifact, waiting)
            yield

    @contextmanager
    def staging(self, artifact: Artifact) -> Iterator[Path]:
        """A directory for one attempt, on the store's file system, gone afterwards. Only while it is `locked`."""
        parent = self.root / "partial"
        with _refusing(parent):
            parent.mkdir(parents=True, exist_ok=True)
            for left in parent.glob(f"{artifact.sha256}.*"):
                shutil.rmtree(left, ignore_errors=True)
            self._check_room(artifact)
            directory = Path(tempfile.mkdtemp(prefix=f"{artifact.sha256}.", dir=parent))
        try:
            with _refusing(directory):
                yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def keep(self, artifact: Artifact, staged: Staged) -> Path:
        """Make a finished file the artifact, at once and on the disk. SourceError if it is not the pinned one."""
        if (staged.sha256, staged.size_bytes) != (artifact.sha256, artifact.size_bytes):
            raise SourceError(f"it gave {staged.size_bytes} bytes with sha256 {staged.sha256}")
        staged.close(sync=True)
        path = self.path_of(artifact)
        with _refusing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            staged.path.chmod(0o444)
            staged.path.replace(path)
            _sync_directory(path.parent)
        self._write_stamp(artifact, _look(path) or "")
        return path

    def _check_room(self, artifact: Artifact) -> None:
        free = shutil.disk_usage(self.root).free
        if free < artifact.size_bytes:
            raise ArtifactError(
                f"cannot fetch {artifact}: {free >> 20} MiB free in {self.root}, it takes {artifact.size_bytes >> 20};"
                " make room there, or name another place with UNTERBAU_CACHE_DIR"
            )

    def _stamp(self, artifact: Artifact) -> Path:
        return self.root / "verified" / artifact.sha256

    def _write_stamp(self, artifact: Artifact, seen: str) -> None:
        """What costs only time if it is missing may fail: a store that is read-only, a disk that is full."""
        stamp = self._stamp(artifact)
        with suppress(OSError):
            stamp.parent.mkdir(parents=True, exist_ok=True)
            new = stamp.with_suffix(f".{os.getpid()}")
            new.write_text(seen)
            new.replace(stamp)


def _take(lock: int, artifact: Artifact, waiting: Callable[[], None]) -> None:
    """Asked for again and again: to wait in flock itself would stop every other node of this process (gevent)."""
    for attempt in range(int(LOCK_TIMEOUT_S / LOCK_INTERVAL_S)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == 0:
                waiting()
            time.sleep(LOCK_INTERVAL_S)
        else:
            return
    raise ArtifactError(f"cannot fetch {artifact}: another run has been at it for {LOCK_TIMEOUT_S} s; see what it does")


def _look(path: Path) -> str | None:
    """What changes with every change of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_ino} {found.st_size} {found.st_ctime_ns}\n"


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            _breathe()
    return digest.hexdigest()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
