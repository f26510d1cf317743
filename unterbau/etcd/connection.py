"""The machines of a K3s cluster outside of a run: reached as a run reaches them, held as by one."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from pyinfra.api import StringCommand
from pyinfra.api.host import Host

from unterbau.declaration import Environment, K3s
from unterbau.domain.etcd import token_hash
from unterbau.domain.unknown import Unknown
from unterbau.etcd.restore import RestoreError, Token
from unterbau.etcd.status import MEMBER, SNAPSHOT, cluster_of
from unterbau.plan.run import holder
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.declared import store_in
from unterbau.secrets.hidden import Hidden, redact
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.store import New, Store

TOKENS_KNOWN = 100
LAST_WORDS = 5  # lines
BLOCK_BYTES = 8 * 2**20  # of a snapshot in one command: what it has in memory, here and there
LINE_LENGTH = 32768
LIMIT_S = 1800  # of one step: longer than a restore of 2 GiB, and than K3s takes to stop or nodes to be Ready


class Remote:
    """A node, see `unterbau.etcd.restore.Machine`."""

    def __init__(self, session: Session, host: Host) -> None:
        self._session, self._host, self.name = session, host, str(host.data.node.name)

    def run(self, command: str, secret: Hidden | None = None) -> str:
        """Its standard output; RestoreError with its last words."""
        return "\n".join(self._lines(command, None if secret is None else secret.unmask()))

    def _lines(self, command: str, given: str | None = None) -> list[str]:
        with self._session.on(self._host):
            done, output = self._host.run_shell_command(
                StringCommand(command), _stdin=given, _timeout=LIMIT_S, **self._as_root
            )
        if not done:
            words = redact(" ".join(output.output_lines[-LAST_WORDS:]))
            raise RestoreError(f"cannot go on on {self.name}: found {words or 'no answer'}")
        return list(output.stdout_lines)

    @property
    def _as_root(self) -> dict[str, bool]:
        return {"_sudo": True} if self._host.data.get("_sudo") else {}

    def member(self) -> Mapping[str, Any] | Unknown:
        """What its etcd says."""
        with self._session.on(self._host):
            found: Mapping[str, Any] | Unknown = self._host.get_fact(import_module(MEMBER).State)
        return found

    def file(self, path: str) -> Mapping[str, Any] | Unknown:
        """A snapshot there, a reading of `facts.etcd_snapshot.File`."""
        with self._session.on(self._host):
            found: Mapping[str, Any] | Unknown = self._host.get_fact(import_module(SNAPSHOT).File, path=path)
        return found

    def kept(self) -> Mapping[str, Any] | Unknown:
        """What its API knows of snapshots, a reading of `facts.etcd_snapshot.Kept`."""
        with self._session.on(self._host):
            found: Mapping[str, Any] | Unknown = self._host.get_fact(import_module(SNAPSHOT).Kept)
        return found

    def send(self, source: Path, target: str) -> None:
        """A file of the operator's goes there, 0600, whole or not at all."""
        part = f"{target}.part"
        folder = shlex.quote(str(Path(target).parent))
        self.run(f"umask 077; mkdir -p {folder} && : > {shlex.quote(part)}")
        with source.open(
            "rb"
        ) as file:  # not by pyinfra's file transfer: with sudo that is by way of /tmp, for all to read
            while block := file.read(BLOCK_BYTES):
                self._lines(f"base64 -d >> {shlex.quote(part)}", base64.b64encode(block).decode())
        said = self.run(f"sha256sum < {shlex.quote(part)}").split()[0]
        if said != sha256_of(source):
            raise RestoreError(f"cannot send {source} to {self.name}: another content arrived; call it again")
        self.run(f"chmod 600 {shlex.quote(part)} && mv -fT {shlex.quote(part)} {shlex.quote(target)}")

    def fetch(self, source: str, target: Path) -> None:
        """A file there comes to the operator, into one that exists."""
        path, position = shlex.quote(source), 0
        size = int(self.run(f"stat --format=%s -- {path}"))
        with target.open("wb") as file:
            while position < size:
                block = f"tail -c +{position + 1} -- {path} | head -c {BLOCK_BYTES} | base64 -w {LINE_LENGTH}"
                content = base64.b64decode("".join(self._lines(block)))
                if not content:
                    raise RestoreError(f"cannot fetch {source} of {self.name}: found {position} of {size} bytes there")
                file.write(content)
                position += len(content)


