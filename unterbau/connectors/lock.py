"""One run a node at a time: a lock that ends with the run, however the run ends."""

from __future__ import annotations

import json
import shlex

from paramiko import Transport

LOCK_TIMEOUT_S = 10
LOCK_FILE = "/run/unterbau.lock"

# The lock lives as long as this shell, the shell as long as the channel: a killed run frees it by dying.
_HOLD = f"""\
exec 9<>{LOCK_FILE} || exit 1
flock -n 9 || {{ cat {LOCK_FILE} >&2; exit 75; }}
read -r holder && printf '%s\\n' "$holder" >{LOCK_FILE} && echo held && exec cat >/dev/null
"""


class NodeLock:
    """An flock on the node, held through one channel of the run's connection."""

    def __init__(self, transport: Transport, holder: str, *, sudo: bool) -> None:
        """Take it; raise OSError that names the holder if another run has it. `sudo`: who logged in is not root."""
        self._channel = transport.open_session(timeout=LOCK_TIMEOUT_S)
        self._channel.settimeout(LOCK_TIMEOUT_S)
        self._channel.exec_command(f"{'sudo -n ' * sudo}sh -c {shlex.quote(_HOLD)}")
        self._channel.sendall(json.dumps(holder).encode() + b"\n")
        if self._channel.recv(16) != b"held\n":
            raise OSError(self._refusal())

    def _refusal(self) -> str:
        found = self._channel.recv_stderr(4096).decode(errors="replace").strip()
        if self._channel.recv_exit_status() == 75:
            return f"another run holds it: {found or 'of unknown origin'}; wait for its end and try again"
        return f"{LOCK_FILE} cannot be locked there: {found}"
