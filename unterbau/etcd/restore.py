"""Back to a snapshot: one server becomes a cluster of one out of it, the others join it again, one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import gevent

from unterbau.domain.unknown import Unknown
from unterbau.etcd import restore_steps as steps
from unterbau.etcd.restore_steps import Places
from unterbau.secrets.hidden import Hidden

START_WITHIN_S = 600  # K3s' own limit of a start is longer; a joiner copies the whole database
LOOK_AGAIN_S = 1.0
HERE = Places()


class RestoreError(Exception):
    """A sentence: cannot + object + what was found + what to do next."""


class Machine(Protocol):
    """A node of the cluster."""

    name: str

    def run(self, command: str, secret: Hidden | None = None) -> str:
        """Its output; `secret` goes to standard input. RestoreError with its last words if it fails."""
        ...

    def member(self) -> Mapping[str, Any] | Unknown:
        """What its etcd says, a reading of `facts.etcd_member.State`."""
        ...


@dataclass(frozen=True)
class Token:
    """A server token that the store keeps."""

    hash: str
    value: Hidden


@dataclass(frozen=True)
class Checked:
    """A snapshot that can be restored: its id, and the tokens that may open it, the likeliest first."""

    identity: str
    tokens: tuple[Token, ...]


def checked(file: Mapping[str, Any] | Unknown, name: str, identity: str, kept: Sequence[Token], noted: str) -> Checked:
    """Whether the snapshot `name` can be restored, before anything is stopped for it; RestoreError with the arithmetic.

    Args:
        file: a reading of `facts.etcd_snapshot.File`.
        name: as the operator knows it.
        identity: the beginning of its SHA-256.
        kept: the tokens of the store, newest first.
        noted: the hash of the token in K3s' record of it; "" if there is none.
    """
    if isinstance(file, Unknown) or not file["exists"]:
        raise RestoreError(f"cannot restore {name}: it could not be read; name another snapshot")
    if file["intact"] is False:
        raise RestoreError(
            f"cannot restore {name}: its checksum is not that of its content; it is damaged, name another"
        )
    wanted = [noted] if noted else list(file["token_hashes"])
    tokens = tuple(token for token in kept if token.hash in wanted)
    if not tokens:
        there = ", ".join(token.hash for token in kept) or "none"
        raise RestoreError(
            f"cannot restore {name}: it opens with the server token {' or '.join(wanted) or 'of an unknown hash'}, and "
            f"of {len(kept)} in the store ({there}) it is none; set that token with `unterbau secrets set`, or name "
            "another snapshot"
        )
    return Checked(identity, tokens)


@dataclass
class Restore:
    """One restore. `servers`: the one that the snapshot lies on first; `url_of(name)` is where it is joined."""

    snapshot: Checked
    servers: Sequence[Machine]
    agents: Sequence[Machine]
    url: str
    tell: Callable[[str], None] = lambda _line: None
    opened: Callable[[Token], None] = lambda _token: None  # which token it was: the store's current one from now on
    name: str = ""  # the snapshot's, as the operator knows it
    places: Places = HERE
    start_within_s: float = START_WITHIN_S
    _identity: str = field(init=False)
    _since: dict[str, str] = field(default_factory=dict)  # {node: when it was started, by its own clock}

    def __post_init__(self) -> None:
        self._identity = self.snapshot.identity

    def carry_out(self) -> None:
        """From wherever an earlier attempt ended. RestoreError; the same call goes on from there."""
        first, *others = self.servers
        self._may_begin()
        token = self._opened_by(first)
        if token is None:
            self._stopped()
            token = self._reset(first)
        else:
            self.tell(f"{first.name}: the snapshot is a cluster already, going on from there")
        self.opened(token)
        self._joined(first, others, token)
        self._agents()
        for machine in (*others, first):  # it knows that all this is done until the others need it no more
            machine.run(steps.end(self.places, self._identity))

    def _may_begin(self) -> None:
        """What would end in the middle is not begun: looked for on all servers before the first of them is touched."""
        for machine in self.servers:
            lacking = ", ".join(machine.run(steps.lacking(self.places)).split("\n")).strip(", ")
            if lacking:
                raise RestoreError(
                    f"cannot restore: found {lacking} on {machine.name}; apply first, and if a restore was begun on "
                    "others, take it back before that with `unterbau etcd restore --abandon`"
                )
            begun = machine.run(steps.under_way(self.places)).strip()
            if begun not in ("", self._identity):
                raise RestoreError(
                    f"cannot restore: on {machine.name} found another restore, {begun}, that has not ended; take it "
                    "back with `unterbau etcd restore --abandon`"
                )

    def _opened_by(self, first: Machine) -> Token | None:
        """With which token an earlier attempt has made it a cluster of one; None if none has."""
        noted = first.run(steps.is_reset(self.places, self._identity)).strip()
        return next((one for one in self.snapshot.tokens if one.hash == noted), None)

    def _stopped(self) -> None:
        """All or none: nothing is touched before every server has stopped."""
        for machine in self.servers:
            machine.run(steps.begin(self.places, self._identity, self.name))
        for machine in self.servers:
            self.tell(f"{machine.name}: stopping")
            machine.run(steps.stop())
        for machine in self.servers:
            for line in machine.run(steps.set_aside(self.places, self._identity)).splitlines():
                self.tell(f"{machine.name}: {line}")

    def _reset(self, first: Machine) -> Token:
        """The token that opened it; a page of the file that is free by now may name another one."""
        for number, token in enumerate(self.snapshot.tokens, start=1):
            self.tell(f"{first.name}: restoring with the token {token.hash}")
            try:
                first.run(steps.reset(self.places, self._identity, token.hash), line_of(token.value))
            except RestoreError as error:
                if steps.OTHER_TOKEN not in str(error) or number == len(self.snapshot.tokens):
                    raise
                first.run(steps.set_aside(self.places, self._identity))
            else:
                return token
        raise RestoreError("cannot restore: found no token to try")

    def _joined(self, first: Machine, others: Sequence[Machine], token: Token) -> None:
        for machine in self.servers:
            joins = None if machine is first else self.url
            machine.run(steps.configured(self.places, joins), line_of(token.value))
        nodes = [machine.name for machine in (*self.servers, *self.agents)]
        for position, machine in enumerate([first, *others], start=1):
            self.tell(f"{machine.name}: starting, server {position} of {len(self.servers)}")
            self._since[machine.name] = machine.run(steps.start(self.places)).strip()
            self._await(machine, self._votes, "its etcd has no vote")
            self._await(machine, self._answers, "its API is not ready")
            if machine is first:
                machine.run(steps.forget_node_passwords(self.places, nodes))

    def _votes(self, machine: Machine) -> bool:
        """A voter of a cluster that has a leader, and reads with its quorum."""
        found = machine.member()
        if isinstance(found, Unknown) or not found["cluster"]["answers"]:
            return False
        ready = found["metrics"]["ready"] or {}
        cluster = found["cluster"]
        return bool(cluster["leader_id"] and cluster["learner"] is False and ready.get("linearizable_read"))

    def _answers(self, machine: Machine) -> bool:
        return machine.run(steps.api_ready(self.places)).strip() == "yes"

    def _await(self, machine: Machine, true: Callable[[Machine], bool], found: str) -> None:
        deadline = time.monotonic() + self.start_within_s
        while not true(machine):
            if time.monotonic() > deadline:
                raise RestoreError(
                    f"cannot go on from {machine.name}: after {self.start_within_s:.0f} s {found}; see `journalctl -u "
                    "k3s` there, then call the same command again: it goes on from here"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def _agents(self) -> None:
        for machine in self.agents:
            if since := machine.run(steps.restart_agent()).strip():
                self._since[machine.name] = since
        self.tell(f"waiting until {len(self._since)} nodes are Ready")
        for name in self._since:
            self._await(self.servers[0], partial(self._is_ready, name), f"{name} is not Ready by its own word")

    def _is_ready(self, name: str, asked: Machine) -> bool:
        """Said since its start: what the snapshot says of nodes is of that time."""
        rows = [line.split() for line in asked.run(steps.heartbeats(self.places)).splitlines()]
        said = {row[0]: row[1:] for row in rows if len(row) == 3}
        return name in said and said[name][0] == "True" and said[name][1] >= self._since[name]


def line_of(token: Hidden) -> Hidden:
    """The line of config.yaml, as the layer k3s writes it."""
    return Hidden(f"token: {json.dumps(token.unmask())}")
