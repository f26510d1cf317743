"""Starting things that outlive the command that started them, and waiting until they answer."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from unterbau.lab.cgroup import Group
from unterbau.lab.command import environment
from unterbau.lab.errors import LabError


def start(group: Group, command: Sequence[str], *, log: Path, controllers: bool, later: Sequence[Path] = ()) -> None:
    """Start a command in a session and control group of its own; its output goes to the log, which begins anew.

    controllers: join the v1 hierarchies too; later: those that the command joins by itself.
    """
    joins = [directory for directory in group.create(controllers=controllers) if directory not in later]
    enter = "".join(f"echo $$ > {directory}/cgroup.procs && " for directory in joins) + 'exec "$@"'
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", enter, "sh", *command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, cwd="/", env=environment(),
        )  # fmt: skip
    # It joins by itself; whoever asks the group next must find it there.
    while not group.populated() and process.poll() is None:
        time.sleep(0.005)


def answers(address: str, port: int, timeout_s: float) -> bool:
    """Whether someone accepts a TCP connection there within the time."""
    try:
        with socket.create_connection((address, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def listening(address: str, port: int, timeout_s: float) -> None:
    """Wait until someone accepts connections there. Raises LabError after the time."""
    deadline = time.monotonic() + timeout_s
    while not answers(address, port, timeout_s=0.5):
        if time.monotonic() > deadline:
            raise LabError(f"cannot reach {address} port {port}: nobody answered within {timeout_s} s")
        time.sleep(0.02)
