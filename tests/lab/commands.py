"""How the lab's tests call the program, and break things on its machines by hand."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unterbau.lab import everyone, machine, ssh
from unterbau.lab.cgroup import Group
from unterbau.lab.layout import Lab, lab_from

ROOT = Path(__file__).parent.parent.parent
UNTERBAU = [sys.executable, "-m", "unterbau"]
ADDRESS = {
    "srv-1": "10.77.0.11",
    "srv-2": "10.77.0.12",
    "srv-3": "10.77.0.13",
    "wrk-1": "10.77.0.21",
    "wrk-2": "10.77.0.22",
}
# The last one is where commands run: a module of tests may declare less on the same machines. The first one is the
# platform without K3s as soon as it is converged: a plan of the whole site costs half as much again.
checkouts = [ROOT]
# For UNTERBAU_LAB_PACKAGES: what machines may have from the start where a test is about something else. That packages
# are installed is seen on the usual lab; it takes as long as all that comes after it.
BASE_INSTALLED = "chrony conntrack nftables sudo unattended-upgrades"
LIMIT_S = 900  # far beyond what any of these takes: a hang is a failure, not a wait
SETTLES_WITHIN_S = 180
# What a login's shell has, and no capability that a machine has not: its root is not to set this machine's clock.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOGIN = ("HOME=/root", "LOGNAME=root", "USER=root", "SHELL=/bin/bash", f"PATH={PATH}")
LESS = "-sys_time,-sys_module,-sys_rawio"


def unterbau(*arguments: str, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """`unterbau ARGUMENTS`, with nothing on standard input."""
    command = [*UNTERBAU, *arguments]
    return subprocess.run(
        command,
        cwd=cwd or checkouts[-1],
        text=True,
        capture_output=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
        check=False,
        **options,
    )


class Running:
    """`unterbau ARGUMENTS` under way. Its output goes to a file: a plan is longer than a pipe that nobody reads."""

    def __init__(self, *arguments: str, cwd: Path | None = None, stdin: int = subprocess.DEVNULL) -> None:
        self._out = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # it lives as long as the run
        pipes = {"stdin": stdin, "stdout": self._out, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([*UNTERBAU, *arguments], cwd=cwd or checkouts[-1], text=True, **pipes)

    def until(self, words: str) -> Running:
        """Wait until its progress says this."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if words in line:
                return self
        raise AssertionError(f"it never said {words!r}: {self.end()}")

    def end(self, timeout_s: int = LIMIT_S) -> tuple[int, str, str]:
        """(exit code, output, the rest of its progress) when it has ended."""
        err = self.process.communicate(timeout=timeout_s)[1]
        self._out.seek(0)
        return self.process.returncode, self._out.read(), err


def plan(*arguments: str) -> tuple[int, dict[str, Any]]:
    """(exit code, plan) of `unterbau plan lab --json`."""
    ran = unterbau("plan", "lab", "--json", *arguments)
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def settled(*arguments: str) -> None:
    """Wait until a plan finds nothing to do, without anybody's help: after a boot servers start and find each other."""
    ends_s = time.monotonic() + SETTLES_WITHIN_S
    while (found := plan(*arguments))[0] != 0 and time.monotonic() < ends_s:
        time.sleep(1)  # what is waited for needs the processors too
    code, document = found
    assert (code, document["changes"], document["problems"]) == (0, [], [])


def changes(document: dict[str, Any]) -> set[tuple[str, str]]:
    """{(host, subject)} of everything that a plan would change."""
    return {(change["host"], part["subject"]) for change in document["changes"] for part in change["changes"]}


def pins(lab: Lab) -> Path:
    """Where the host keys of a lab's machines are pinned: by its cloud's project, if they come from there."""
    return lab.cloud / "known_hosts" if everyone.are_of_the_cloud(lab) else lab.known_hosts


def shell(lab: Lab, node: str, *command: str) -> list[str]:
    """The command that `unterbau lab shell NODE -- COMMAND` runs."""
    return ssh.command(lab, everyone.machine(lab, node), *map(shlex.quote, command))


def inside(lab: Lab, node: str, *command: str) -> list[str]:
    """The same without a login, which costs several times as much: in the machine's namespaces and control group.

    It works while the machine is cut off, and before sshd is up. Of a machine that is down it says what `shell` says.
    """
    one = everyone.machine(lab, node)
    leader = machine.leader(lab, one)
    if leader is None:
        return shell(lab, node, *command)
    joined = Group(Path(f"/proc/{leader}/cgroup").read_text().rpartition("0::/")[2].strip()).unified / "cgroup.procs"
    login = ["env", "--ignore-environment", *LOGIN, "sh", "-c", 'echo $$ > "$0" && exec "$@"', str(joined)]
    enter = ["setpriv", f"--bounding-set={LESS}", "nsenter", "--all", "--wdns=/root", "--target", str(leader), "--"]
    return [*login, *enter, *command]


def entered(lab: Lab, node: str, script: str) -> subprocess.CompletedProcess[str]:
    """What a shell says `inside` a machine."""
    command = inside(lab, node, "sh", "-c", script)
    return subprocess.run(
        command, text=True, capture_output=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL, check=False
    )


class CommandError(AssertionError):
    """A command on a machine ended with an error. To who waits for something it is not yet, to others a failed test."""


def on(node: str, command: str, lab: Lab | None = None) -> str:
    """Run a shell command on a machine by hand; its standard output. CommandError if it fails."""
    ran = entered(lab or lab_from(), node, command)
    if ran.returncode:
        raise CommandError(f"{node}: {command}: {ran.returncode}: {ran.stdout}{ran.stderr}")
    return ran.stdout


def until(condition: Callable[[], bool], limit_s: float, every_s: float, what: Callable[[], object] = str) -> float:
    """Wait until it is true; the seconds that it took. `what` tells of what was waited for in vain."""
    started, last = time.monotonic(), "false"
    while True:
        try:
            if condition():
                return time.monotonic() - started
        except CommandError as error:
            last = str(error)
        assert time.monotonic() < started + limit_s, f"not so after {limit_s} s: {what()}; the last found: {last}"
        time.sleep(every_s)


def started(node: str) -> None:
    """Wait until all that starts at boot has: a login works before that."""
    on(node, "until systemctl is-system-running --wait | grep -qxE 'running|degraded'; do sleep 0.2; done")


def converge(*arguments: str) -> None:
    """Bring the lab to what is declared; fail with the report if that does not work."""
    ran = unterbau("apply", "lab", "-y", *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
