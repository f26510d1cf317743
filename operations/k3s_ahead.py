"""A restart in a plan is judged by the cluster that it will meet: who leaves is out by then, who is new has joined.

Else one member that no machine is any more would refuse the plan that takes it out. Only a plan looks ahead: when a
restart is its turn, gates ask for what is there, and a departure or a join that failed keeps them shut.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pyinfra import host

from facts.etcd import Member as Found
from facts.k3s import ClusterState
from operations import k3s_gate, k3s_removal_gate
from operations.k3s_config import Node
from unterbau.domain.etcd_membership import Disk, Member, is_stale
from unterbau.domain.quorum import Verdict


@dataclass(frozen=True)
class Ahead:
    """The cluster without the members that leave in this plan, their names, and the servers that join in it."""

    cluster: ClusterState
    leaving: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()


def restartable(node: Node, cluster: ClusterState) -> Verdict:
    """`k3s_gate.restartable`, after the departures and joins of the plan."""
    ahead = _ahead(node, cluster)
    return _said(ahead, k3s_gate.restartable(node, ahead.cluster, ahead.joining))


def arithmetic(node: Node, cluster: ClusterState) -> Verdict:
    """`k3s_gate.arithmetic`, after the departures and joins of the plan."""
    ahead = _ahead(node, cluster)
    return _said(ahead, k3s_gate.arithmetic(node, ahead.cluster, ahead.joining))


def _ahead(node: Node, cluster: ClusterState) -> Ahead:
    members = cluster["etcd"]["members"]
    if getattr(host.state, "is_executing", False) or members is None or node.cluster.datastore:
        return Ahead(cluster)
    disks = k3s_removal_gate.disks(host.state, _asked(node, cluster, members))
    leaving = [one for one in members if _leaves(one, node, disks)]
    joining = [name for name, disk in disks.items() if disk.member is None and name != node.node]
    staying = [one for one in members if one not in leaving]
    left: ClusterState = {**cluster, "etcd": {**cluster["etcd"], "members": staying}}
    return Ahead(left, tuple(sorted(one["name"] for one in leaving)), tuple(sorted(joining)))


def _asked(node: Node, cluster: ClusterState, members: Collection[Found]) -> set[str]:
    """Servers whose disks tell more than their API: a server that works is its one member."""
    owners = [k3s_gate.node_of_member(one["name"]) for one in members]
    servers = node.cluster.servers
    return {name for name in servers if owners.count(name) != 1 or not k3s_gate.works(cluster["servers"].get(name))}


def _leaves(one: Found, node: Node, disks: dict[str, Disk]) -> bool:
    member = Member(one["id"], one["name"], "", one["learner"])
    return member.node in node.cluster.removed or is_stale(member, disks)


def _said(ahead: Ahead, verdict: Verdict) -> Verdict:
    parts = [
        f"{', '.join(names)} {what}" for names, what in ((ahead.leaving, "left"), (ahead.joining, "joined")) if names
    ]
    return Verdict(verdict.passed, f"once {' and '.join(parts)}: {verdict.arithmetic}") if parts else verdict
