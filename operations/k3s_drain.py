"""Pods leave a node before it is changed and may come back after: by eviction, so that their budgets are kept.

We write onto the Node that it was us who cordoned it: what somebody else has cordoned stays so, and what a killed run
left cordoned is seen.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State as Run

from facts.k3s import KUBECONFIG
from facts.k3s_api import CORDON
from operations import k3s_gate
from operations.k3s_config import Node
from unterbau.domain.unknown import UNKNOWN, Unknown

KUBECTL = f"/usr/local/bin/k3s kubectl --kubeconfig {KUBECONFIG}"


def drain_command(name: str, timeout_s: int, why: str) -> str:
    """Shell text: mark, cordon, evict. Whoever is cordoned already by somebody else gets no mark."""
    node, mark = shlex.quote(name), shlex.quote(f"{CORDON}={why}")
    is_cordoned = f"{KUBECTL} get node {node} -o 'jsonpath={{.spec.unschedulable}}'"
    return (
        f"set -e; cordoned=$({is_cordoned}); "
        f'[ "$cordoned" = true ] || {{ {KUBECTL} annotate --overwrite node {node} {mark}; {KUBECTL} cordon {node}; }}; '
        f"{KUBECTL} drain {node} --ignore-daemonsets --delete-emptydir-data --timeout={int(timeout_s)}s"
    )


def uncordon_command(name: str) -> str:
    """Shell text: the mark goes last, so that a killed run's next one sees what is left to do. Without it, nothing."""
    node, key = shlex.quote(name), CORDON.replace(".", "\\.")
    mark = f"{KUBECTL} get node {node} -o 'jsonpath={{.metadata.annotations.{key}}}'"
    back = f"{KUBECTL} uncordon {node}; {KUBECTL} annotate node {node} {shlex.quote(f'{CORDON}-')}"
    return f'set -e; mark=$({mark}); [ -n "$mark" ] || exit 0; {back}'


def drained(node: Node, why: str) -> FunctionCommand:
    """Evict every pod that can go elsewhere; asked of a server, on whose API it is done."""

    def drain(state: Run, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        failing = f"cannot drain {name}"
        timeout_s = node.cluster.drain_timeout_s
        hint = f"a budget may forbid it: see `kubectl get pdb -A`, or give it more than {timeout_s} s"
        return at_a_server(host, node, drain_command(name, timeout_s, why), failing, hint)

    return _command(drain, node.node)


def uncordoned(node: Node) -> FunctionCommand:
    """Let pods come back, if it was us who sent them away."""

    def uncordon(state: Run, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        return at_a_server(host, node, uncordon_command(name), f"cannot uncordon {name}", "see the error above")

    return _command(uncordon, node.node)


def at_a_server(host: Host, node: Node, command: str, failing: str, hint: str) -> bool:
    """Run it on this host if it is a server whose API works, else on the first that works; at last on itself."""
    own = host if node.role == "server" else None
    at = host if _works(host, node) else next((one for one, _ in k3s_gate.live_hosts(host, node)), own)
    if at is None:
        k3s_gate.say(host, f"{failing}: no server works; bring one back, then apply again")
        return False
    done, output = at.run_shell_command(StringCommand(command), _sudo=bool(at.data.get("_sudo")))
    if not done:
        k3s_gate.say(host, f"{failing}: {hint}: {' '.join(output.stderr_lines[-3:])}")
    return bool(done)


def _works(host: Host, node: Node) -> bool:
    found = k3s_gate.asked_here(host, node) if node.role == "server" else UNKNOWN
    return not isinstance(found, Unknown) and k3s_gate.works(found["servers"].get(node.node))


def _command(step: Callable[..., bool], shown: str) -> FunctionCommand:
    function: Callable[..., Any] = step
    return FunctionCommand(function, (shown,), {})
