"""Snapshots of a Vault cluster: taken and restored through its API, each with what is needed to judge it later.

A snapshot is sealed: it opens only with the seal key of the moment it was taken. So beside FILE stands FILE.json with
the ids of the keys, the checksum and the place in raft's log. Source: OpenBao, raft snapshots; static seal.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from unterbau.vault.connection import Cluster, VaultError


@dataclass(frozen=True)
class Sidecar:
    """What stands beside a snapshot. `seal_keys` are id -> the first digits of the key's SHA-256, newest first."""

    cluster: str
    cluster_id: str
    seal_keys: dict[str, str]
    sha256: str
    raft_index: int
    taken_at: str


def take(found: Cluster, path: Path) -> Sidecar:
    """Write a snapshot and its sidecar, whole or not at all, readable by you only."""
    for taken in (path, sidecar_of(path)):
        if taken.exists():
            raise VaultError(f"cannot write {taken}: it is there already; name another file")
    health, keys = found.health(), found.seal_keys()
    partial = path.with_name(f".{path.name}.partial")
    try:
        digest = _write(partial, found.read())
        index = raft_index(partial)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = Sidecar(health["cluster_name"], health["cluster_id"], keys, digest, index, now)
        _write(sidecar_of(path), [json.dumps(asdict(made), indent=2).encode() + b"\n"])
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)
    return made


def read_sidecar(path: Path) -> Sidecar:
    """What stands beside a snapshot; VaultError if that is not what the file is."""
    try:
        sidecar = Sidecar(**json.loads(sidecar_of(path).read_text()))
        digest = _sha256(path)
    except (OSError, ValueError, TypeError) as error:
        raise VaultError(
            f"cannot restore {path}: found no readable {sidecar_of(path).name} beside it ({error}); "
            "a snapshot and its JSON file are copied together"
        ) from error
    if digest != sidecar.sha256:
        raise VaultError(
            f"cannot restore {path}: its SHA-256 is {digest[:12]}…, taken was {sidecar.sha256[:12]}…; fetch it again"
        )
    return sidecar


def refusal(sidecar: Sidecar, keys: dict[str, str]) -> str | None:
    """Why servers with these keys could not open the snapshot; None if they can. Only its newest key opens it."""
    needed, fingerprint = next(iter(sidecar.seal_keys.items()))
    if keys.get(needed) == fingerprint:
        return None
    have = ", ".join(keys)
    if needed in keys:
        return f"it is sealed with {needed} of another store than this one; use the store that it was taken with"
    return f"it is sealed with {needed}, and the servers have {have}; start servers whose seal key is {needed} first"


def restore(found: Cluster, path: Path, sidecar: Sidecar) -> None:
    """Replace what the cluster holds by the snapshot, and wait until all members serve it."""
    if why := refusal(sidecar, found.seal_keys()):
        raise VaultError(f"cannot restore {path}: {why}")
    force = found.health()["cluster_id"] != sidecar.cluster_id
    with path.open("rb") as snapshot:
        found.write(snapshot, force=force)
    found.await_unsealed()


def sidecar_of(path: Path) -> Path:
    """Where a snapshot's sidecar stands."""
    return path.with_name(path.name + ".json")


def raft_index(path: Path) -> int:
    """The place in raft's log that a snapshot holds; VaultError if its own checksums do not hold."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            found = {member.name: _read(archive, member) for member in archive if member.isfile()}
        sums = [line.split() for line in found["SHA256SUMS"][1].decode().splitlines()]
        damaged = [name for digest, name in sums if found[name][0] != digest]
        index = int(json.loads(found["meta.json"][1])["Index"])
    except (OSError, EOFError, KeyError, ValueError, zlib.error, tarfile.TarError) as error:
        raise VaultError(f"cannot keep the snapshot: what came is damaged ({error}); take it again") from error
    if damaged:
        raise VaultError(f"cannot keep the snapshot: {', '.join(damaged)} differs from its checksum; take it again")
    return index


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, bytes]:
    """(SHA-256, content), without the content of what is large."""
    digest, small = hashlib.sha256(), b""
    content = archive.extractfile(member)
    while content and (piece := content.read(1 << 20)):
        digest.update(piece)
        small = piece if member.size < 1 << 20 else b""
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
