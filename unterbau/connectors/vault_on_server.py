"""A snapshot of a Vault cluster as a file with its sidecar; and, run on a server, saves one there if that one leads.

`unterbau vault snapshot` and the servers' timer write the same files with it. The servers get this very file, so it
needs nothing but the standard library. Usage: vault_on_server.py ADDRESS:PORT KEPT
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path("/var/lib/openbao/snapshots")
CERTIFICATE = "/etc/unterbau/pki/openbao.pem"
TRUST = "/etc/unterbau/pki/ca.pem"
RESERVE_BYTES = 64 << 20  # OpenBao's own database is on this file system: a snapshot does not take its last room
TIMEOUT_S = 60  # without a byte
PIECE_BYTES = 1 << 20
KEY_INFO = b"\x1a"  # of protobuf: what a sealed text ends with is the length of its key's id, and the id
NAME = re.compile(r"\d{8}T\d{6}Z\.snap")


class SnapshotError(Exception):
    """A sentence: cannot + object + what was found + what to do next."""


@dataclass(frozen=True)
class Sidecar:
    """What stands beside a snapshot. `seal_keys` are id -> the first digits of the key's SHA-256, newest first."""

    cluster: str
    cluster_id: str
    seal_keys: dict[str, str]
    sha256: str
    raft_index: int
    taken_at: str


def fingerprint(key: str) -> str:
    """How a sidecar names a seal key: enough to tell keys apart, nothing to guess one from."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def save(path: Path, pieces: Iterable[bytes], health: dict[str, Any], seal_keys: dict[str, str]) -> Sidecar:
    """Write a snapshot and its sidecar, mode 0600, whole or not at all; SnapshotError if what came is damaged."""
    partial, beside = path.with_name(f".{path.name}.partial"), sidecar_of(path)
    try:
        digest = _write(partial, pieces)
        index, key = contents(partial)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = Sidecar(health["cluster_name"], health["cluster_id"], _from(key, seal_keys), digest, index, now)
        _write(beside, [json.dumps(asdict(made), indent=2).encode() + b"\n"])
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)
        if not path.exists():
            beside.unlink(missing_ok=True)
    return made


def sidecar_of(path: Path) -> Path:
    """Where a snapshot's sidecar stands."""
    return path.with_name(path.name + ".json")


def _from(key: str, known: dict[str, str]) -> dict[str, str]:
    """The key that it is sealed with and older ones: the servers may not have the newest yet."""
    if key not in known:
        raise SnapshotError(
            f"cannot keep the snapshot: it is sealed with {key}, and known are {', '.join(known)}; "
            "see `unterbau secrets list`, and which key the servers' server.hcl names"
        )
    ids = list(known)
    return {one: known[one] for one in ids[ids.index(key) :]}


