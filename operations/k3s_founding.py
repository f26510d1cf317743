"""Who founds a cluster, and whether it may: once, on the first server, and only where nobody has data."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from facts.k3s import Data
from facts.k3s import Node as Found
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
    return next((said for said in answers if isinstance(said, str)), not any(answers))


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
        return (
            f"cannot found the cluster on {host.name}: whether {name} has data of one could not be read ({reason}); "
            f"bring {name} back, then apply again"
        )
    return found
