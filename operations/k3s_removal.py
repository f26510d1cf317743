"""Nodes that leave a K3s cluster: told to by name, or because another machine has their name now.

Three things, in this order: the leaving machine's K3s is not started again once it ends (`held`), a server takes the
node out behind the arithmetic of the quorum (`departed`), and the machine is wiped after a server has said that it is
out (`wiped`). A member that was removed would join again with its next start, so it must not have one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.etcd import calling, decimal
from facts.k3s_api import NodeState
from facts.k3s_departed import HOLD, PASSWORD_SECRET, KnownState, Traces, TracesState
from operations import k3s_removal_gate as gate
from operations import k3s_removal_wipe
from operations.config_file import Commands
from operations.k3s_drain import KUBECTL
from operations.k3s_removal_gate import Membership
from unterbau import changes
from unterbau.domain.etcd import begun
from unterbau.domain.etcd_membership import Findings, Member, Step, findings, steps
from unterbau.domain.unknown import Unknown

RULE = "etcd keeps its quorum"
NAMES_RULE = "deletions are allowed by name"
NODE_NAME = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"  # RFC 1123, as Kubernetes has it
REMOVE = "etcd.k3s.cattle.io/remove=true"  # Source: K3s, pkg/etcd/member_controller.go


@dataclass(frozen=True)
class Goer:
    """One node of which something leaves."""

    name: str
    node: NodeState | None
    password: bool
    members: tuple[Member, ...]
    whole: bool  # its Node and password leave too, not only a member that no machine is any more
    drained: bool  # its pods can still move


@operation()
def departed(cluster: Membership, *, node: str) -> Commands:
    """Nobody is in the cluster who was told to leave, and no machine's predecessor.

    The first server acts whose API is ready and which does not leave itself. One node leaves after the other, each
    behind a gate that asks the arithmetic again.

    Args:
        cluster: as declared.
        node: the server on this host.
    """
    found = gate.known(host, cluster, node)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot say who leaves: {node} could not be asked; see the error above")
        return
    if "restore" in found:
        yield from changes.refuse(begun(node, found["restore"]))
        return
    acting = _actor(found, cluster)
    if acting != node:
        host.noop(f"{acting} sees to it" if acting else "no server's API is ready: nobody can be removed")
        return
    if (silent := gate.untold(found)) is not None:
        yield from changes.refuse(
            f"cannot say who leaves: {node} works, and yet {silent}; see `journalctl -u k3s` there, then apply again"
        )
        return
    members = gate.members_of(found)
    seen = _findings(found, members, cluster)
    goers = _goers(found, members, seen)
    if sentence := _obstacle(seen, goers):
        yield from changes.refuse(sentence)
        return
    ordered = steps(members, {one.id for goer in goers for one in goer.members})
    _say(goers)
    yield from _rules(seen, ordered)
    if seen.undeclared or not all(step.verdict.passed for step in ordered):
        return
    if not goers:
        host.noop("everybody in the cluster is declared")
    for goer in _in_order(goers, ordered):
        yield from _leave(goer, cluster, node)


def _actor(found: KnownState, cluster: Membership) -> str | None:
    able = (name for name in cluster.servers if gate.serves(found, name) and _in_run(name))
    return next(able, None)


def _in_run(name: str) -> bool:
    """Whether this server's host is in this run; where nothing is known of hosts, it is this one's own business."""
    hosts = [one for one in host.state.inventory if one.data.get("node") and one.data.node.name == name]
    return not hosts or hosts[0] in host.state.active_hosts


def _findings(found: KnownState, members: Sequence[Member], cluster: Membership) -> Findings:
    nodes, passwords = found["nodes"] or {}, found["passwords"] or ()
    disks = gate.disks(host.state, {*nodes, *passwords, *(one.node for one in members)} & set(cluster.declared))
    return findings(nodes, passwords, members, cluster.declared, list(cluster.removed), disks)


def _goers(found: KnownState, members: Sequence[Member], seen: Findings) -> list[Goer]:
    whole = {*seen.leaving, *seen.replaced}
    nodes, passwords = found["nodes"] or {}, found["passwords"] or ()
    goers = []
    for name in sorted(whole | {one.node for one in seen.stale}):
        own = tuple(one for one in members if one.node == name and (name in seen.leaving or one in seen.stale))
        node = nodes.get(name)
        drained = name in seen.leaving and node is not None and node["ready"]
        goers.append(Goer(name, node, name in passwords, own, name in whole, drained))
    return goers


def _obstacle(seen: Findings, goers: Sequence[Goer]) -> str | None:
    if seen.impossible:
        return f"cannot remove a member: {seen.impossible[0]}"
    odd = [goer.name for goer in goers if not re.fullmatch(NODE_NAME, goer.name, re.ASCII)]
    return f"cannot remove the node {odd[0]!r}: found a name that is none of a node; see who made it" if odd else None


def _say(goers: Sequence[Goer]) -> None:
    for goer in goers:
        if goer.whole and goer.node is not None:
            changes.attribute(f"node {goer.name}", _words(goer.node), None)
        for member in goer.members:
            kind = "learner" if member.learner else "voter"
            changes.attribute(f"etcd member {member.label}", f"{kind}{'' if member.healthy else ', not healthy'}", None)
        if goer.whole and goer.password:
            changes.attribute(f"password of node {goer.name}", "present", None)


def _words(node: NodeState) -> str:
    return f"{'ready' if node['ready'] else 'not ready'}, {', '.join(node['roles']) or 'agent'}"


def _rules(seen: Findings, ordered: Sequence[Step]) -> Commands:
    if seen.leaving:
        yield from changes.rule(NAMES_RULE, passed=True, arithmetic=f"{', '.join(seen.leaving)}: told to leave")
    if seen.undeclared:
        names = ", ".join(seen.undeclared)
        said = f"in the cluster and not declared: {names}; declare them, or name them in k3s_removed"
        yield from changes.rule(NAMES_RULE, passed=False, arithmetic=said)
    if ordered:
        passed = all(step.verdict.passed for step in ordered)
        told = ordered if passed else ordered[-1:]
        arithmetic = "; then ".join(step.verdict.arithmetic for step in told)
        yield from changes.rule(RULE, passed=passed, arithmetic=arithmetic)


def _in_order(goers: Sequence[Goer], ordered: Sequence[Step]) -> list[Goer]:
    """Nodes without a member first, then the others as their members leave."""
    turn = {step.member.id: number for number, step in enumerate(ordered, start=1)}
    return sorted(goers, key=lambda goer: (min((turn[one.id] for one in goer.members), default=0), goer.name))


def _leave(goer: Goer, cluster: Membership, node: str) -> Commands:
    """Pods, members, Node, password; whatever an earlier run did of it is seen and not done again."""
    name = shlex.quote(goer.name)
    if goer.drained:
        # What it runs is moved within the budgets; a pod that belongs to nobody stops the drain, not the pod.
        yield StringCommand(
            f"{KUBECTL} drain {name} --ignore-daemonsets --delete-emptydir-data"
            f" --timeout={int(cluster.drain_timeout_s)}s"
        )
    for member in goer.members:
        yield gate.still_may_leave(cluster, node, member)
        yield _remove(goer, member)
        yield gate.until_gone(cluster, node, goer.name, [member.id], all_of_it=False)
    if not goer.whole:
        return
    if goer.node is not None:
        yield StringCommand(f"{KUBECTL} delete node {name} --ignore-not-found --timeout=60s")
    secret = shlex.quote(goer.name + PASSWORD_SECRET)
    yield StringCommand(f"{KUBECTL} --namespace=kube-system delete secret {secret} --ignore-not-found")
    yield gate.until_gone(cluster, node, goer.name, [one.id for one in goer.members], all_of_it=True)


def _remove(goer: Goer, member: Member) -> StringCommand:
    """By K3s, which knows the member by the annotations of its Node; one that no Node speaks of, by etcd itself."""
    if goer.whole and goer.node is not None and goer.node["etcd_name"] == member.name:
        return StringCommand(f"{KUBECTL} annotate node {shlex.quote(goer.name)} {REMOVE} --overwrite")
    return StringCommand(calling("cluster/member/remove", json.dumps({"ID": decimal(member.id)})))


@operation()
def held(node: str) -> Commands:
    """On a machine that leaves: its K3s goes on until it ends, and is not started again, not at boot either.

    A member that etcd has removed ends its process, and with its next start it would join the cluster again. Source:
    K3s, pkg/etcd/etcd.go, tombstone.

    Args:
        node: its name.
    """
    found = host.get_fact(Traces)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot hold K3s of {node}: what it left could not be read; see the error above")
        return
    units = [unit for unit, active in found["active"].items() if active not in ("inactive", "failed")]
    commands = [command for unit in units for command in _hold(unit, found)]
    if not commands:
        host.noop(f"{', '.join(units)} ends for good" if units else "no K3s runs here")
    yield from commands


def _hold(unit: str, found: TracesState) -> Iterator[StringCommand]:
    if unit in found["enabled"]:
        changes.attribute(f"{unit} at boot", "enabled", "disabled")
        yield StringCommand(f"systemctl disable {unit}")
    if unit not in found["held"]:
        changes.attribute(f"{unit} after its end", "started again", "stays down")
        folder = f"/run/systemd/system/{unit}.d"
        text = "# Written by unterbau: this node leaves the cluster.\n[Service]\nRestart=no\n"
        make = f"install -d {folder}; umask 022; cat > {folder}/{HOLD} && systemctl daemon-reload"
        yield StringCommand(make, _stdin=text)


@operation()
def wiped(cluster: Membership, *, node: str) -> Commands:
    """On a machine that has left: nothing of K3s runs or lies there. Only after a server has said that it is out.

    Args:
        cluster: as declared.
        node: the name of the machine.
    """
    found = host.get_fact(Traces)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot wipe {node}: what K3s left there could not be read; see the error above")
        return
    running = [unit for unit, active in found["active"].items() if active not in ("inactive", "failed")]
    if not running and not found["paths"] and not found["mounts"]:
        host.noop("there is nothing of K3s here")
        return
    for unit in running:
        changes.attribute(f"{unit} active", found["active"][unit], "inactive")
    for path in found["paths"]:
        changes.attribute(path, "present", None)
    if found["mounts"]:
        changes.attribute("mounts of pods", str(len(found["mounts"])), None)
    yield gate.is_out(cluster, node)
    yield StringCommand(k3s_removal_wipe.SCRIPT)
