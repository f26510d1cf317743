"""Before a server is deleted: its node has left the clusters that it was part of, in this run or before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.k3s_departed import Traces
from unterbau.domain.unknown import Unknown

LATER = "who is deleted leaves its cluster first"


def waiting(servers: Iterable[str], nodes: Mapping[str, bool], *, whole: bool) -> list[str]:
    """Those of the servers that this run does not delete: it passes over whoever could say that they have left.

    A run passes over nodes by its limit, or because the cloud comes first, as long as a machine is missing.

    Args:
        servers: names of those that may be deleted.
        nodes: {a server that is a node and leaves: whether this run includes it}.
        whole: whether the run has all nodes: of a server that is none, off or without an address, the others tell.
    """
    return [name for name in servers if not nodes.get(name, whole)]


def has_left(server: str) -> FunctionCommand:
    """Ask the node of a server whether it has left; one that cannot be asked any more has not."""

    def see_that_it_has_left(state: State, host: Host, server: str) -> bool:
        node = _node(state, server)
        found = "its node is not in the inventory any more" if node is None else _found(state, node)
        if found:
            said = f"cannot delete server {server}: {found}; see the errors above, then apply again"
            logger.error(f"{host.print_prefix}{said}")
        return not found

    return FunctionCommand(see_that_it_has_left, (server,), {})


def nobody_failed(server: str) -> FunctionCommand:
    """Before a server goes that is no node, off or without an address: all who speak for it are still in the run."""

    def see_that_nobody_failed(state: State, host: Host, server: str) -> bool:
        failed = sorted(str(one.name) for one in state.failed_hosts if one.data.get("node"))
        if failed:
            said = f"cannot delete server {server}: {', '.join(failed)} failed in this run, and may still count on it"
            logger.error(f"{host.print_prefix}{said}; see the errors above, then apply again")
        return not failed

    return FunctionCommand(see_that_nobody_failed, (server,), {})


def _node(state: State, server: str) -> Host | None:
    """The node that leaves because of this server; None if there is none in the inventory."""
    nodes = [one for one in state.inventory if one.data.get("leaving") and one.data.node.name == server]
    return nodes[0] if nodes else None


def _found(state: State, node: Host) -> str:
    """Why its node has not left; "" if it has."""
    if node not in state.active_hosts:
        return "its node failed in this run, or was left out of it"
    try:
        traces = node.get_fact(Traces)
    except (PyinfraError, OSError) as error:
        return f"its node could not be asked whether K3s has left it ({error})"
    if isinstance(traces, Unknown):
        return "what K3s left on its node could not be read"
    running = [unit for unit, active in traces["active"].items() if active not in ("inactive", "failed")]
    left = [*running, *traces["paths"], *(["mounts of pods"] if traces["mounts"] else [])]
    return f"found {', '.join(left)} of K3s on its node, so it has not left its cluster" if left else ""
