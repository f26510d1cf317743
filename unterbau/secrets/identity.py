"""Age keys: the identity file that opens a store, and the recipients that it is written for."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from unterbau.audit.ledger import sync_folder
from unterbau.secrets.errors import StoreError

LARGEST_BYTES = 1 << 20


@dataclass(frozen=True, repr=False)
class Identity:
    """The keys of one file, as pyrage takes them. `recipients` are the public halves of age keys, "" if it has none."""

    path: Path
    keys: tuple[Any, ...]
    recipients: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Identity({str(self.path)!r})"


def read_identity(path: Path) -> Identity:
    """Read a file as `age-keygen` or `ssh-keygen` makes it; StoreError if others may read it, or it has no key."""
    import pyrage  # noqa: PLC0415  # only who opens a store pays for it

    text = _private_text(path)
    try:
        if "-----BEGIN" in text:
            return Identity(path, (pyrage.ssh.Identity.from_buffer(text.encode()),), ())
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        keys = tuple(pyrage.x25519.Identity.from_str(line) for line in lines)
    except pyrage.IdentityError:
        keys = ()
    if not keys:
        raise StoreError(
            f"cannot read the identity {path}: found no unprotected age or SSH key in it; give the file that "
            "`age-keygen` or `unterbau secrets create --env ENV` made"
        ) from None
    return Identity(path, keys, tuple(str(key.to_public()) for key in keys))


def _private_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise StoreError(
                    f"cannot use the identity {path}: found mode {mode:03o}, others than its owner may have read it; "
                    f"run `chmod 600 {path}`, and if others can log in here, make a new one"
                )
            return file.read(LARGEST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        raise StoreError(
            f"cannot read the identity {path}: there is no such file; put the one you were given there, or make it "
            "(the lab's: `unterbau lab up`; for a new store: `unterbau secrets create --env ENV`)"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read the identity {path}: {error.strerror}; see its owner and mode") from error


def new_identity(path: Path) -> str:
    """Make an age identity with mode 0600 unless there is one, whole or not at all; its recipient ("age1…")."""
    import pyrage  # noqa: PLC0415  # only who makes a key pays for it

    if not path.exists():
        key = pyrage.x25519.Identity.generate()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        _write_once(path, f"# created: {now}\n# public key: {key.to_public()}\n{key}\n")
    recipients = read_identity(path).recipients
    if not recipients:
        raise StoreError(f"cannot take a recipient from {path}: found an SSH key; give its public half as recipient")
    return recipients[0]


def _write_once(path: Path, text: str) -> None:
    """Never over a file that is there: of two at once, the first one's stays."""
    new = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(new)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write the identity {path}: {error.strerror}; make room, or name another") from error


def canonical_recipient(text: str) -> str:
    """A recipient as a store keeps it: an age key in small letters, or an SSH public key with its comment."""
    words = text.split()
    plain = " ".join(words) if text.lstrip().startswith("ssh-") else "".join(words).lower()
    _parsed(plain)
    return plain


def parsed_recipients(recipients: Iterable[str]) -> Iterator[Any]:
    """As pyrage takes them."""
    return map(_parsed, recipients)


def key_of(recipient: str) -> str:
    """What makes two recipients the same: an SSH key's comment does not count."""
    return " ".join(recipient.split()[:2])


def _parsed(recipient: str) -> Any:
    import pyrage  # noqa: PLC0415  # see above

    kind = pyrage.ssh if recipient.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(recipient)
    except pyrage.RecipientError:
        raise StoreError(
            f"cannot use {_shown(recipient)} as a recipient: found no age public key (age1…) and no ssh-ed25519 or "
            "ssh-rsa public key; give what `age-keygen -y IDENTITY` says"
        ) from None


def _shown(text: str) -> str:
    """Somebody will paste the private half one day."""
    private = re.search(r"AGE-SECRET|AGE-PLUGIN|PRIVATE", text, re.IGNORECASE)
    return "a private key" if private else repr(text[:20] + "…" * (len(text) > 20))
