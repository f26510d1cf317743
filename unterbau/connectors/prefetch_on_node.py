"""Runs on a node: the commands on standard input, and tells of each what it says, as it says it.

A node gets this very file, so it needs nothing but the standard library (3.9). In: commands for `sh -c`, a NUL between
two. Out: HELLO, then frames `<kind> <number of the command> <bytes>\\n` with so many bytes: `s` it has begun, `o` and
`e` a piece of its output and its errors, `x` its exit status (-1: a signal), when it and whoever shares its outputs
have ended. Each command gets what sshd would give it: no input, pipes of its own, the environment of the login.
"""

from __future__ import annotations

import os
import select
import signal
import sys

HELLO = b"unterbau prefetch 1\n"
WIDTH = 2  # at once: one that hangs does not hold up the others, and a busy node is not made busier than it must be
PIECE_BYTES = 50_000
GONE_MS = 10  # to the next look after a command that has closed its outputs and not ended
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def environment() -> dict[bytes, bytes]:
    """As the login made it: Python may have set LC_CTYPE since."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123  # pathlib takes longer to import than all else here
        pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
        return {name: value for name, _, value in pairs}


def tell(kind: bytes, number: int, text: bytes = b"") -> None:
    """Write one frame, whole."""
    frame = b"%s %d %d\n%s" % (kind, number, len(text), text)
    while frame:
        frame = frame[os.write(1, frame) :]


class Runner:
    """At most WIDTH commands at once, in order."""

    def __init__(self, commands: list[bytes]) -> None:
        self._waiting = list(enumerate(commands))[::-1]
        self._environment = environment()
        self._poll = select.poll()
        self._poll.register(1, 0)  # whoever reads us may go
        self._outputs: dict[int, tuple[int, bytes]] = {}  # file descriptor -> (number, kind)
        self._running: dict[int, int] = {}  # number -> process

    def run(self) -> None:
        """All of them; or until nobody reads any more: then those that run are ended."""
        try:
            while self._waiting or self._running:
                self._end_those_that_ended()
                while self._waiting and len(self._running) < WIDTH:
                    self._begin(*self._waiting.pop())
                if self._running and not self._hear():
                    return
        except BrokenPipeError:
            return
        finally:
            self._end_all()

    def _begin(self, number: int, command: bytes) -> None:
        tell(b"s", number)
        ends = {kind: os.pipe() for kind in (b"o", b"e")}
        files = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, ends[b"o"][1], 1),
            (os.POSIX_SPAWN_DUP2, ends[b"e"][1], 2),
        ]
        self._running[number] = os.posix_spawn(
            "/bin/sh", [b"sh", b"-c", command], self._environment,
            file_actions=files, setpgroup=0, setsigdef=IGNORED_BY_PYTHON,
        )  # fmt: skip
        for kind, (ours, theirs) in ends.items():
            os.close(theirs)
            self._outputs[ours] = (number, kind)
            self._poll.register(ours, select.POLLIN)

    def _hear(self) -> bool:
        speaking = {number for number, _kind in self._outputs.values()}
        for file, _event in self._poll.poll(None if speaking >= set(self._running) else GONE_MS):
            if file == 1:
                return False
            number, kind = self._outputs[file]
            piece = os.read(file, PIECE_BYTES)
            if piece:
                tell(kind, number, piece)
            else:
                self._poll.unregister(file)
                os.close(file)
                del self._outputs[file]
        return True

    def _end_those_that_ended(self) -> None:
        speaking = {number for number, _kind in self._outputs.values()}
        for number, process in list(self._running.items()):
            if number not in speaking:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    del self._running[number]
                    tell(b"x", number, b"%d" % max(os.waitstatus_to_exitcode(status), -1))

    def _end_all(self) -> None:
        for process in self._running.values():
            try:
                os.killpg(process, signal.SIGTERM)
            except OSError:  # ended, or another user's: sudo
                continue


def main() -> None:
    """Say hello, run what is on standard input."""
    commands = sys.stdin.buffer.read().split(b"\0")
    os.write(1, HELLO)
    Runner(commands).run()


if __name__ == "__main__":
    main()
