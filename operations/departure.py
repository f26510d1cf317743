"""What is lost with a node whose server will be deleted. K3s' part of it is in `k3s_removal`."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from facts.resident import Residents
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

RULE = "who is deleted keeps no data"


@operation()
def without_data(node: str, *, allowed: bool = False) -> Commands:
    """No service that keeps data is on a node that leaves, or its loss is allowed by name.

    Args:
        node: its name.
        allowed: whether `cloud_deletions` has "data/<node>".
    """
    found = host.get_fact(Residents)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot tell what is lost with {node}: it could not be read; see the error above")
        return
    if not found:
        host.noop(f"{node} keeps no data of the platform's services")
        return
    services = ", ".join(found)
    if allowed:
        yield from changes.rule(RULE, passed=True, arithmetic=f"{node}: {services}, as data/{node} allows")
        host.noop(f"{services} may go with {node}")
        return
    said = f"{node}: {services} would be lost with it; move its data first, or name data/{node} in cloud_deletions"
    yield from changes.rule(RULE, passed=False, arithmetic=said)
