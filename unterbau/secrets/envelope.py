"""A store's contents in and out of the age file, with every way in which that fails as a sentence."""

from __future__ import annotations

from pathlib import Path

from unterbau.secrets.errors import StoreError
from unterbau.secrets.identity import Identity, parsed_recipients
from unterbau.secrets.payload import Contents, PayloadError, from_json, to_json

_RESTORE = "it was not touched; put back the last good copy (a backup, or `git checkout` if it is committed)"
_OTHER = (
    "it was not touched; see that the inventory names the right file, and that your unterbau is as new as the writer's"
)


def opened(path: Path, content: bytes, identity: Identity) -> Contents:
    """What is in the age file `path`, whose bytes are `content`."""
    import pyrage  # noqa: PLC0415  # only who opens a store pays for it

    if not content:
        raise StoreError(f"cannot read the store {path}: found an empty file; {_RESTORE}")
    try:
        return from_json(pyrage.decrypt(content, identity.keys))
    except PayloadError as error:
        raise StoreError(f"cannot read the store {path}: found {error}; {_OTHER}") from None
    except pyrage.DecryptError as error:
        if str(error) == "No matching keys found":
            raise StoreError(_not_for(path, identity)) from None
        damage = str(error).partition("\n")[0]
        raise StoreError(
            f"cannot read the store {path}: found a damaged or truncated age file ({damage}); {_RESTORE}"
        ) from None


def _not_for(path: Path, identity: Identity) -> str:
    public = f" ({', '.join(identity.recipients)})" if identity.recipients else ""
    return (
        f"cannot open the store {path}: it is not encrypted for the identity {identity.path}{public}; use another one, "
        "or let one of its recipients run `unterbau secrets recipients add --env ENV KEY` for yours"
    )


def sealed(path: Path, contents: Contents, identity: Identity) -> bytes:
    """The age file for all recipients; StoreError if `identity` could not open it again."""
    import pyrage  # noqa: PLC0415  # only who writes a store pays for it

    text = to_json(contents)
    encrypted: bytes = pyrage.encrypt(text, list(parsed_recipients(contents.recipients)), armored=True)
    try:
        readable = pyrage.decrypt(encrypted, identity.keys) == text
    except pyrage.DecryptError:
        readable = False
    if not readable:
        raise StoreError(
            f"cannot write the store {path}: you could not read it any more with {identity.path}; keep its public key "
            "among the recipients"
        )
    return encrypted