@dataclass(frozen=True)
class Bucket:
    """Where K3s puts snapshots besides the servers' disks, as the first server reaches it."""

    url: str  # https://HOST:PORT/BUCKET/FOLDER
    access_key: str
    secret_key: Hidden
    region: str = "us-east-1"


@dataclass(frozen=True)
class Cluster:
    """Its servers in the inventory's order, its agents, and the tokens that the store keeps, newest first."""

    declared: K3s
    servers: Sequence[Remote]
    agents: Sequence[Remote]
    tokens: Sequence[Token]
    url: str  # where the first server is joined
    store: Store
    bucket: Bucket | None = None

    def keep(self, token: Token) -> None:
        """The store's current server token is this one: what a later apply writes into config.yaml."""
        if self.tokens[0].hash == token.hash:
            return
        number = self.store.read().number(self.declared.token)
        made_at = datetime.now(UTC).replace(microsecond=0)
        self.store.commit([New(self.declared.token, token.value.unmask(), number, made_at, "restore")])


def sha256_of(path: Path) -> str:
    """Of a file of the operator's, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def cluster(environment: Environment, root: Path, *, everybody: bool) -> Iterator[Cluster]:
    """Connected and held; SessionError if it declares no K3s, or (`everybody`) a node of it cannot be reached."""
    session = Session(environment, root)
    declared, servers = cluster_of(session)
    if declared.datastore is not None:
        raise SessionError(
            f"cannot reach etcd of {environment.name}: it declares a datastore outside of K3s; take and restore its "
            "snapshots with its own tools"
        )
    agents = [one for one in session.state.inventory if declared.agents and declared.agents in one.groups]
    try:
        session.each(session._connect, [*servers, *agents])
        _hold(session)
        if everybody and session.problems:
            told = "; ".join(f"{name}: {'; '.join(why)}" for name, why in sorted(session.problems.items()))
            raise SessionError(
                f"cannot restore etcd of {environment.name}: {told}; a server that is left out would go on with the "
                "old data when it comes back: bring it back, or take it out of the inventory"
            )
        reached = set(session.state.active_hosts)
        yield _found(
            session, declared, [one for one in servers if one in reached], [one for one in agents if one in reached]
        )
    finally:
        session.disconnect()


def _hold(session: Session) -> None:
    """Hold all that could be reached, as a run does; SessionError if another run has one of them."""
    hosts, before = session.ready, dict(session.problems)
    for some in (hosts[:1], hosts[1:]):  # the first one decides alone: of two at once one gets all
        session.each(_lock, some)
        if refused := {name: why for name, why in session.problems.items() if name not in before}:
            told = "; ".join(f"{name}: {'; '.join(why)}" for name, why in sorted(refused.items()))
            raise SessionError(f"cannot touch etcd of {session.environment.name}: {told}; wait for that run to end")


def _lock(host: Host) -> None:
    connector: Any = host.connector  # of a node: it has a lock, as no other connector of pyinfra has
    connector.lock(holder())


def _found(session: Session, declared: K3s, servers: Sequence[Host], agents: Sequence[Host]) -> Cluster:
    store = store_in(session.state.inventory)
    if store is None or not servers:
        found = "no secret store" if store is None else "no server that can be reached"
        raise SessionError(f"cannot reach etcd: found {found}; see the inventory")
    kept = Keyring.of(store[1], (), rotate=False, generate=False).versions(declared.token, TOKENS_KNOWN)
    tokens = [Token(said, token) for token in kept if (said := token_hash(token.unmask()))]
    return Cluster(
        declared,
        [Remote(session, host) for host in servers],
        [Remote(session, host) for host in agents],
        tokens,
        f"https://{servers[0].data.node.address}:{declared.api_port}",
        Store(store[1].path, store[1].identity),
        _bucket(session, declared, servers[0], Keyring.of(store[1], (), rotate=False, generate=False)),
    )


def _bucket(session: Session, declared: K3s, first: Host, keyring: Keyring) -> Bucket | None:
    if not declared.snapshot_bucket:
        return None
    users = [user for host in session.state.inventory for user in host.data.get("s3_users") or ()]
    user = next(user for user in users if user.name == declared.snapshot_user)
    gateway = f"https://s3.{first.data.network.domain}:{first.data.object_storage.gateway_port}"
    url = f"{gateway}/{declared.snapshot_bucket}/{declared.snapshot_folder}"
    return Bucket(url, user.name, keyring.value(user.secret.name))
