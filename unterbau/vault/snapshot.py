"""Snapshots of a Vault cluster: taken and restored through its API, each with what is needed to judge it later.

A snapshot is sealed: it opens only with the seal key of the moment it was taken. So beside FILE stands FILE.json with
the ids of the keys, the checksum and the place in raft's log. Source: OpenBao, raft snapshots; static seal.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from unterbau.connectors.vault_on_server import Sidecar, SnapshotError, save, sidecar_of
from unterbau.vault.connection import KEYS_KNOWN, Cluster, VaultError


def take(found: Cluster, path: Path) -> Sidecar:
    """Write a snapshot and its sidecar, whole or not at all, readable by you only."""
    for taken in (path, sidecar_of(path)):
        if taken.exists():
            raise VaultError(f"cannot write {taken}: it is there already; name another file")
    health, keys = found.health(), found.seal_keys(KEYS_KNOWN)
    try:
        return save(path, found.read(), health, keys)
    except SnapshotError as error:
        raise VaultError(str(error)) from error


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
