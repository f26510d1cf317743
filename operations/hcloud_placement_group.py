"""Placement groups of a Hetzner Cloud project: servers of one run on different hosts."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import operation

from facts.hcloud import PlacementGroups
from operations.config_file import Commands
from operations.hcloud_object import PLACEMENT_GROUP, Thing, by_name, present

SPREAD = "spread"


@operation()
def declared(groups: Mapping[str, Mapping[str, str]], *, cluster: str) -> Commands:
    """Each of these groups is there.

    Args:
        groups: {name: labels besides our marks}; a group takes ten servers.
        cluster: whose they are.
    """
    found = host.get_fact(PlacementGroups)
    there = by_name(found)
    things = [
        Thing(
            name,
            attributes={"type": SPREAD},
            now={"type": there[name]["type"]} if name in there else {},
            create={"type": SPREAD},
            labels=labels,
            until={"type": SPREAD},
        )
        for name, labels in groups.items()
    ]
    yield from present(PLACEMENT_GROUP, things, found, cluster)
