"""Who founds a cluster, and whether it may: once, on the first server, and only where nobody has data."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

from facts.k3s import Data
from facts.k3s import Node as Found
from facts.k3s_departed import Traces, TracesState
from operations import k3s_gate
from operations.k3s_config import Node
from unterbau.domain.unknown import Unknown


def founds(node: Node, found: Found) -> bool | str:
    """Whether this server has to found the cluster now; a sentence if that cannot be told.

    Only if no server has data and none answers: a first server whose disk was lost joins the others like any other.
    """
    if node.role != "server" or found["has_data"] or node.node != next(iter(node.cluster.servers)):
        return False
    if next(k3s_gate.live(ctx_host.get(), node), None) is not None:
        return False
    answers = [_has_data(name, external=bool(node.cluster.datastore)) for name in node.others]
    unread = next((said for said in answers if isinstance(said, str)), None)
    if unread is not None or any(answers):
        return unread or False
    return _cluster_before(node) or True


def _cluster_before(node: Node) -> str | None:
    """What tells of a cluster that is there without these servers; None if nothing does.

    Of servers that were replaced all at once nobody is left who is declared: those that are told to leave have the
    data, and agents are of their cluster.
    """
    if node.cluster.datastore:
        return None  # the cluster is what is in there
    there = {one.data.node.name: one for one in host.state.inventory if one.data.get("node")}
    for name in node.cluster.removed:
        if name not in there:
            return (
                f"cannot found a cluster on {host.name}: {name} is in k3s_removed, so there has been one, and no such "
                f"machine is in the inventory; take {name} out of k3s_removed if that cluster is gone for good"
            )
    names = (name for name in (*node.cluster.removed, *node.cluster.agents) if name in there)
    return next((said for name in names if (said := _is_of_a_cluster(name, there[name])) is not None), None)


def _is_of_a_cluster(name: str, machine: Host) -> str | None:
    """Why this machine speaks against a new cluster, in words; None if it does not."""
    try:
        found: TracesState | Unknown = machine.get_fact(Traces)
    except (PyinfraError, OSError) as error:
        return _unread(name, str(error))
    if isinstance(found, Unknown):
        return _unread(name, "see the error above")
    if found["member"] is None and not found["password"]:
        return None
    return (
        f"cannot found a cluster on {host.name}: {name} is of one already; add servers to that one first and let the "
        f"others leave once they vote, restore it if its servers are lost, or wipe {name} if nobody needs it"
    )


def _unread(name: str, reason: str) -> str:
    return (
        f"cannot found the cluster on {host.name}: whether {name} has data of one could not be read ({reason}); "
        f"bring {name} back, then apply again"
    )


def _has_data(name: str, *, external: bool) -> bool | str:
    """Whether another server has data on its disk; a sentence if it cannot be asked."""
    other = next((one for one in host.state.inventory if one.data.get("node") and one.data.node.name == name), None)
    reason = "see the error above"
    found: bool | Unknown | None = None
    try:
        found = None if other is None else other.get_fact(Data, external=external)
    except (PyinfraError, OSError) as error:
        reason = str(error)
    if found is None or isinstance(found, Unknown):
        return _unread(name, reason)
    return found
