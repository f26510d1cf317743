"""Who has to leave an etcd cluster, in which order, and whether each step may be taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from unterbau.domain import quorum
from unterbau.domain.quorum import Verdict


@dataclass(frozen=True)
class Member:
    """One member: `name` is "<node>-<8 hex>", "" until it has started once; only who is no learner votes."""

    id: str
    name: str
    address: str
    learner: bool = False
    healthy: bool = False

    @property
    def node(self) -> str:
        """The node that it is named after; its address until it has a name. Source: K3s, pkg/etcd/etcd.go, join."""
        node, hyphen, _ = self.name.rpartition("-")
        return (node if hyphen and len(node) > 1 else self.name) or self.address

    @property
    def label(self) -> str:
        """As sentences call it: the node's name is that of two members while a machine is replaced."""
        return self.name or f"the one that never started at {self.address}"


@dataclass(frozen=True)
class Step:
    """One member that leaves, and what the arithmetic says of it after those before it have left."""

    member: Member
    verdict: Verdict


def voters(members: Collection[Member]) -> dict[str, bool]:
    """Each voter and whether it is healthy, by label."""
    return {member.label: member.healthy for member in members if not member.learner}


def removal(members: Collection[Member], leaving: Member) -> Verdict:
    """Whether this member may be removed now. A learner takes no vote away, but removing it takes a quorum too."""
    known = voters(members)
    if not leaving.learner:
        return quorum.remove(known, leaving.label)
    healthy, need = sum(known.values()), quorum.needed(len(known))
    arithmetic = f"{leaving.label} has no vote: {healthy} of {len(known)} voters are healthy, quorum needs {need}"
    return Verdict(healthy >= need, arithmetic if healthy >= need else f"{arithmetic}: nobody can be removed")


def steps(members: Collection[Member], leaving: Collection[str]) -> list[Step]:
    """Every member with one of these ids, in the order in which they leave, each judged after the one before it.

    Those that do nothing for the quorum leave first: learners, then the dead. Of several that work each that leaves
    costs what the next one needs. Behind the first step that is refused nothing is judged: it will not come to it.
    """
    left = {member.id: member for member in members}
    found: list[Step] = []
    order = sorted((one for one in members if one.id in leaving), key=lambda m: (not m.learner, m.healthy, m.label))
    for member in order:
        found.append(Step(member, removal(left.values(), member)))
        if not found[-1].verdict.passed:
            break
        del left[member.id]
    return found


@dataclass(frozen=True)
class Disk:
    """What a machine that answers has on its disk: its own member's name, its password of the cluster."""

    member: str | None  # None: no data of etcd
    password: bool
    running: bool = False  # a K3s runs: whatever is on its disk, it is somebody


@dataclass(frozen=True)
class Findings:
    """Who is in the cluster and should not be."""

    leaving: tuple[str, ...]  # nodes that were told to leave by name
    undeclared: tuple[str, ...]  # nodes that are neither declared nor told to leave
    replaced: tuple[str, ...]  # declared nodes whose machine is a new one: nothing on its disk
    stale: tuple[Member, ...]  # members of declared nodes that no machine is any more
    impossible: tuple[str, ...]  # sentences: a new machine, and yet its old member works


def findings(  # noqa: PLR0913, PLR0917  # the cluster's three views of its nodes, the declaration, the disks
    nodes: Collection[str],
    passwords: Collection[str],
    members: Sequence[Member],
    declared: Collection[str],
    removed: Collection[str],
    disks: Mapping[str, Disk],
) -> Findings:
    """Compare what the cluster knows with what is declared. `disks` has the declared machines that answered.

    Of a machine that does not answer nothing is said: what it has on its disk may be alive. A member without a name is
    somebody on the way in; if it never arrives, K3s itself removes it after five minutes (pkg/etcd, manageLearners).
    """
    known = {*nodes, *passwords, *(member.node for member in members if member.name)}
    foreign = known - set(declared)
    stale = [member for member in members if is_stale(member, disks)]
    alive = [member for member in stale if member.healthy]
    return Findings(
        leaving=tuple(sorted(foreign & set(removed))),
        # A password alone lets nobody in, and K3s clears those of nodes that are gone by itself.
        undeclared=tuple(
            sorted(foreign - set(removed) - (set(passwords) - set(nodes) - {one.node for one in members}))
        ),
        replaced=tuple(sorted(name for name in known & set(disks) if _is_new(disks[name], name, nodes, passwords))),
        stale=tuple(sorted((one for one in stale if not one.healthy), key=lambda one: one.label)),
        impossible=tuple(
            f"{one.node} has no data of the etcd member {one.label}, and yet that member is healthy; see which machine "
            f"has the address {one.address}"
            for one in sorted(alive, key=lambda one: one.label)
        ),
    )


def is_stale(member: Member, disks: Mapping[str, Disk]) -> bool:
    """Whether the machine of this member's node has other data, or none. K3s itself takes up one that never started."""
    disk = disks.get(member.node)
    return disk is not None and bool(member.name) and disk.member != member.name


def _is_new(disk: Disk, name: str, nodes: Collection[str], passwords: Collection[str]) -> bool:
    """Without the password the cluster lets nobody in under a name that it has given one for.

    Source: K3s, pkg/nodepassword, validate.go.
    """
    return not disk.running and not disk.password and disk.member is None and (name in nodes or name in passwords)
