"""How object storage does: each node as it sees itself, and the whole as its servers see it. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host

from unterbau.declaration import Environment
from unterbau.domain.erasure import ErasureSet
from unterbau.domain.erasure_left import Left, left
from unterbau.domain.unknown import Unknown
from unterbau.plan.session import Session
from unterbau.secrets.hidden import redact
from unterbau.storage.connection import StorageError, endpoint, members, service_of

HEALTHY, FAILED, DEGRADED = 0, 1, 2
FACT = "facts.minio"  # by name: unterbau imports none of the folders beside it
ONLINE, WHOLE = "online", "ok"
ENDS_SOON_S = 14 * 24 * 3600  # an apply renews a certificate long before


@dataclass(frozen=True)
class DriveStatus:
    """One drive, as the servers see it. `state`: ok, offline, unformatted, …; sizes are 0 where they are not known."""

    path: str
    state: str
    healing: bool
    total_bytes: int
    used_bytes: int


@dataclass(frozen=True)
class NodeStatus:
    """One node. `state`: online, offline, initializing …, as the other servers see it; unreachable (by SSH)."""

    name: str
    state: str
    version: str | None = None
    drives: tuple[DriveStatus, ...] = ()
    certificate_ends_at: str | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetStatus:
    """One erasure set. `online`: drives that have all of their shards, as far as the servers know."""

    name: str  # "pool/set", from 0
    drives: int
    online: int
    healing: int
    read_quorum: int
    write_quorum: int
    left: Left


@dataclass(frozen=True)
class StorageStatus:
    """All nodes, in the inventory's order. `unread`: why the whole could not be read; then there are no sets."""

    nodes: tuple[NodeStatus, ...]
    sets: tuple[SetStatus, ...] = ()
    usage: Mapping[str, int] | None = None  # buckets, objects, bytes; None: not known
    versions: tuple[str, ...] = ()
    unread: str | None = None

    @property
    def problems(self) -> Iterator[str]:
        """Everything that is wrong, a sentence each."""
        for node in self.nodes:
            yield from (f"{node.name}: {problem}" for problem in node.problems)
        for one in self.sets:
            if one.left.writes is None:
                yield (
                    f"set {one.name}: {one.online} of {one.drives} drives are there, reads need {one.read_quorum} and "
                    f"writes {one.write_quorum}: {one.left}"
                )
        if len(self.versions) > 1:
            yield f"its servers run {' and '.join(self.versions)}: an upgrade is under way, or was cut short; apply"
        if self.unread:
            yield self.unread

    @property
    def exit_code(self) -> int:
        """0 all is well, 2 it serves but something is wrong, 1 it does not serve writes, or could not be read."""
        if self.unread or not self.sets or any(one.left.writes is None for one in self.sets):
            return FAILED
        return DEGRADED if any(self.problems) else HEALTHY

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {**asdict(self), "problems": list(self.problems), "exit_code": self.exit_code}


def read(environment: Environment, root: Path, tell: Callable[[str], None]) -> StorageStatus:
    """Ask every node and the whole; SessionError if the environment declares no object storage."""
    session = Session(environment, root)
    host = endpoint(session)
    hosts = members(session, host)
    readings: dict[str, Mapping[str, Any]] = {}
    found: dict[str, Any] = {}
    try:
        tell(f"asking {host.name} and its {len(hosts)} nodes; if one is away the others wait for it")
        session.each(session._connect, [*hosts, host])
        session.each(lambda one: _ask(one, host, readings, found), session.ready)
    finally:
        session.disconnect()
    unread = {name: [redact(reason) for reason in reasons] for name, reasons in session.unread().items()}
    nodes = {str(one.name): str(one.data.node.name) for one in hosts}
    return judged(nodes, readings, unread, found.get("cluster"), found.get("unread"))


def _ask(one: Host, whole: Host, readings: dict[str, Mapping[str, Any]], found: dict[str, Any]) -> None:
    if one is whole:
        try:
            found["cluster"] = service_of(whole).ask("cluster")
        except StorageError as error:
            found["unread"] = str(error)
        return
    name, address = one.data.node.name, str(one.data.node.address)
    server = one.get_fact(
        import_module(FACT).State,
        node=name, members={name: address}, port=whole.data.s3.port, files=[], unread_files=[], mounts=[],
    )  # fmt: skip
    if not isinstance(server, Unknown):
        readings[str(one.name)] = server


