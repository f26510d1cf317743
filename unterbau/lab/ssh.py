"""Logging in to a machine with the OpenSSH client: the operator's key, pinned host keys, nothing of the user's own."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unterbau.lab.command import environment
from unterbau.lab.errors import LabError
from unterbau.lab.layout import SSH_PORT, Lab, Machine
from unterbau.lab.machine import group
from unterbau.lab.process import answers


def command(lab: Lab, machine: Machine, *arguments: str, terminal: bool = False) -> list[str]:
    """The ssh command that runs `arguments` (a shell without any) on the machine as root."""
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(_known_hosts(lab, machine)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "ConnectTimeout": "10",  # until sshd says its name, too: on a busy host it takes its time
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    asked = ["-t"] if terminal else []
    return [
        "ssh", "-F", "none", "-i", str(lab.key), "-p", str(SSH_PORT), *flags, *asked,
        f"root@{machine.address}", "--", *arguments,
    ]  # fmt: skip


def _known_hosts(lab: Lab, machine: Machine) -> Path:
    """What is pinned; of a server of the cloud, who makes its own keys, what its disk says now."""
    if not machine.unit:
        return lab.known_hosts
    pinned = machine.directory / "known_hosts"
    public = (path.read_text().split() for path in sorted((machine.upper / "etc/ssh").glob("ssh_host_*_key.pub")))
    pinned.write_text("".join(f"{machine.address} {words[0]} {words[1]}\n" for words in public))
    return pinned


def login_s(lab: Lab, machine: Machine, since: float, timeout_s: float) -> float:
    """Log in and run `true`; seconds from `since` (monotonic) until that worked. Raises LabError after the time."""
    said = "its port 22 does not answer"
    while time.monotonic() < since + timeout_s:
        if not group(lab, machine).populated():
            raise LabError(f"cannot boot {machine.name}: it ended again; its console: {_last_words(machine)}")
        if not answers(str(machine.address), SSH_PORT, timeout_s=0.5):
            time.sleep(0.05)
            continue
        result = subprocess.run(
            command(lab, machine, "true"), stdin=subprocess.DEVNULL, env=environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode == 0:
            return time.monotonic() - since
        said = result.stderr.strip() or f"ssh ended with {result.returncode}"
        time.sleep(0.05)  # until pam_nologin lets root in, or sshd is up
    raise LabError(
        f"cannot log in to {machine.name}: {said} (after {timeout_s:.0f} s); look at {machine.directory}/console.log"
    )


def _last_words(machine: Machine) -> str:
    lines = (machine.directory / "console.log").read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-4:]) or "(empty)"


def logins_s(lab: Lab, machines: list[Machine], since: float, timeout_s: float) -> dict[str, float | LabError]:
    """`login_s` of several machines at once, by name; a machine that failed has its error there."""

    def one(machine: Machine) -> float | LabError:
        try:
            return login_s(lab, machine, since, timeout_s)
        except LabError as error:
            return error

    with ThreadPoolExecutor(len(machines) or 1) as pool:
        return dict(zip((machine.name for machine in machines), pool.map(one, machines), strict=True))


def greet(machines: list[Machine], timeout_s: float) -> dict[str, bool]:
    """Which machines accept a connection on the SSH port: quick, and says nothing about logging in."""
    with ThreadPoolExecutor(len(machines)) as pool:
        found = pool.map(lambda machine: answers(str(machine.address), SSH_PORT, timeout_s), machines)
        return dict(zip((machine.name for machine in machines), found, strict=True))
