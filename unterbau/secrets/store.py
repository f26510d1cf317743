"""The bootstrap store: one age-encrypted file with every secret of an environment, and a ledger beside it.

A change is made under a lock, from what the file holds at that moment, by a new file that takes the place of the old
one. The ledger's lines for it are inside the new file too (`journal`), so wherever a run is killed, the next change
finds either nothing done, or a store whose last lines it can add to the ledger, byte for byte.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unterbau.audit import ledger
from unterbau.audit.actor import commit as checkout
from unterbau.audit.actor import who
from unterbau.audit.ledger import LedgerError
from unterbau.secrets.disk import locked, replace_file
from unterbau.secrets.envelope import opened, sealed
from unterbau.secrets.errors import StoreError
from unterbau.secrets.identity import canonical_recipient, key_of, read_identity
from unterbau.secrets.payload import NAME, Contents, Version, time_text

__all__ = ["Contents", "New", "Store", "StoreError", "Verdict", "Version"]

Entry = dict[str, Any]
Edit = Callable[[Contents], tuple[Contents, Sequence[Entry]]]
_read: dict[tuple[Path, Path], tuple[bytes, Contents]] = {}


@dataclass(frozen=True)
class New:
    """A version to be stored after the version `expects` (0: there is none yet). `action` is what the trail says."""

    name: str
    value: str
    expects: int
    made_at: datetime
    action: str = "set"

    def __repr__(self) -> str:
        return f"New({self.name!r}, version {self.expects + 1})"


@dataclass(frozen=True)
class Verdict:
    """What `verify` found. `completed`: lines of a killed run that were added to the ledger now."""

    secrets: int
    versions: int
    lines: int
    completed: int


class Store:
    """One store. Nothing is read before it is asked; what was read is kept as long as the file stays the same."""

    def __init__(self, path: Path | str, identity: Path | str) -> None:
        self.path = Path(
            os.path.realpath(Path(path).expanduser())
        )  # through a link: the file behind it is replaced, not the link
        self.identity = Path(identity).expanduser()
        self.ledger = self.path.with_name(f"{self.path.name}.ledger")

    @classmethod
    def create(cls, path: Path | str, identity: Path | str, recipients: Iterable[str] = ()) -> Store:
        """Make an empty store for `recipients` and the identity's own; one that is there already stays as it is."""
        store, commit = cls(path, identity), checkout()
        wanted = [canonical_recipient(one) for one in recipients]
        try:
            store.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot make a store in {store.path.parent}: {error.strerror}; name another") from error
        with locked(store.path, who()):
            if os.path.lexists(store.path):
                store._must_be_for(wanted)
            else:
                store._begin(wanted, commit)
        return store

    def read(self) -> Contents:
        """Everything in it. StoreError if it is not there, not ours, damaged, or not for this identity."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"cannot read the store {self.path}: there is no such file; make it (the lab's: `unterbau lab up`, "
                "others: `unterbau secrets create --env ENV`), or put back the one there was"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot read the store {self.path}: {error.strerror}; see its owner and mode") from error
        known = _read.get((self.path, self.identity))
        if known is None or known[0] != content:  # reading costs nothing; times and sizes can be the same by chance
            known = _read[self.path, self.identity] = content, opened(self.path, content, read_identity(self.identity))
        return known[1]

    def version(self, name: str) -> Version:
        """The current version; StoreError with what is near if there is no such secret."""
        contents = self.read()
        version = contents.current(name)
        if version is None:
            raise StoreError(f"cannot find the secret {name} in {self.path}: {unknown(name, contents.secrets)}")
        return version

    def commit(self, new: Iterable[New], actor: str | None = None) -> Contents:
        """Store all of these versions, or none: each only if the current version is the one that it expects."""
        versions, actor = list(new), actor or who()

        def edit(now: Contents) -> tuple[Contents, list[Entry]]:
            secrets = dict(now.secrets)
            for one in versions:
                _check(one, now)
                version = Version(one.expects + 1, one.value, one.made_at, actor)
                secrets[one.name] = (*now.secrets.get(one.name, ()), version)
            entries = [{"action": one.action, "name": one.name, "version": one.expects + 1} for one in versions]
            return replace(now, secrets=secrets), entries

        return self._change(actor, edit)

    def record(self, action: str, name: str, version: int) -> None:
        """Add a line to the trail for something that changes no secret."""
        self._change(who(), lambda now: (now, [{"action": action, "name": name, "version": version}]))

    def add_recipient(self, recipient: str) -> bool:
        """Whoever has its private half can read everything from now on; False if it is one already."""
        plain = canonical_recipient(recipient)
        before = self.read().recipients

        def edit(now: Contents) -> tuple[Contents, list[Entry]]:
            if key_of(plain) in map(key_of, now.recipients):
                return now, []
            added = replace(now, recipients=(*now.recipients, plain))
            return added, [{"action": "add recipient", "name": plain, "version": 0}]

        return self._change(who(), edit).recipients != before

    def remove_recipient(self, recipient: str) -> None:
        """It cannot read what is stored from now on; what it could read before it may have kept."""
        own, plain = read_identity(self.identity).recipients, canonical_recipient(recipient)

        def edit(now: Contents) -> tuple[Contents, list[Entry]]:
            left = tuple(one for one in now.recipients if key_of(one) != key_of(plain))
            if problem := _unremovable(now.recipients, left, own):
                raise StoreError(f"cannot remove the recipient {plain[:80]!r}: {problem}")
            removed = [one for one in now.recipients if one not in left]
            entries = [{"action": "remove recipient", "name": one, "version": 0} for one in removed]
            return replace(now, recipients=left), entries

        self._change(who(), edit)

    def verify(self) -> Verdict:
        """Read everything, and the whole trail; add to it what a killed run left out. StoreError if they disagree."""
        self.read()
        with locked(self.path, who()):
            contents = self.read()
            completed = self._complete(contents, "cannot verify")
        versions = sum(map(len, contents.secrets.values()))
        return Verdict(len(contents.secrets), versions, contents.ledger_end.lines, completed)

    def accept(self) -> str | None:
        """Go on with a ledger that disagrees, and say so in it; None if it agrees. A broken one is put aside."""
        said: list[str] = []

        def disagreement(now: Contents) -> None:
            try:
                ledger.unwritten(ledger.read(self.ledger), now.ledger, now.journal)
            except LedgerError as error:
                said.append(str(error))

        with locked(self.path, who()):
            now = self.read()
            disagreement(now)
            if not said:
                return None
            entry = {"action": "accept", "name": said[0], "version": now.ledger_end.lines}
            start = replace(now, ledger=self._usable_end(), journal=b"")
            self._write_change(start, start, [_full(entry, who(), checkout())])
        return said[0]

    def _usable_end(self) -> ledger.Mark:
        """The end of the ledger if it can go on, else the beginning of a new one."""
        try:
            trail = ledger.read(self.ledger)
            if trail is None or trail.content == trail.content[: trail.end.size]:
                return trail.end if trail else ledger.Mark()
        except LedgerError:
            pass
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.ledger.rename(self.ledger.with_name(f"{self.ledger.name}.broken-{stamp}"))
        return ledger.Mark()

    def _change(self, actor: str, edit: Edit) -> Contents:
        commit = checkout()
        self.read()  # a store that is not there or cannot be read is said so, not that it cannot be locked
        with locked(self.path, actor):
            now = self.read()
            self._complete(now, "cannot change")
            changed, entries = edit(now)
            if not entries:
                return now
            return self._write_change(now, changed, [_full(entry, actor, commit) for entry in entries])

    def _write_change(self, now: Contents, changed: Contents, entries: Sequence[Entry]) -> Contents:
        """First the store with the ledger's lines in it, then the ledger: see the module."""
        journal = ledger.chained(now.ledger_end, entries)
        changed = replace(changed, ledger=now.ledger_end, journal=journal)
        self._write(changed)
        self._complete(changed, "changed the store, but cannot complete")
        return changed

    def _complete(self, contents: Contents, cannot: str) -> int:
        """Bring the ledger up to what the store says; how many lines that took."""
        try:
            missing = ledger.unwritten(ledger.read(self.ledger), contents.ledger, contents.journal)
        except LedgerError as error:
            raise StoreError(
                f"{cannot} {self.path}: its trail {self.ledger.name} disagrees, {error}; put back what belongs "
                "together, or go on with what is there by `unterbau secrets verify --accept --env ENV`, and the trail "
                "will say so"
            ) from error
        try:
            if missing:
                ledger.append(self.ledger, missing)
        except LedgerError as error:
            raise StoreError(
                f"{cannot} its trail: {error}; make room, then `unterbau secrets verify --env ENV`"
            ) from error
        return missing.count(b"\n")

    def _must_be_for(self, recipients: Iterable[str]) -> None:
        present = set(map(key_of, self.read().recipients))
        absent = [one for one in recipients if key_of(one) not in present]
        if absent:
            raise StoreError(
                f"cannot make the store {self.path}: it is there, without the recipient {absent[0]}; add it with "
                "`unterbau secrets recipients add --env ENV KEY`"
            )

    def check_not_lost(self) -> None:
        """StoreError if there was a store here: new secrets in place of lost ones destroy what those have sealed."""
        if os.path.lexists(self.path):
            return
        try:
            trail = ledger.read(self.ledger)
        except LedgerError as error:
            raise StoreError(f"cannot make the store {self.path}: {error}; move that ledger away") from error
        if trail is not None and trail.content:
            last = f" ({ledger.summary(trail.entries[-1])})" if trail.entries else ""
            raise StoreError(
                f"cannot make the store {self.path}: found the trail of one that was here{last}; put it back (a "
                f"backup, or `git checkout`), machines may live by its secrets; if none does, move {self.ledger} away"
            )

    def _begin(self, recipients: Sequence[str], commit: str | None) -> None:
        self.check_not_lost()
        own = read_identity(self.identity).recipients
        everybody = tuple(dict.fromkeys([*recipients, *(own[:1] if not set(own) & set(recipients) else ())]))
        empty = Contents(everybody)
        entries = [_full({"action": "create", "name": self.path.name, "version": 0}, who(), commit)]
        self._write_change(empty, empty, entries)

    def _write(self, contents: Contents) -> None:
        encrypted = sealed(self.path, contents, read_identity(self.identity))
        try:
            replace_file(self.path, encrypted)
        except OSError as error:
            raise StoreError(
                f"cannot write the store {self.path}: {error.strerror}; it is as it was; make room, or see the mode of "
                f"{self.path.parent}"
            ) from error


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not there: a near one, and how to set it."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"there is none of this name{meant}; set it with `unterbau secrets set {name} --env ENV`"


