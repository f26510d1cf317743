"""Labels and taints of Nodes: K3s gives them when a node registers, and never again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State as Run
from pyinfra.context import ctx_host

from facts.k3s_api import NodeState
from operations import k3s_drain, k3s_gate
from operations.config_file import Commands
from operations.k3s_config import Node, taints_of
from unterbau import changes
from unterbau.domain.unknown import Unknown


@operation()
def described(node: Node) -> Commands:
    """The Node has the labels and taints that are declared for it. Those that it has besides are left alone.

    Args:
        node: as it should be.
    """
    found = k3s_gate.state_of(ctx_host.get(), node)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot label {node.node}: its state could not be read; see the error above")
        return
    if found["node"] is None:
        host.noop(f"{node.node} registers with its labels and taints")
        return
    labels, taints = _missing(node, found["node"])
    if not (labels or taints):
        host.noop(f"{node.node} has its labels and taints")
        return
    for one in labels:
        key, _, value = one.partition("=")
        changes.attribute(f"{node.node} label {key}", found["node"]["labels"].get(key), value)
    for one in taints:
        changes.attribute(f"{node.node} taint {one}", None, "present")
    yield _command(node, labels, taints)


def _missing(node: Node, found: NodeState) -> tuple[list[str], list[str]]:
    labels = [one for one in node.labels if found["labels"].get(one.partition("=")[0]) != one.partition("=")[2]]
    return labels, [one for one in taints_of(node) if one.replace("=:", ":") not in found["taints"]]


def describe_command(name: str, labels: list[str], taints: list[str]) -> str:
    """Shell text."""
    node = shlex.quote(name)
    return " && ".join(
        f"{k3s_drain.KUBECTL} {verb} --overwrite nodes {node} {' '.join(map(shlex.quote, said))}"
        for verb, said in (("label", labels), ("taint", taints))
        if said
    )


def _command(node: Node, labels: list[str], taints: list[str]) -> FunctionCommand:
    def describe(state: Run, host: Host, name: str, _shown: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        command = describe_command(name, labels, taints)
        return k3s_drain.at_a_server(host, node, command, f"cannot label {name}", "see the error above")

    function: Callable[..., Any] = describe
    return FunctionCommand(function, (node.node, " ".join([*labels, *taints])), {})
