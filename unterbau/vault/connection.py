"""A Vault cluster outside a run: reached and logged in to as a run does it."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gevent

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.vault import VaultConnector
from unterbau.connectors.vault_client import sentence
from unterbau.declaration import Environment
from unterbau.plan.run import holder
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.declared import store_in
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.store import StoreError

SNAPSHOT = "sys/storage/raft/snapshot"
TRANSFER_TIMEOUT_S = (5, 300)
UNSEAL_WITHIN_S = 60
LOOK_AGAIN_S = 0.5
KEYS_A_SERVER_HAS = 2  # the current one and the one before
KEYS_KNOWN = 5  # enough for servers that have missed a few rotations


class VaultError(Exception):
    """A sentence: cannot + object + what was found + what to do next."""


class Cluster:
    """One environment's Vault, reached as a run reaches it, outside a run."""

    def __init__(self, session: Session, connector: VaultConnector) -> None:
        self._session, self._connector = session, connector

    def health(self) -> dict[str, Any]:
        """What the active member says of itself."""
        return dict(self._asked("GET", "sys/health").json())

    def seal_keys(self, newest: int = KEYS_A_SERVER_HAS) -> dict[str, str]:
        """{id: fingerprint} of the store's newest keys, which the servers have once they were changed to them."""
        found = store_in(self._session.state.inventory)
        if found is None:
            raise VaultError("cannot name the seal key: the inventory has no secret store; declare one")
        secret = str(self._connector.host.data.vault_server.seal_key)
        keyring = Keyring.of(found[1], (), rotate=False, generate=False)
        current, keys = keyring.version(secret), keyring.versions(secret, newest)
        digests = [hashlib.sha256(key.unmask().encode()).hexdigest() for key in keys]
        return {f"seal-{current - age}": digest[:16] for age, digest in enumerate(digests)}

    def read(self) -> Iterable[bytes]:
        """A snapshot, in pieces."""
        answer = self._asked("GET", SNAPSHOT, stream=True, timeout=TRANSFER_TIMEOUT_S)
        try:
            yield from answer.iter_content(1 << 16)
        except OSError as error:
            raise VaultError("cannot take a snapshot: the connection broke before its end; take it again") from error

    def write(self, snapshot: io.BufferedReader, *, force: bool) -> None:
        """Replace everything that the cluster holds; `force`: the snapshot is of another cluster."""
        self._asked("POST", SNAPSHOT + "-force" * force, data=snapshot, timeout=TRANSFER_TIMEOUT_S)

    def wrapped_secret_id(self, role: str, life_s: int) -> Hidden:
        """A token that gives a new secret id of an AppRole role once, within `life_s`."""
        path = f"auth/approle/role/{quote(role, safe='')}/secret-id"
        answer = self._asked("POST", path, body={}, wrap_ttl=f"{life_s}s")
        return Hidden(str(answer.json()["wrap_info"]["token"]))

    def await_unsealed(self) -> None:
        """Wait until every member serves again, and one of them leads."""
        deadline = time.monotonic() + UNSEAL_WITHIN_S
        while True:
            found = self._connector.client.members.look(every=True)
            if "active" in found.values() and set(found.values()) <= {"active", "standby"}:
                return
            if time.monotonic() > deadline:
                states = ", ".join(f"{name} {state}" for name, state in sorted(found.items()))
                raise VaultError(
                    f"cannot say that the snapshot was restored: found {states} after {UNSEAL_WITHIN_S} s; "
                    "look at `unterbau vault status` and the servers' logs"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def _asked(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._connector.client.request(method, path, **options)
        except (EndpointError, StoreError) as error:
            raise VaultError(str(error)) from error
        if not response.ok:
            raise VaultError(sentence(method, path, response))
        return response


@contextmanager
def cluster(environment: Environment, root: Path, *, lock: bool = False) -> Iterator[Cluster]:
    """The Vault of an environment, connected; SessionError if it declares none.

    `lock`: held as by a run, so that no apply is at work meanwhile; SessionError if one is.
    """
    found = Session(environment, root)
    host = next((one for one in found.hosts if one.data.get("vault")), None)
    if host is None:
        raise SessionError(f"cannot reach Vault: {environment.name} declares none; add endpoints(VaultEndpoint(…))")
    session = Session(environment, root, (host.name,))  # the connector connects the members, which are left out
    try:
        session.connect()
        if lock:
            session.lock(holder())
        if problems := [problem for found in session.problems.values() for problem in found]:
            raise SessionError("; ".join(problems))
        connector = session.hosts[0].connector
        assert isinstance(connector, VaultConnector)  # noqa: S101  # for the type checker
        yield Cluster(session, connector)
    finally:
        session.disconnect()


def write_secret(path: Path, secret: Hidden) -> None:
    """A new file with mode 0600 that holds nothing else."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise VaultError(f"cannot write {path}: it is there already; name another file") from error
    with os.fdopen(opened, "w") as file:
        file.write(secret.unmask() + "\n")
