"""The answers of a node to the facts that it was asked last time, all fetched by one command before they are asked for.

An answer is used once, for exactly the same command, while the run only looks. Whatever goes wrong here (no Python on
the node, a reply that makes no sense, one that is too long) is no error: the fact's own command is run as ever.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from paramiko import Channel, SSHException
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import make_unix_command

from unterbau.connectors import prefetch_on_node
from unterbau.connectors.prefetch_on_node import HELLO, PIECE_BYTES
from unterbau.secrets.hidden import redact

PATIENCE_S = 10  # until a command has begun there, behind others that hang or take long
OPEN_TIMEOUT_S = 10
MOST_BYTES = 32 << 20  # of all answers of a node
LONGEST_HEAD_BYTES = 32
HEAD = re.compile(rb"([soex]) (\d{1,4}) (\d{1,5})\n")
STATUS = re.compile(rb"-1|\d{1,3}")
# What changes how a command is run beyond its text, or may carry a secret in it: such a fact is read by itself.
READ_ALONE = ("_timeout", "_stdin", "_get_pty", "_env", "_sudo_password", "_su_password")
NOT_IN_THE_LINE = ("_timeout", "_stdin", "_get_pty", "_success_exit_codes")


def fact_line(command: StringCommand, arguments: dict[str, Any]) -> str | None:
    """What sshd would be given for a fact that may be read ahead; None for whatever else is run on a node.

    pyinfra gives a fact all of its connector arguments; who calls a connector directly gives the few that it means.
    """
    if arguments.keys() != set(CONNECTOR_ARGUMENT_KEYS) or not isinstance(arguments["_shell_executable"], str):
        return None
    if any(arguments[name] for name in READ_ALONE):
        return None
    line = make_unix_command(command, **{k: v for k, v in arguments.items() if k not in NOT_IN_THE_LINE})
    raw: str = line.get_raw_value()
    return raw if raw == line.get_masked_value() == redact(raw) else None


class ReplyError(Exception):
    """A reply that `prefetch_on_node` never gives."""


@dataclass
class Answer:
    """What one command said, byte by byte, and how it ended."""

    stdout: bytes = b""
    stderr: bytes = b""
    status: int = -1

    def recv_exit_status(self) -> int:
        """As paramiko's channel says it."""
        return self.status


@dataclass
class _Asked:
    begun: Event = field(default_factory=Event)
    over: Event = field(default_factory=Event)
    pieces: dict[bytes, list[bytes]] = field(default_factory=lambda: {b"o": [], b"e": []})
    answer: Answer | None = None

    def give_up(self) -> None:
        self.begun.set()
        self.over.set()


class Prefetch:
    """The commands under way on one connection. `open_link` opens a channel; it is called by `begin`."""

    def __init__(self, commands: Iterable[str] = ()) -> None:
        self._asked = {command: _Asked() for command in commands}
        self._order = tuple(self._asked.values())
        self._link: Channel | None = None
        self._ended = False

    def begin(self, open_link: Callable[[], Channel]) -> None:
        """Ask for all of them; return at once."""
        if self._asked:
            gevent.spawn(self._fetch, open_link, tuple(self._asked))

    def take(self, command: str, limit_s: float) -> Answer | None:
        """The answer to this command, once, as soon as it is there; None: run it.

        TimeoutError if the command has begun and does not end within `limit_s`.
        """
        one = self._asked.pop(command, None)
        if one is None:
            return None
        if not one.begun.wait(PATIENCE_S):
            self.drop()
        elif not one.over.wait(limit_s):
            raise TimeoutError
        return one.answer

    def drop(self) -> None:
        """Forget every answer that was not used yet, and end what still runs."""
        self._asked.clear()
        self._end()

    def _end(self) -> None:
        """Nothing more will come: whoever waits runs the command itself."""
        self._ended = True
        if self._link is not None:
            self._link.close()
        for one in self._order:
            one.give_up()

    def _fetch(self, open_link: Callable[[], Channel], commands: Sequence[str]) -> None:
        try:
            self._link = link = open_link()
            if self._ended:
                return
            link.exec_command(f"exec python3 -I -S -c {shlex.quote(runner())}")
            # Nothing but a command stands in a line: with `exec` no shell is left to say how it ended, as with sshd's.
            link.sendall("\0".join(f"exec {line}" for line in commands).encode())
            link.shutdown_write()
            for kind, number, piece in frames(iter(lambda: link.recv(PIECE_BYTES), b"")):
                self._hear(kind, number, piece)
        except (OSError, SSHException, EOFError, ReplyError, UnicodeError):
            pass  # see the module
        finally:
            self._end()

    def _hear(self, kind: bytes, number: int, piece: bytes) -> None:
        one = self._order[number] if number < len(self._order) else None
        if one is None or one.over.is_set() or one.begun.is_set() is (kind == b"s"):
            raise ReplyError(f"command {number}")
        if kind == b"s":
            one.begun.set()
        elif kind == b"x":
            one.answer = Answer(b"".join(one.pieces[b"o"]), b"".join(one.pieces[b"e"]), _status(piece))
            one.give_up()
        else:
            one.pieces[kind].append(piece)


def runner() -> str:
    """The program that a node gets."""
    return Path(prefetch_on_node.__file__).read_text(encoding="utf-8")


def frames(received: Iterable[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
    """(kind, number, bytes) of each frame, see `prefetch_on_node`; ReplyError for anything else, or too much of it."""
    reader = _Reader(iter(received))
    if reader.exactly(len(HELLO)) != HELLO:
        raise ReplyError("no hello")
    while head := reader.line():
        found = HEAD.fullmatch(head)
        if found is None:
            raise ReplyError("no frame")
        kind, number, size = found.groups()
        yield kind, int(number), reader.exactly(int(size))


class _Reader:
    """Lines and counted bytes from pieces as they come, MOST_BYTES of them at most."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held, self._left = pieces, b"", MOST_BYTES

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        return self._taken(size)

    def line(self) -> bytes:
        """With its end; empty when nothing more comes."""
        while b"\n" not in self._held:
            if len(self._held) > LONGEST_HEAD_BYTES:
                raise ReplyError("no end of a line")
            try:
                self._more()
            except EOFError:
                if self._held:
                    raise
                return b""
        return self._taken(self._held.index(b"\n") + 1)

    def _more(self) -> None:
        piece = next(self._pieces, b"")
        if not piece:
            raise EOFError
        self._left -= len(piece)
        if self._left < 0:
            raise ReplyError("too long")
        self._held += piece

    def _taken(self, size: int) -> bytes:
        taken, self._held = self._held[:size], self._held[size:]
        return taken


def _status(text: bytes) -> int:
    if not STATUS.fullmatch(text):
        raise ReplyError("no exit status")
    return int(text)
