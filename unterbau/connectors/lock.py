"""One run a node at a time: a lock that ends with the run, however the run ends."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import suppress

import gevent
from paramiko import Transport

ANSWER_TIMEOUT_S = 10
HEARTBEAT_S = 3
SILENCE_S = 10  # shorter than the connector's own limit: the lock is free by the time a cut run is told so
LOCK_FILE = "/run/unterbau.lock"
HELD_BY_ANOTHER = 75

# The lock lives as long as this shell. A killed run's channel closes; a cut run's heartbeats stay away.
_HOLD = f"""\
umask 077
exec 9<>{LOCK_FILE} || exit 1
flock -n 9 || {{ cat {LOCK_FILE} >&2; exit {HELD_BY_ANOTHER}; }}
: >{LOCK_FILE}
read -r holder && printf '%s\\n' "$holder" >{LOCK_FILE} && echo held
while test -n "$(timeout {SILENCE_S} head -c 1)"; do :; done
"""


class NodeLock:
    """An flock on the node, held through one channel of the run's connection."""

    def __init__(self, transport: Transport, holder: str, *, sudo: bool) -> None:
        """Take it; raise OSError that names the holder if another run has it. `sudo`: who logged in is not root."""
        self.holder = holder
        self._channel = transport.open_session(timeout=ANSWER_TIMEOUT_S)
        self._channel.settimeout(ANSWER_TIMEOUT_S)
        self._channel.exec_command(f"{'sudo -n ' * sudo}sh -c {shlex.quote(_HOLD)}")
        self._channel.sendall(json.dumps(holder).encode() + b"\n")
        if self._channel.recv(16) != b"held\n":
            raise OSError(self._refusal())
        self._beaten_s = time.monotonic()
        self._heart = gevent.spawn(self._beat)

    @property
    def lost(self) -> bool:
        """Whether the node has given it up, or may have: another run could be at work there."""
        silent = time.monotonic() - self._beaten_s > SILENCE_S - 1  # this process slept, perhaps: a lid, a Ctrl-Z
        return bool(silent or self._channel.closed or self._channel.exit_status_ready())

    def release(self) -> None:
        """Give it back."""
        self._heart.kill(block=False)
        self._channel.close()

    def _refusal(self) -> str:
        found = self._channel.recv_stderr(4096).decode(errors="replace").strip()
        if self._channel.recv_exit_status() == HELD_BY_ANOTHER:
            return f"another run holds it: {found or 'of unknown origin'}; wait for its end and try again"
        return f"{LOCK_FILE} cannot be locked there: {found}"

    def _beat(self) -> None:
        with suppress(OSError):  # a closed channel: whoever asks `lost` is told
            while not self._channel.closed:
                self._channel.sendall(b".")
                self._beaten_s = time.monotonic()
                gevent.sleep(HEARTBEAT_S)