def _check(new: New, now: Contents) -> None:
    if not NAME.fullmatch(new.name):
        raise StoreError(
            f"cannot store the secret {new.name[:80]!r}: a name is a-z, 0-9 and '-', with '/' between (vault/seal-key)"
        )
    if not new.value or "\0" in new.value or new.value != new.value.encode(errors="replace").decode():
        raise StoreError(
            f"cannot store the secret {new.name}: found an empty value, or one with a NUL or half a "
            "character; give a text"
        )
    if (current := now.current(new.name)) is not None and current.number != new.expects:
        raise StoreError(
            f"cannot store version {new.expects + 1} of {new.name}: found version {current.number}, made "
            f"{time_text(current.made_at)} by {current.made_by}, meanwhile; nothing was stored; plan again"
        )
    if current is None and new.expects:
        raise StoreError(
            f"cannot store version {new.expects + 1} of {new.name}: found none at all; was an older store put back? "
            "Nothing was stored; plan again"
        )


def _unremovable(present: Sequence[str], left: Sequence[str], own: Sequence[str]) -> str | None:
    """Why a recipient must stay, and what to do; None if it may go."""
    if len(left) == len(present):
        return f"the store has none of this name; it has {'; '.join(present)}"
    if not left:
        return "it is the last one, nobody could read the store any more; add another one first"
    if own and not set(own) & set(left):
        return "it is your own identity's, you would lock yourself out; let another recipient remove it"
    return None


def _full(entry: Mapping[str, Any], actor: str, commit: str | None) -> Entry:
    return {"at": time_text(datetime.now(UTC)), "who": actor, **entry, "commit": commit}
