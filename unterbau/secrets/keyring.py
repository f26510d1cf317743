"""The secrets of an environment as deploys ask for them: by name, hidden, and never one that was not stored.

A declared secret that is missing, or due, gets a *candidate* at plan time: made once in this process, so that the plan,
the store's operation and every consumer speak of one value. Only the store's operation makes it real. While pyinfra
executes, a candidate that was not stored cannot be unmasked: better a node without its file than one with a key that
nobody kept.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

from pyinfra.context import ctx_state
from typing_extensions import override

from unterbau.domain.rotation import overdue_days
from unterbau.secrets import generator
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.payload import time_text
from unterbau.secrets.store import New, Store, StoreError, Version, unknown

if TYPE_CHECKING:
    from unterbau.declaration.secret import Generator, Secret

HASH_KEY = "keyed-hash"


class StoreDeclaration(Protocol):
    """What is asked of a SecretStore."""

    @property
    def path(self) -> str: ...  # noqa: D102

    @property
    def identity(self) -> str: ...  # noqa: D102


class Metadata(TypedDict):
    """What may be told of a secret. `made_at` is UTC; `overdue_days` is None if its period is not over."""

    version: int
    made_at: str
    made_by: str
    overdue_days: int | None


class Candidate(Hidden):
    """A value that is not stored yet."""

    def __init__(self, name: str, number: int, value: str, made_at: datetime) -> None:
        super().__init__(value)
        self.name, self.number, self.made_at, self.committed = name, number, made_at, False

    @override
    def unmask(self) -> str:
        """The value; StoreError while a run executes and the store does not have it."""
        if not self.committed and ctx_state.isset() and ctx_state.get().is_executing:
            raise StoreError(
                f"cannot use version {self.number} of the secret {self.name}: the store does not have it; see what the "
                "store's host says in this run, and apply again"
            )
        return super().unmask()


@dataclass
class _Shared:
    """What all keyrings of one store share in a process. `now` stands still: what is due stays so from plan to end."""

    store: Store
    now: datetime
    candidates: dict[str, Candidate] = field(default_factory=dict)
    hidden: dict[tuple[str, int, str], Hidden] = field(default_factory=dict, repr=False)


_shared: dict[tuple[Path, Path], _Shared] = {}


class Keyring:
    """See the module. Every method raises StoreError, with the next step, if the store cannot be read."""

    def __init__(self, shared: _Shared, declared: Sequence[Secret], *, rotate: bool, generate: bool) -> None:
        self._own, self._rotate, self._generate = shared, rotate, generate
        self._declared = {str(one.name): one for one in declared}

    @classmethod
    def of(cls, store: StoreDeclaration, declared: Sequence[Secret], rotate: bool, *, generate: bool = True) -> Keyring:
        """`rotate`: what is due gets a candidate. `generate` False: nothing does, the store is out of this run."""
        opened = Store(store.path, store.identity)
        key = (opened.path, opened.identity)
        shared = _shared.setdefault(key, _Shared(opened, datetime.now(UTC).replace(microsecond=0)))
        return cls(shared, declared, rotate=rotate and generate, generate=generate)

    def value(self, name: str) -> Hidden:
        """The current value, or the candidate for the next one."""
        return self.versions(name, 1)[0]

    def versions(self, name: str, newest: int) -> list[Hidden]:
        """At most so many values, newest first."""
        candidate, stored = self._known(name)
        old = [self._hidden(name, version) for version in reversed(stored[-newest:])]
        return ([candidate, *old] if candidate else old)[:newest]

    def within(self, name: str, days: int) -> list[Hidden]:
        """The current value and those that were replaced less than `days` ago, newest first."""
        candidate, stored = self._known(name)
        replaced_at = [version.made_at for version in stored[1:]] + ([candidate.made_at] if candidate else [])
        since = self._own.now - timedelta(days=days)
        recent = [self._hidden(name, old) for old, moment in zip(stored, replaced_at, strict=False) if moment > since]
        current = candidate or self._hidden(name, stored[-1])
        return [current, *reversed(recent)]

    def version(self, name: str) -> int:
        """The number of `value`."""
        candidate, stored = self._known(name)
        return candidate.number if candidate else stored[-1].number

    def made_at(self, name: str) -> datetime:
        """When `value` was made, UTC."""
        candidate, stored = self._known(name)
        return candidate.made_at if candidate else stored[-1].made_at

    def is_new(self, name: str) -> bool:
        """Whether `value` is a candidate: what is computed from it differs from plan to plan until it is stored."""
        return self._known(name)[0] is not None

    def metadata(self) -> dict[str, Metadata]:
        """Every stored secret, by name, also those that nothing declares any more; never a value."""
        return {
            name: {
                "version": current.number, "made_at": time_text(current.made_at), "made_by": current.made_by,
                "overdue_days": self._overdue_days(name, current),
            }
            for name, versions in self._own.store.read().secrets.items() for current in versions[-1:]
        }  # fmt: skip

    def keyed_hash(self, purpose: str, text: str) -> str:
        """HMAC-SHA256 in hex: says whether two texts are the same to who has the key, and nothing to who has not."""
        key = self.value(HASH_KEY).unmask().encode()
        return hmac.new(key, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()

    def commit(self, numbers: Mapping[str, int]) -> None:
        """Store the candidates of these names, each as the version that the plan showed; all of them or none."""
        pending = [self._pending(name, number) for name, number in numbers.items()]
        fresh = [one for one in pending if not one.committed]
        self._own.store.commit(
            New(one.name, Hidden.unmask(one), one.number - 1, one.made_at, "generate" if one.number == 1 else "rotate")
            for one in fresh
        )
        for one in fresh:
            one.committed = True

    def _pending(self, name: str, number: int) -> Candidate:
        known = self._own.candidates.get(name)
        if known is not None and known.committed and known.number == number:
            return known  # a command that is tried again
        stored = self._own.store.read().number(name)
        kind = self._kind(name)
        if kind is None:
            raise StoreError(f"cannot make the secret {name}: nothing declares how; give it a kind, or set it by hand")
        if stored != number - 1:
            raise StoreError(
                f"cannot store version {number} of {name}: found version {stored} meanwhile; nothing was stored; plan "
                "again"
            )
        return self._candidate(name, kind, number)

    def _known(self, name: str) -> tuple[Candidate | None, tuple[Version, ...]]:
        """(candidate, stored versions); one of them is there, or a StoreError says how to set it."""
        stored = self._own.store.read().secrets.get(name, ())
        kind = self._kind(name)
        due = not stored or (self._rotate and self._overdue_days(name, stored[-1]) is not None)
        if kind is not None and self._generate and due:
            return self._candidate(name, kind, len(stored) + 1), stored
        if not stored:
            raise StoreError(f"cannot use the secret {name}: {self._why_missing(name)}")
        return None, stored

    def _candidate(self, name: str, kind: Generator, number: int) -> Candidate:
        known = self._own.candidates.get(name)
        if known is None or known.number != number or known.committed:
            made = generator.make(kind, self._own.now)
            known = self._own.candidates[name] = Candidate(name, number, made, self._own.now)
        return known

    def _kind(self, name: str) -> Generator | None:
        secret = self._declared.get(name)
        return secret.kind if secret else None

    def _overdue_days(self, name: str, version: Version) -> int | None:
        secret = self._declared.get(name)
        return overdue_days(version.made_at, secret.rotate_after_days, self._own.now) if secret else None

    def _why_missing(self, name: str) -> str:
        path = self._own.store.path
        if self._kind(name) is not None:
            return f"it is not in {path} yet, and this run leaves the store out that would make it; widen --limit"
        known = {*self._own.store.read().secrets, *self._declared} - {name}
        return f"in {path} {unknown(name, known)}"

    def _hidden(self, name: str, version: Version) -> Hidden:
        key = (name, version.number, version.value)
        if key not in self._own.hidden:
            self._own.hidden[key] = Hidden(version.value)
        return self._own.hidden[key]