def judged(
    nodes: Mapping[str, str],
    readings: Mapping[str, Mapping[str, Any]],
    unread: Mapping[str, Sequence[str]],
    cluster: Mapping[str, Any] | None,
    reason: str | None,
) -> StorageStatus:
    """What was read, put together. `nodes`: {host: name in the cluster}; `readings`: of `facts.minio.State`, by host.

    `cluster`: the connector's answer; None if there was none, for this `reason`. A service elsewhere has no `nodes`.
    """
    seen: Mapping[str, Any] = cluster["nodes"] if cluster else {}
    names = nodes or {name: name for name in sorted(seen)}
    up = {name for name, one in seen.items() if one["state"] == ONLINE}
    statuses = tuple(
        _node(name, seen.get(host, {}), up, readings.get(host), unread.get(host, ()) if nodes else None)
        for host, name in names.items()
    )
    if cluster is None:
        return StorageStatus(statuses, unread=reason or "the servers could not be asked; see the error above")
    sets = tuple(_sets(cluster))
    readable = all(one.left.reads is not None for one in sets)  # without it the servers say 0 of everything
    return StorageStatus(statuses, sets, cluster["usage"] if readable else None, tuple(cluster["versions"]))


def _node(
    name: str,
    seen: Mapping[str, Any],
    up: Collection[str],
    server: Mapping[str, Any] | None,
    unread: Sequence[str] | None,
) -> NodeStatus:
    drives = tuple(
        DriveStatus(path, one["state"], one["healing"], one["total_bytes"], one["used_bytes"])
        for path, one in sorted(seen.get("drives", {}).items())
    )
    problems = [*_own_problems(server, unread), *_seen_problems(seen, up, drives)]
    return NodeStatus(
        name,
        seen.get("state") or ("unreachable" if server is None else "unknown"),
        seen.get("version") or None,
        drives,
        server["certificate_ends_at"] if server else None,
        tuple(problems),
    )


def _own_problems(server: Mapping[str, Any] | None, unread: Sequence[str] | None) -> Iterable[str]:
    """What the node says of itself; nothing if it is no node of ours."""
    if server is None:
        yield from (unread or ["its state could not be read; see the error above"]) if unread is not None else ()
        return
    [api] = server["members"].values()
    if server["active"] != "active" or not api["answers"]:
        said = "does not answer" if not api["answers"] else "answers"
        yield f"its server {said}, its service is {server['active']}; see `journalctl -u minio` there"
    elif server["certificate"] != server["served_certificate"]:
        yield "it shows another certificate than the one on its disk; apply again"
    ends = server["certificate_ends_at"]
    if ends and datetime.fromisoformat(ends).timestamp() - server["now_s"] < ENDS_SOON_S:
        yield f"its certificate ends at {ends}; apply again"


def _seen_problems(seen: Mapping[str, Any], up: Collection[str], drives: Sequence[DriveStatus]) -> Iterable[str]:
    if seen and seen["state"] != ONLINE:
        yield f"the other servers see it as {seen['state']}"
    elif missed := [name for name in seen.get("misses", ()) if name in up]:
        yield (
            f"its server does not reach {', '.join(missed)} by name and may deny what is there, though it calls itself "
            "healthy; see /etc/hosts and the firewall there, and apply"
        )
    for drive in drives:
        if drive.state != WHOLE and seen["state"] == ONLINE:
            yield f"its drive {drive.path} is {drive.state}; if it was replaced, apply again"
        elif drive.healing:
            yield f"its drive {drive.path} is being healed"


def _sets(cluster: Mapping[str, Any]) -> Iterator[SetStatus]:
    up = {name for name, node in cluster["nodes"].items() if node["state"] == ONLINE}
    for name, one in sorted(cluster["sets"].items()):
        drives = [
            (node, drive["state"] == WHOLE and not drive["healing"])
            for node, found in sorted(cluster["nodes"].items())
            for drive in found["drives"].values()
            if name == f"{drive['pool']}/{drive['set']}"
        ]
        # A drive that no server knows the place of is not there, on a node of its own.
        drives += [(f"?{number}", False) for number in range(one["drives"] - len(drives))]
        rule = ErasureSet(tuple(node for node, _ in drives), cluster["parity"])
        whole = [there for _, there in drives]
        yield SetStatus(
            name, one["drives"], sum(whole), one["healing"], one["read_quorum"], one["write_quorum"],
            left(rule, whole, up),
        )  # fmt: skip
