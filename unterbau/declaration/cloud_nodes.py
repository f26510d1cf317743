"""The servers of a project's pools as nodes: what they are called and where they answer is known before they exist."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unterbau.declaration.cloud import CloudProject
from unterbau.declaration.cloud_pool import NodePool
from unterbau.declaration.node import Host, Node

CONNECTOR = "@nodes/"
_asked_by: dict[str, Path] = {}


@dataclass(frozen=True)
class PoolNode:
    """A declared server of a pool, and the inventory groups that it is in."""

    node: Node
    pool: NodePool


def nodes_of(project: str) -> list[Host]:
    """A group of an inventory: all servers that the pools of the CloudProject `project` declare, or that are left of
    them. They are in their pools' groups too."""
    _asked_by[project] = Path(sys._getframe(1).f_globals.get("__file__", ""))
    return [(f"{CONNECTOR}{project}", {})]


def asked_by(project: str) -> Path | None:
    """The inventory whose `nodes_of` named this project last; None if there was none in this process."""
    return _asked_by.get(project)


def project_of(entry: object) -> str | None:
    """The project whose nodes an entry of a group stands for; None for any other entry."""
    match entry:
        case (str(name), dict()) if name.startswith(CONNECTOR):
            return name.removeprefix(CONNECTOR)
    return None


def pool_nodes(project: CloudProject, pools: Iterable[NodePool]) -> Iterator[PoolNode]:
    """Every server that the pools declare, in their order."""
    for pool in pools:
        for number in range(1, pool.count + 1):
            yield PoolNode(node_of(project, pool.server(project.cluster, number), str(pool.address(number))), pool)


def node_of(project: CloudProject, name: str, address: str) -> Node:
    """A server of the project as a node."""
    return Node(
        name=name,
        address=address,
        ssh_user=project.ssh_user,
        ssh_key=project.ssh_key,
        known_hosts=project.known_hosts,
    )
