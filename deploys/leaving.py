"""Who leaves: every layer that a node is part of has to know."""

from __future__ import annotations

from pyinfra import host, inventory


def leaving() -> tuple[str, ...]:
    """Names of nodes that leave their clusters or have left: told to, or servers that their cloud will delete."""
    told = host.data.get("k3s_removed") or ()
    deleted = [one.data.node.name for one in inventory if one.data.get("leaving")]
    return tuple(dict.fromkeys([*told, *deleted]))
