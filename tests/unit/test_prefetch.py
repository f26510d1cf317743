"""Answers that are read ahead: used once, only for the same command, and never in place of one that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import gevent
import pytest
from gevent.queue import Queue
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api import HiddenValue
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import StringCommand

from unterbau.connectors import prefetch
from unterbau.connectors.prefetch import Answer, Prefetch, ReplyError, fact_line, frames
from unterbau.connectors.prefetch_on_node import HELLO
from unterbau.secrets.hidden import Hidden


def frame(kind: str, number: int, text: bytes = b"") -> bytes:
    return f"{kind} {number} {len(text)}\n".encode() + text


def answered(number: int, out: bytes = b"", err: bytes = b"", status: int = 0) -> bytes:
    said = frame("o", number, out) * bool(out) + frame("e", number, err) * bool(err)
    return frame("s", number) + said + frame("x", number, str(status).encode())


class Channel:
    """A node's end of a channel: what it says is put in, what it was told is kept."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.pieces: Queue[bytes] = Queue()
        self.said, self.closed = b"", False
        for piece in (*pieces, b"") if ends else pieces:
            self.pieces.put(piece)

    def exec_command(self, command: str) -> None:
        self.command = command

    def sendall(self, text: bytes) -> None:
        self.said += text

    def shutdown_write(self) -> None:
        pass

    def recv(self, _size: int) -> bytes:
        return self.pieces.get()

    def close(self) -> None:
        self.closed = True
        self.pieces.put(b"")


def begun(channel: Channel, *commands: str) -> Prefetch:
    ahead = Prefetch(commands)
    ahead.begin(lambda: channel)  # type: ignore[arg-type,return-value]
    return ahead


def test_all_are_asked_for_at_once_and_each_gets_its_own_answer() -> None:
    channel = Channel(HELLO, answered(1, b"two\n", b"oh\n", 3), answered(0, b"one\n"))
    ahead = begun(channel, "first", "second")
    assert ahead.take("first", 5) == Answer(b"one\n", b"", 0)
    assert ahead.take("second", 5) == Answer(b"two\n", b"oh\n", 3)
    assert channel.said == b"exec first\0exec second"


def test_an_answer_is_used_once_and_for_its_command_only() -> None:
    ahead = begun(Channel(HELLO, answered(0, b"1")), "first")
    assert ahead.take("first ", 5) is None
    assert ahead.take("first", 5) == Answer(b"1", b"", 0)
    assert ahead.take("first", 5) is None


def test_what_is_dropped_is_never_used_and_its_commands_are_ended() -> None:
    channel = Channel(HELLO, answered(0, b"1"), frame("s", 1), ends=False)
    ahead = begun(channel, "first", "second")
    waiting = gevent.spawn(ahead.take, "second", 60)
    gevent.sleep(0)
    ahead.drop()
    assert (ahead.take("first", 5), waiting.get(timeout=5), channel.closed) == (None, None, True)


def test_dropped_before_the_channel_was_open_nothing_is_run() -> None:
    channel = Channel(ends=False)
    ahead = begun(channel, "first")
    ahead.drop()
    gevent.sleep(0)
    assert (channel.said, ahead.take("first", 5)) == (b"", None)


def test_a_command_that_does_not_end_is_a_timeout_as_if_it_were_run_alone() -> None:
    ahead = begun(Channel(HELLO, frame("s", 0), ends=False), "first")
    with pytest.raises(TimeoutError):
        ahead.take("first", 0.01)


def test_behind_others_that_hang_a_command_is_run_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "PATIENCE_S", 0.01)
    channel = Channel(HELLO, frame("s", 0), ends=False)
    ahead = begun(channel, "hangs", "waits")
    assert (ahead.take("waits", 5), channel.closed) == (None, True)


