"""How K3s' etcd does: each member as it sees itself, asked through its node, and its snapshots. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host

from unterbau.declaration import Environment, K3s
from unterbau.domain import etcd, quorum
from unterbau.domain.etcd import Snapshot, node_of
from unterbau.domain.unknown import Unknown
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.declared import store_in
from unterbau.secrets.hidden import redact
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.store import StoreError

HEALTHY, FAILED, DEGRADED = 0, 1, 2
MEMBER, SNAPSHOT = "facts.etcd_member", "facts.etcd_snapshot"  # by name: unterbau imports none of the folders beside it
TOKENS_KNOWN = 100
FULL = 0.95  # Source: etcd's mixin, as are the two below
SLOW_FSYNC_S = 0.5
SLOW_COMMIT_S = 0.25


@dataclass(frozen=True)
class MemberStatus:
    """One server. `state`: leads, follows, learner, alone (no quorum), down, none (never set up), unreachable."""

    name: str
    state: str
    version: str | None = None
    db_size_bytes: int | None = None
    db_in_use_bytes: int | None = None
    quota_bytes: int | None = None
    raft_applied_index: int | None = None
    leader_changes: int | None = None
    fsync_p99_s: float | None = None
    commit_p99_s: float | None = None
    alarms: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()  # alarms of whomever, as it tells: that of one that is down or gone counts too
    problems: tuple[str, ...] = ()

    @property
    def votes(self) -> bool:
        """Whether it takes part."""
        return self.state in ("leads", "follows")


@dataclass(frozen=True)
class EtcdStatus:
    """All servers in the inventory's order; `members` are the names that etcd itself has."""

    servers: tuple[MemberStatus, ...]
    members: tuple[str, ...] = ()
    snapshots: tuple[Snapshot, ...] | None = None  # newest first; None: nobody could say
    kept: tuple[str, ...] = ()  # hashes of the tokens that the store has
    problems: tuple[str, ...] = ()

    @property
    def unusable(self) -> list[str]:
        """Why snapshots cannot be restored, a sentence each."""
        return [said for one in self.snapshots or () if (said := etcd.why(one, self.kept))]

    @property
    def newest(self) -> Snapshot | None:
        """The newest that can be restored."""
        return next((one for one in self.snapshots or () if etcd.usable(one, self.kept) == "yes"), None)

    @property
    def exit_code(self) -> int:
        """0 all is well, 2 it serves but something is wrong, 1 it takes no writes or could not be read."""
        total = max(len(self.members), len(self.servers))
        full = any(alarm == "NOSPACE" for one in self.servers for alarm in one.reported)
        if full or sum(one.votes for one in self.servers) < quorum.needed(total):
            return FAILED
        wrong = self.problems or self.unusable or self.snapshots is None or any(one.problems for one in self.servers)
        return DEGRADED if wrong else HEALTHY

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "servers": [asdict(one) for one in self.servers],
            "members": list(self.members),
            "newest_snapshot": asdict(self.newest) if self.newest else None,
            "unusable_snapshots": self.unusable,
            "problems": list(self.problems),
            "exit_code": self.exit_code,
        }


def cluster_of(session: Session) -> tuple[K3s, list[Host]]:
    """The K3s that the environment declares, and its servers in the inventory's order; SessionError."""
    for host in session.state.inventory:
        declared = host.data.get("k3s")
        if isinstance(declared, K3s) and host.data.get("node") and declared.servers in host.groups:
            return declared, [one for one in session.state.inventory if declared.servers in one.groups]
    raise SessionError(
        f"cannot look at etcd: {session.environment.name} declares no K3s; add k3s = K3s() to its group data"
    )


def kept_hashes(session: Session, declared: K3s) -> tuple[str, ...]:
    """Hashes of every server token that the store keeps; StoreError."""
    found = store_in(session.state.inventory)
    if found is None:
        return ()
    tokens = Keyring.of(found[1], (), rotate=False, generate=False).versions(declared.token, TOKENS_KNOWN)
    return tuple(sorted({said for token in tokens if (said := etcd.token_hash(token.unmask()))}))


def read(environment: Environment, root: Path) -> EtcdStatus:
    """Ask every server; SessionError if the environment has no K3s."""
    session = Session(environment, root)
    declared, hosts = cluster_of(session)
    found: dict[str, tuple[Any, Any]] = {}
    try:
        session.each(session._connect, hosts)
        session.each(lambda host: found.update({host.name: _ask(host)}), session.ready)
    finally:
        session.disconnect()
    unread = session.unread()
    servers = tuple(
        judged(host.data.node.name, found[host.name][0]) if host.name in found else _unreachable(host, unread)
        for host in hosts
    )
    problems = list(_strangers(found.values(), {host.data.node.name for host in hosts}))
    kept: tuple[str, ...] = ()
    try:
        kept = kept_hashes(session, declared)
    except StoreError as error:
        problems.append(redact(str(error)))
    return EtcdStatus(servers, _members(found.values()), _snapshots(found.values()), kept, tuple(problems))


def _ask(host: Host) -> tuple[Any, Any]:
    member = host.get_fact(import_module(MEMBER).State)
    return member, host.get_fact(import_module(SNAPSHOT).Kept)


