"""A node of a cluster that needs a reboot gets it: one at a time, behind the gates that stand around a restart of K3s.

Its pods leave it before, within their budgets, and may come back after. A run that is killed leaves what the next one
sees: our mark on the cordoned node (operations/k3s.py lets its pods in again), and a need that is still there or gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State as Run
from pyinfra.context import ctx_host

from facts.k3s import Node as Found
from facts.reboot import BOOT_ID, BootState, State
from operations import k3s_ahead, k3s_drain, k3s_gate, k3s_ready
from operations.config_file import Commands
from operations.k3s_config import Node
from unterbau import changes
from unterbau.domain.reboot_need import asked_by, newer_kernel
from unterbau.domain.unknown import Unknown

QUORUM_RULE = "etcd keeps its quorum"
BACK_S = 900  # a server's firmware may look at its memory for minutes
ANSWER_S = 10
POLL_S = 1.0
UPGRADE_S = 300
# An upgrade that runs has this lock. It is logind that is asked: it lets the kubelet end its pods, and returns at once.
REBOOT = f"flock --timeout {UPGRADE_S} /var/lib/apt/daily_lock systemctl reboot"
BOOTED = "systemctl is-system-running --wait"


@dataclass(frozen=True)
class Beside:
    """Another replicated service on the same machine: what is waited for before that goes down, and when it is back."""

    before: FunctionCommand
    after: FunctionCommand


@operation()
def rebooted(node: Node, beside: Sequence[Beside] = ()) -> Commands:
    """This machine runs the newest kernel that it has, and no package waits for a reboot. Called with `_serial=True`.

    Args:
        node: this node, as it should be.
        beside: what else would be missed.
    """
    need, found = host.get_fact(State), k3s_gate.state_of(ctx_host.get(), node)
    if isinstance(need, Unknown) or isinstance(found, Unknown):
        what = "whether it needs to" if isinstance(need, Unknown) else "its K3s"
        yield from changes.refuse(f"cannot reboot {node.node}: {what} could not be read; see the error above")
        return
    why = reason(need)
    if why is None:
        host.noop(f"{node.node} needs no reboot")
        return
    changes.attribute(f"reboot of {node.node}", why, "done")
    allowed = yield from _allowed(node, found)
    if allowed:
        yield from _around(node, found, beside)


def reason(need: BootState) -> str | None:
    """Since when a reboot is needed and why, in words; None if it is not."""
    if need["required_s"] is not None:
        return f"needed since {_day(need['required_s'])}, because {asked_by(need['packages'])}"
    newer = newer_kernel(need["running"], need["kernels"], need["booted_s"])
    if newer is None:
        return None
    return f"needed since {_day(need['kernels'][newer])}, because {need['running']} runs and {newer} is installed"


def _day(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def _allowed(node: Node, found: Found) -> Generator[PyinfraCommand, None, bool]:
    """Ask the rule; a server that does not run takes nothing away, and the gate asks it again when it is its turn."""
    if node.role == "agent" or not (found["has_data"] and k3s_ready.runs(found)):
        return True
    cluster = k3s_ready.cluster_of(ctx_host.get(), node, found)
    if cluster is None:
        yield from changes.refuse(f"cannot reboot {node.node}: who votes could not be read; see the error above")
        return False
    verdict = k3s_ahead.arithmetic(node, cluster)
    yield from changes.rule(QUORUM_RULE, passed=verdict.passed, arithmetic=verdict.arithmetic)
    return verdict.passed


def _around(node: Node, found: Found, beside: Sequence[Beside]) -> Iterator[PyinfraCommand]:
    """Gates, drain, gates, reboot, gates: draining takes minutes, and somebody may have died meanwhile."""
    gate = k3s_gate.before_restart if node.role == "server" else k3s_gate.servers_run
    gates = [*(one.before for one in beside), gate(node)]
    yield from gates
    if found["node"] is not None:
        yield k3s_drain.drained(node, "reboot")
        yield from gates
    yield _command(reboot, node.node, REBOOT)
    yield from (one.after for one in beside)
    yield k3s_gate.after_start(node)
    if found["node"] is not None:
        yield k3s_drain.uncordoned(node)


def reboot(state: Run, host: Host, name: str, command: str) -> bool:  # noqa: ARG001  # pyinfra wants both
    """Reboot, and come back in when the machine has booted; False, with a sentence, if it does not within BACK_S.

    It is another boot by its id alone: for some seconds after the command the former one still lets us in.
    """
    if not hasattr(host.connector, "enter_again"):
        hint = "its connector cannot enter it again; declare it as @node/<name>"
        k3s_gate.say(host, f"cannot reboot {name}: {hint}")
        return False
    before = _said(host, f"cat {BOOT_ID}")
    refused = _asked(host, command) if before else "its boot id could not be read"
    if refused is not None:
        k3s_gate.say(host, f"cannot reboot {name}: {refused}; then apply again")
        return False
    return _awaited(host, lambda: _not_back(host, before), name)


def _asked(host: Host, command: str) -> str | None:
    """Why it will not reboot, in words. A connection that is lost is what a reboot looks like."""
    try:
        done, output = host.run_shell_command(StringCommand(command), _sudo=_sudo(host))
    except OSError:
        return None
    said = " ".join(output.stderr_lines[-3:]) or f"an upgrade of packages has taken {UPGRADE_S} s; await its end"
    return None if done else said


def _not_back(host: Host, before: str) -> str | None:
    """What is still missing, in words; None if it has booted again. A connection that is gone is made anew."""
    try:
        return _not_booted(host, before)
    except OSError:
        return _entered(host)


def _not_booted(host: Host, before: str) -> str | None:
    if _said(host, f"cat {BOOT_ID}") in ("", before):
        return "it has not gone down"
    started = _said(host, f"timeout {ANSWER_S - 2} {BOOTED}") in ("running", "degraded")
    return None if started else "it is still starting its services"


def _entered(host: Host) -> str:
    try:
        host.connector.enter_again()  # type: ignore[attr-defined]  # `reboot` has looked
    except ConnectError as error:
        return f"it cannot be entered: {error}"
    return "it has just been entered"


def _said(host: Host, command: str) -> str:
    """What a command prints; "" if nothing. OSError if the connection is lost."""
    _done, output = host.run_shell_command(StringCommand(command), _sudo=_sudo(host), _timeout=ANSWER_S)
    return str(output.stdout).strip()


def _sudo(host: Host) -> bool:
    return bool(host.data.get("_sudo"))


def _awaited(host: Host, missing: Callable[[], str | None], name: str) -> bool:
    deadline = time.monotonic() + BACK_S
    while (found := missing()) is not None:
        if time.monotonic() > deadline:
            k3s_gate.say(host, f"cannot go on from the reboot of {name}: after {BACK_S} s {found}; see its console")
            return False
        time.sleep(POLL_S)
    return True


def _command(step: Callable[..., bool], *shown: str) -> FunctionCommand:
    function: Callable[..., Any] = step
    return FunctionCommand(function, shown, {})