def contents(path: Path) -> tuple[int, str]:
    """(place in raft's log, id of the seal key) of a snapshot; SnapshotError if its own checksums do not hold."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            found = {member.name: _read(archive, member) for member in archive if member.isfile()}
        sums = [line.split() for line in found["SHA256SUMS"][1].decode().splitlines()]
        damaged = [name for digest, name in sums if found[name][0] != digest]
        index = int(json.loads(found["meta.json"][1])["Index"])
        key = found["SHA256SUMS.sealed"][1].rpartition(KEY_INFO)[2][1:].decode()
    except (OSError, EOFError, KeyError, ValueError, zlib.error, tarfile.TarError) as error:
        raise SnapshotError(f"cannot keep the snapshot: what came is damaged ({error}); take it again") from error
    if damaged:
        raise SnapshotError(f"cannot keep the snapshot: {', '.join(damaged)} differs from its checksum; take it again")
    return index, key


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, bytes]:
    """(SHA-256, content), without the content of what is large."""
    digest, small = hashlib.sha256(), b""
    content = archive.extractfile(member)
    while content and (piece := content.read(PIECE_BYTES)):
        digest.update(piece)
        small = piece if member.size < PIECE_BYTES else b""
    return digest.hexdigest(), small


def _write(path: Path, pieces: Iterable[bytes]) -> str:
    """A new file with mode 0600; its SHA-256."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Api:
    """This server's API, with the server's own certificate. The token is in this process's memory only."""

    def __init__(self, endpoint: str) -> None:
        context = ssl.create_default_context(cafile=TRUST)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(CERTIFICATE)
        self._connection = http.client.HTTPSConnection(endpoint, timeout=TIMEOUT_S, context=context)
        self._token: dict[str, str] = {}

    def log_in(self) -> None:
        """As this server; the token dies by itself."""
        body = json.dumps({"name": "snapshot"})
        self._token = {
            "X-Vault-Token": json.load(self.answer("POST", "auth/nodes/login", body))["auth"]["client_token"]
        }

    def answer(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        """The answer, of which nothing was read yet; SnapshotError if it is no success."""
        self._connection.request(method, f"/v1/{path}", body, self._token)
        answer = self._connection.getresponse()
        if answer.status != http.client.OK:
            said = " ".join(answer.read(300).decode(errors="replace").split())
            raise SnapshotError(
                f"cannot take a snapshot: {path} answered {answer.status} {said}; look at `unterbau vault status`, "
                "and `unterbau plan` for what differs in the login auth/nodes"
            )
        return answer


def take(endpoint: str, kept: int, keys: Path) -> str:
    """Take a snapshot if this server leads, and keep the newest ones; says what was done."""
    api = Api(endpoint)
    leader = json.load(api.answer("GET", "sys/leader"))
    if not leader["is_self"]:
        return f"no snapshot here: {leader['leader_address'] or 'nobody'} leads, not {endpoint}"
    clean(FOLDER)
    path = FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.snap"
    if path.exists():
        return f"no snapshot: {path} was taken within this second"
    health = json.load(api.answer("GET", "sys/health"))
    api.log_in()
    made = save(path, _while_room(api.answer("GET", "sys/storage/raft/snapshot")), health, seal_keys(keys))
    removed = prune(FOLDER, kept, path)
    return (
        f"{path}: raft index {made.raft_index}, opens with {next(iter(made.seal_keys))}; {removed} older ones removed"
    )


def seal_keys(folder: Path) -> dict[str, str]:
    """{id: fingerprint} of the keys that the server was started with, newest first, from its credentials' copies."""
    found = {path.name.partition("_")[2]: fingerprint(path.read_text()) for path in folder.iterdir()}
    if not found:
        raise SnapshotError(f"cannot name the seal key: found none in {folder}; see `systemctl cat openbao.service`")
    return {key: found[key] for key in sorted(found, key=lambda key: int(key.rpartition("-")[2]), reverse=True)}


def clean(folder: Path) -> None:
    """Remove what a killed run has left: parts of a snapshot, sidecars without one."""
    for path in folder.glob(".*.partial"):
        path.unlink()
    for path in folder.glob("*.snap.json"):
        if not path.with_suffix("").exists():
            path.unlink()


def prune(folder: Path, kept: int, made: Path) -> int:
    """Keep `made`, whatever the clock said before, and the newest others up to `kept`; how many went."""
    others = sorted(path for path in folder.glob("*.snap") if NAME.fullmatch(path.name) and path != made)
    old = others[: max(0, len(others) - (kept - 1))]
    for path in old:
        path.unlink()
        sidecar_of(path).unlink(missing_ok=True)
    return len(old)


def _while_room(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        free = shutil.disk_usage(FOLDER).free
        if free < RESERVE_BYTES:
            raise SnapshotError(
                f"cannot save a snapshot in {FOLDER}: found {free >> 10} KiB free, and {RESERVE_BYTES >> 20} MiB are "
                "left to OpenBao's database; make room on this file system, or lower snapshots_kept"
            )
        if not (piece := answer.read(PIECE_BYTES)):
            return
        yield piece


def main(endpoint: str, kept: str) -> int:
    """0 taken, or not this server's turn; 1 with a sentence."""
    try:
        print(take(endpoint, int(kept), Path(os.environ["CREDENTIALS_DIRECTORY"])))  # noqa: T201  # to the journal
    except SnapshotError as error:
        print(error, file=sys.stderr)  # noqa: T201
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        sentence = f"cannot save a snapshot in {FOLDER}: found {error!r}; see `df {FOLDER}` and openbao.service"
        print(sentence, file=sys.stderr)  # noqa: T201
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