def _unreachable(host: Host, unread: Mapping[str, Sequence[str]]) -> MemberStatus:
    reasons = unread.get(host.name) or ["it could not be read"]
    return MemberStatus(host.data.node.name, "unreachable", problems=tuple(redact(reason) for reason in reasons))


def _first_list(found: Iterable[tuple[Any, Any]]) -> list[Mapping[str, Any]]:
    lists = (one["cluster"]["members"] for one, _ in found if not isinstance(one, Unknown))
    return next((members for members in lists if members), [])


def _members(found: Iterable[tuple[Any, Any]]) -> tuple[str, ...]:
    return tuple(sorted(one["name"] or f"member {one['id']}" for one in _first_list(found)))


def _strangers(found: Iterable[tuple[Any, Any]], nodes: set[str]) -> Iterable[str]:
    """Members without a server: they count for the quorum, and nobody is there."""
    for one in _first_list(found):
        if not one["name"] or node_of(one["name"]) not in nodes:
            yield f"{one['name'] or one['id']} is a member of etcd, and no server: remove it (see k3s_removed)"


def _snapshots(found: Iterable[tuple[Any, Any]]) -> tuple[Snapshot, ...] | None:
    for _, kept in found:
        if not isinstance(kept, Unknown) and kept["records"] is not None:
            return tuple(import_module(SNAPSHOT).snapshot(record) for record in kept["records"])
    return None


def judged(name: str, found: Mapping[str, Any] | Unknown) -> MemberStatus:
    """What a reading of `facts.etcd_member.State` says of the server."""
    if isinstance(found, Unknown):
        return MemberStatus(name, "unreachable", problems=("its state could not be read; see the error above",))
    cluster, metrics = found["cluster"], found["metrics"]
    own = [one["kind"] for one in cluster["alarms"] or () if one["member_id"] == cluster["self_id"]]
    status = MemberStatus(
        name,
        _state(cluster),
        version=cluster["version"],
        db_size_bytes=cluster["db_size_bytes"],
        db_in_use_bytes=cluster["db_in_use_bytes"],
        quota_bytes=cluster["quota_bytes"] or metrics["quota_bytes"],
        raft_applied_index=cluster["raft_applied_index"],
        leader_changes=metrics["leader_changes"],
        fsync_p99_s=metrics["fsync_p99_s"],
        commit_p99_s=metrics["commit_p99_s"],
        alarms=tuple(own),
        reported=tuple(one["kind"] for one in cluster["alarms"] or ()),
    )
    problems = (*_problems(status, metrics), *_alarms(cluster, metrics))
    return MemberStatus(**{**vars(status), "problems": problems})


def _alarms(cluster: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterable[str]:
    """What is known of alarms besides its own."""
    if cluster["answers"] and cluster["alarms"] is None:
        told = "; ".join(cluster["errors"] or ()) or "no error"
        yield f"it reports {told}, and which alarms there are could not be read"
    members, peers = {one["id"]: one["name"] for one in cluster["members"] or ()}, metrics["peers"] or {}
    for one in cluster["alarms"] or ():
        owner = one["member_id"]
        if cluster["self_id"] == cluster["leader_id"] != owner and not peers.get(owner):
            rest = "bring it back, or remove it" if owner in members else "apply: the server that leads disarms it"
            gone = "is down" if owner in members else "is gone"
            yield f"the alarm {one['kind']} of {members.get(owner) or f'member {owner}'}, which {gone}: {rest}"


def _state(cluster: Mapping[str, Any]) -> str:
    if not cluster["set_up"]:
        return "none"
    if not cluster["answers"]:
        return "down"
    if cluster["learner"]:
        return "learner"
    if cluster["leader_id"] is None:
        return "alone"
    return "leads" if cluster["self_id"] == cluster["leader_id"] else "follows"


def _problems(status: MemberStatus, metrics: Mapping[str, Any]) -> Iterable[str]:
    if status.state in ("none", "down"):
        yield "its etcd does not run; apply, or see `journalctl -u k3s` there"
    if status.state == "alone":
        yield "it sees no leader: there is no quorum"
    if status.state == "learner":
        yield "it has no vote yet"
    for alarm in status.alarms:
        rest = "nobody can write; apply: its care brings it back" if alarm == "NOSPACE" else "replace this server"
        yield f"the alarm {alarm}: {rest}"
    if failing := [check for check, passed in (metrics["ready"] or {}).items() if not passed]:
        yield f"its readyz fails: {', '.join(sorted(failing))}"
    yield from _figures(status)


def _figures(status: MemberStatus) -> Iterable[str]:
    size, in_use, quota = status.db_size_bytes, status.db_in_use_bytes, status.quota_bytes
    if size and quota and size > FULL * quota and "NOSPACE" not in status.alarms:
        yield f"its database has {size / quota:.0%} of its quota; raise quota-backend-bytes, or delete objects"
    if size is not None and in_use is not None and etcd.fragmented(size, in_use):
        yield f"only {in_use / size:.0%} of its database are in use; the next apply defragments it"
    if (status.fsync_p99_s or 0) > SLOW_FSYNC_S:
        yield f"its disk is slow: 1 of 100 fsyncs takes {status.fsync_p99_s:.2f} s or more"
    if (status.commit_p99_s or 0) > SLOW_COMMIT_S:
        yield f"its disk is slow: 1 of 100 commits takes {status.commit_p99_s:.2f} s or more"
