"""How a Kubernetes cluster does, as its API tells: its own checks, and its nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from unterbau.kubernetes.connection import Cluster

ROLE = "node-role.kubernetes.io/"
WELL, DEGRADED, FAILED = 0, 2, 1


@dataclass(frozen=True)
class NodeStatus:
    """One node, as the API knows it."""

    name: str
    ready: bool
    roles: list[str]
    version: str
    schedulable: bool

    @property
    def problem(self) -> str | None:
        """What is wrong with it; None if nothing is."""
        if not self.ready:
            return f"{self.name}: it is not ready; see `systemctl status k3s k3s-agent` there"
        return None if self.schedulable else f"{self.name}: no pods are put there (cordoned)"


@dataclass(frozen=True)
class ClusterStatus:
    """The API and the nodes. `declared` nodes that the API does not know are in `missing`, others in `unexpected`."""

    version: str
    failing: list[str]
    nodes: list[NodeStatus]
    missing: list[str]
    unexpected: list[str]

    def problems(self) -> Iterator[str]:
        """One sentence each."""
        yield from (f"the API's check {name} fails; see /readyz?verbose" for name in self.failing)
        yield from (one.problem for one in self.nodes if one.problem)
        yield from (f"{name}: declared, and not in the cluster; apply, or see its journal" for name in self.missing)
        yield from (f"{name}: in the cluster, and not declared; name it in k3s_removed" for name in self.unexpected)

    @property
    def exit_code(self) -> int:
        """0 well, 2 something is wrong, 1 no node is ready."""
        if not any(one.ready for one in self.nodes):
            return FAILED
        return DEGRADED if any(self.problems()) else WELL

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "problems": list(self.problems()), "exit_code": self.exit_code}


def read(cluster: Cluster, declared: set[str]) -> ClusterStatus:
    """Asked of any server; KubernetesError. `declared`: nodes of servers and agents; empty: whatever is there."""
    health, found = cluster.ask("HEALTH", "cluster"), cluster.ask("LIST", "v1/Node/-", {"cluster": cluster.name})
    nodes = sorted((_node(one) for one in found), key=lambda one: one.name)
    there = {one.name for one in nodes}
    return ClusterStatus(
        version=health["version"],
        failing=sorted(name for name, passed in health["checks"].items() if not passed),
        nodes=nodes,
        missing=sorted(declared - there),
        unexpected=sorted(there - declared) if declared else [],
    )


def _node(found: Mapping[str, Any]) -> NodeStatus:
    metadata, status = found["metadata"], found.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return NodeStatus(
        name=metadata["name"],
        ready=conditions.get("Ready") == "True",
        roles=sorted(key.removeprefix(ROLE) for key in metadata.get("labels") or {} if key.startswith(ROLE)),
        version=(status.get("nodeInfo") or {}).get("kubeletVersion", ""),
        schedulable=not (found.get("spec") or {}).get("unschedulable", False),
    )
