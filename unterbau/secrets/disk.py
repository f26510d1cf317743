"""A file that is changed by one process at a time, and replaced whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from unterbau.audit.ledger import sync_folder
from unterbau.secrets.errors import StoreError

WAIT_S = 20
TELL_AFTER_S = 1
POLL_S = 0.05
_log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, who: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold `<path>.lock` in this block; StoreError that names the holder if it is not free within `wait_s`.

    The lock is the kernel's: it ends with the process, however it ends. The file stays: removing it would let two in.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot lock {path}: {lock.name} beside it cannot be opened ({error.strerror}); see owner and mode of "
            f"{path.parent}"
        ) from error
    try:
        _take(descriptor, path, wait_s)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{who} (pid {os.getpid()}, since {_now()})".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, wait_s: float) -> None:
    """Poll: under gevent a blocking flock would stop every other host's greenlet, `time.sleep` does not."""
    begun, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited, holder = time.monotonic() - begun, os.pread(descriptor, 300, 0).decode(errors="replace")
            if waited >= wait_s:
                raise StoreError(
                    f"cannot change {path}: {holder or 'another process'} holds its lock since more than {wait_s:g} s; "
                    "wait for its end and try again"
                ) from None
            if waited >= TELL_AFTER_S and not told:
                told = True
                _log.warning("waiting for %s, which holds the lock of %s", holder or "another process", path)
            time.sleep(POLL_S)
        else:
            return


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`, under its lock: a new file, synced before it gets the name. OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # a killed run's, whose lock is free
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _keep_owner(path, file.fileno())
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _keep_owner(path: Path, descriptor: int) -> None:
    """Root's change must not take the file away from its owner."""
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        if os.geteuid() == 0 and (found.st_uid, found.st_gid) != (0, 0):
            os.fchown(descriptor, found.st_uid, found.st_gid)