HOSTILE = {
    "nothing": b"",
    "no python": b"bash: line 1: exec: python3: not found\n",
    "a greeting of the login shell": b"Welcome!\n" + HELLO + answered(0, b"1"),
    "another version": HELLO.replace(b"1", b"2") + answered(0, b"1"),
    "cut in its output": HELLO + frame("s", 0) + frame("o", 0, b"12345")[:-2],
    "cut before its end": HELLO + frame("s", 0) + frame("o", 0, b"12345"),
    "an unknown kind": HELLO + frame("s", 0) + frame("q", 0, b"1") + answered(0),
    "a command that nobody asked": HELLO + answered(7, b"1"),
    "a length that is none": HELLO + b"o 0 -1\n",
    "a length beyond all bounds": HELLO + b"s 0 0\no 0 999999999999\n",
    "a head without an end": HELLO + b"o" * 4096,
    "digits of another script": HELLO + "s \u0660 0\n".encode(),
    "a status that is none": HELLO + frame("s", 0) + frame("x", 0, b"0; reboot"),
    "an end without a beginning": HELLO + frame("x", 0, b"0"),
    "a second beginning": HELLO + frame("s", 0) + answered(0, b"1"),
}  # fmt: skip


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE)
def test_a_reply_that_makes_no_sense_is_no_answer(reply: bytes) -> None:
    assert begun(Channel(reply), "first").take("first", 5) is None


def test_a_reply_beyond_all_bounds_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "MOST_BYTES", 100)
    channel = Channel(HELLO, frame("s", 0), *[frame("o", 0, b"x" * 60)] * 2, frame("x", 0, b"0"))
    assert (begun(channel, "first").take("first", 5), channel.closed) == (None, True)


def test_more_after_the_end_takes_back_nothing_and_ends_the_rest() -> None:
    ahead = begun(Channel(HELLO, answered(0, b"1"), frame("o", 0, b"2"), answered(1)), "first", "second")
    assert (ahead.take("first", 5), ahead.take("second", 5)) == (Answer(b"1", b"", 0), None)


@pytest.mark.parametrize("error", [OSError("cut"), EOFError(), prefetch.SSHException("no channel")])
def test_a_channel_that_cannot_be_opened_is_no_answer(error: Exception) -> None:
    def fail() -> Any:
        raise error

    ahead = Prefetch(["first"])
    ahead.begin(fail)
    assert ahead.take("first", 5) is None


@given(
    said=st.lists(st.tuples(st.sampled_from("oe"), st.integers(0, 1), st.binary(max_size=40)), max_size=12),
    cuts=st.lists(st.integers(0, 400)),
)
def test_whatever_commands_say_however_it_arrives_is_said_again(
    said: list[tuple[str, int, bytes]], cuts: list[int]
) -> None:
    text = HELLO + b"".join(frame(*each) for each in said)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges) if a < b]
    assert list(frames(pieces)) == [(kind.encode(), number, piece) for kind, number, piece in said]


def test_a_text_that_is_cut_is_an_error() -> None:
    def pieces() -> Iterator[bytes]:
        yield HELLO + b"o 0 3\nab"

    with pytest.raises(EOFError):
        list(frames(pieces()))
    with pytest.raises(ReplyError):
        list(frames([b"x" * len(HELLO)]))


def of_a_fact(**differently: Any) -> dict[str, Any]:
    return {**dict.fromkeys(CONNECTOR_ARGUMENT_KEYS), "_shell_executable": "sh", **differently}


def test_the_line_is_what_sshd_is_given() -> None:
    assert fact_line(StringCommand("cat", "/etc/hosts"), of_a_fact()) == "sh -c 'cat /etc/hosts'"
    assert fact_line(StringCommand("id"), of_a_fact(_sudo=True)) == "sudo -H -n sh -c id"


@pytest.mark.parametrize(
    "arguments",
    [
        {"_sudo": True},  # an operator's own call, no fact
        of_a_fact(_stdin="x"),
        of_a_fact(_timeout=3),
        of_a_fact(_get_pty=True),
        of_a_fact(_env={"TOKEN": "s3cret"}),
        of_a_fact(_sudo=True, _sudo_password="s3cret"),
        of_a_fact(_shell_executable=None),
    ],
    ids=str,
)
def test_what_is_no_plain_fact_is_not_read_ahead(arguments: dict[str, Any]) -> None:
    assert fact_line(StringCommand("id"), arguments) is None


def test_a_command_with_a_secret_in_it_is_neither_remembered_nor_read_ahead() -> None:
    assert fact_line(StringCommand("login", HiddenValue("s3cret-value", "***")), of_a_fact()) is None
    Hidden("another-s3cret-value")
    assert fact_line(StringCommand("login another-s3cret-value"), of_a_fact()) is None
