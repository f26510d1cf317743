"""Who leaves: every layer that a node is part of has to know."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from operations import departure as departures


def leaving() -> tuple[str, ...]:
    """Names of nodes that leave their clusters or have left: told to, or servers that their cloud will delete."""
    told = host.data.get("k3s_removed") or ()
    deleted = [one.data.node.name for one in inventory if one.data.get("leaving")]
    return tuple(dict.fromkeys([*told, *deleted]))


@deploy("departure")
def departure() -> None:
    """On a node whose server will be deleted."""
    node = host.data.node.name
    allowances = [name for one in inventory for name in one.data.get("cloud_deletions") or ()]
    departures.without_data(node=node, allowed=f"data/{node}" in allowances, name="data that is lost")
