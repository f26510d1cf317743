"""How a Vault cluster does: each member as it sees itself, asked through its node. No login, nothing is changed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host

from unterbau.declaration import Environment, VaultEndpoint
from unterbau.domain import quorum, snapshot_age
from unterbau.domain.snapshot_age import Kept
from unterbau.domain.unknown import Unknown
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.hidden import redact

HEALTHY, FAILED, DEGRADED = 0, 1, 2
FACT, SNAPSHOTS = "facts.openbao", "facts.openbao_snapshot"  # by name: unterbau imports none of the folders beside it
FULL_BYTES = 64 * 1024  # less room than this is none


@dataclass(frozen=True)
class MemberStatus:
    """One member. `state`: active, standby, sealed, uninitialised, down (no answer) or unreachable (its node)."""

    name: str
    state: str
    version: str | None = None
    applied_index: int | None = None
    audit_free_bytes: Mapping[str, int | None] | None = None
    certificate_ends_at: str | None = None
    snapshots: Kept | None = None  # None: they could not be read
    problems: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether it leads or follows, and can write down what it answers."""
        return self.state in ("active", "standby") and not self.silenced

    @property
    def full(self) -> list[str]:
        """Audit logs that have no room left."""
        return [path for path, room in (self.audit_free_bytes or {}).items() if room is None or room < FULL_BYTES]

    @property
    def silenced(self) -> bool:
        """Whether every one of its audit logs is full: then it answers no request."""
        return bool(self.audit_free_bytes) and len(self.full) == len(self.audit_free_bytes or {})


@dataclass(frozen=True)
class ClusterStatus:
    """All members, in the inventory's order."""

    members: tuple[MemberStatus, ...]
    snapshot_every_hours: int | None = None

    @property
    def newest_snapshot(self) -> Kept | None:
        """The newest over all members that could be read."""
        return snapshot_age.newest(self._kept)

    @property
    def overdue(self) -> str | None:
        """What is wrong with the age of the newest snapshot; None if nothing is."""
        return snapshot_age.overdue(self._kept, self.snapshot_every_hours) if self.snapshot_every_hours else None

    @property
    def _kept(self) -> list[Kept]:
        return [one.snapshots for one in self.members if one.snapshots is not None]

    @property
    def leader(self) -> MemberStatus | None:
        """The member that answers requests; None if none does."""
        return next((one for one in self.members if one.state == "active" and one.serves), None)

    @property
    def exit_code(self) -> int:
        """0 all is well, 2 it serves but something is wrong, 1 it does not serve."""
        serving = sum(one.serves for one in self.members)
        if self.leader is None or serving < quorum.needed(len(self.members)):
            return FAILED
        return DEGRADED if self.overdue or any(one.problems for one in self.members) else HEALTHY

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        members = [{**asdict(one), "serves": one.serves} for one in self.members]
        leader, newest = self.leader, self.newest_snapshot
        return {
            "leader": leader.name if leader else None,
            "members": members,
            "newest_snapshot": asdict(newest) if newest else None,
            "overdue_snapshot": self.overdue,
            "exit_code": self.exit_code,
        }


def read(environment: Environment, root: Path) -> ClusterStatus:
    """Ask every member; SessionError if the inventory has no Vault cluster."""
    session = Session(environment, root)
    endpoint = _endpoint(session)
    hosts = [host for host in session.state.inventory if endpoint.members in host.groups]
    found: dict[str, MemberStatus] = {}
    addresses = {host.data.node.name: str(host.data.node.address) for host in hosts}
    try:
        session.each(session._connect, hosts)
        session.each(lambda host: found.update({host.name: _ask(host, addresses, endpoint.port)}), session.ready)
    finally:
        session.disconnect()
    unread = session.unread()
    every_hours = min((host.data.vault_server.snapshot_every_hours for host in hosts), default=None)
    return ClusterStatus(tuple(found.get(host.name) or _unreachable(host, unread) for host in hosts), every_hours)


def _endpoint(session: Session) -> VaultEndpoint:
    for host in session.state.inventory:
        if isinstance(endpoint := host.data.get("vault"), VaultEndpoint):
            return endpoint
    raise SessionError(
        f"cannot look at a Vault cluster: {session.environment.name} has none; "
        "add endpoints(VaultEndpoint()) to its inventory"
    )


def _unreachable(host: Host, unread: Mapping[str, Sequence[str]]) -> MemberStatus:
    reasons = unread.get(host.name) or ["it could not be read"]
    return MemberStatus(host.data.node.name, "unreachable", problems=tuple(redact(reason) for reason in reasons))


def _ask(host: Host, addresses: Mapping[str, str], port: int) -> MemberStatus:
    name, paths = host.data.node.name, list(host.data.vault_server.audit_paths)
    server = host.get_fact(
        import_module(FACT).State,
        node=name, members={name: addresses[name]}, port=port, files=[], unread_files=[], audit_paths=paths,
    )  # fmt: skip
    if isinstance(server, Unknown):
        return MemberStatus(name, "unreachable", problems=("its state could not be read; see the error above",))
    snapshots = host.get_fact(import_module(SNAPSHOTS).Kept)
    return judged(name, server, None if isinstance(snapshots, Unknown) else snapshots)


def judged(name: str, server: Mapping[str, Any], snapshots: Mapping[str, Any] | None) -> MemberStatus:
    """What readings of `facts.openbao.State` and `facts.openbao_snapshot.Kept` say of the member."""
    api, free = server["api"][name], server["audit_free_bytes"]
    status = MemberStatus(
        name,
        _state(api),
        version=api["version"],
        applied_index=api["applied_index"],
        audit_free_bytes=free,
        certificate_ends_at=server["certificate_ends_at"],
        snapshots=_kept(name, snapshots),
    )
    problems = (*_problems(status, server), *_snapshot_problems(snapshots))
    return MemberStatus(**{**vars(status), "problems": problems})


def _kept(name: str, snapshots: Mapping[str, Any] | None) -> Kept | None:
    if snapshots is None:
        return None
    return Kept(name, snapshots["newest_at"], snapshots["newest_age_s"], snapshots["data_age_s"])


def _snapshot_problems(snapshots: Mapping[str, Any] | None) -> Iterable[str]:
    if snapshots is None:
        yield "its snapshots could not be read; see the error above"
    elif snapshots["last_run"] == "failed":
        yield "its last snapshot failed; see `journalctl -u openbao-snapshot` there"


def _state(api: Mapping[str, Any]) -> str:
    if not api["answers"]:
        return "down"
    if not api["initialized"]:
        return "uninitialised"
    if api["sealed"]:
        return "sealed"
    return "active" if api["leads"] else "standby"


def _problems(status: MemberStatus, server: Mapping[str, Any]) -> Iterable[str]:
    if status.state not in ("active", "standby"):
        yield f"it is {status.state}, its service is {server['active']}; see `journalctl -u openbao` there"
    if server["founding"]:
        yield "its first start was not finished; apply again"
    for path in status.full:
        room = (status.audit_free_bytes or {})[path]
        what = "its folder is missing" if room is None else f"{room} bytes are free"
        rest = "it answers no request until one log can be written" if status.silenced else "the other log still works"
        yield f"it cannot write {path}: {what} in {posixpath.dirname(path)}; {rest}"
    if server["certificate"] != server["served_certificate"] and status.state != "down":
        yield "it shows another certificate than the one on its disk; apply again"
