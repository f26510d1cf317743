"""Where the snapshot of a restore comes from: a file of the operator's, a server's disk, or S3."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

from unterbau.domain.etcd import usable
from unterbau.domain.unknown import Unknown
from unterbau.etcd import restore
from unterbau.etcd.connection import Cluster, Remote, sha256_of
from unterbau.etcd.restore import HERE, Checked, RestoreError
from unterbau.etcd.restore_steps import download, downloaded, login, named, under_way
from unterbau.etcd.status import SNAPSHOT
from unterbau.secrets.hidden import Hidden

IDENTITY_LENGTH = 12


@dataclass(frozen=True)
class Source:
    """A snapshot as the operator named it, once it lies where K3s restores it from."""

    name: str
    checked: Checked


def placed(cluster: Cluster, wanted: str) -> Source:
    """Bring the snapshot to the first server and look at it there; nothing is stopped for that. RestoreError.

    Args:
        cluster: connected.
        wanted: a file here, SERVER:NAME for one on a disk, s3:NAME, or "" for the newest that can be restored. Of a
            restore that was begun and has not ended the same again, or its id.
    """
    begun = _begun(cluster)
    if begun is None:
        return _placed(cluster, wanted)
    name = cluster.servers[0].run(named(HERE, begun)).strip() or "a snapshot"
    if wanted == begun:
        return _looked_at(cluster, f"{name} ({begun})", begun, "")
    found = _placed(cluster, wanted) if wanted else None
    if found is None or found.checked.identity != begun:
        if found is not None:
            cluster.servers[0].run(f"rm -f {HERE.snapshot(found.checked.identity)}")
        raise RestoreError(
            f"cannot restore {wanted or 'the newest snapshot'}: a restore of {name} ({begun}) was begun and has not "
            f"ended; go on with that one, --from {begun}, or take it back with --abandon"
        )
    return found


def _begun(cluster: Cluster) -> str | None:
    """The id of the restore that goes on; RestoreError if what the servers know of one does not fit together."""
    begun = {one.name: said for one in cluster.servers if (said := one.run(under_way(HERE)).strip())}
    first = cluster.servers[0].name
    if begun and (first not in begun or len(set(begun.values())) > 1):
        told = ", ".join(f"{said} on {name}" for name, said in begun.items())
        raise RestoreError(
            f"cannot restore: found restores that were begun and have not ended, {told}, and {first} has to lead each; "
            "take them back with `unterbau etcd restore --abandon`"
        )
    return begun.get(first)


def _placed(cluster: Cluster, wanted: str) -> Source:
    name, noted = (wanted, "") if wanted else _newest(cluster)
    node, colon, rest = name.partition(":")
    if colon and node == "s3":
        return _from_bucket(cluster, rest, noted)
    server = next((one for one in cluster.servers if one.name == node), None)
    if colon and server is not None:
        path = rest if rest.startswith("/") else f"{HERE.snapshots}/{rest}"
        return _from_server(cluster, server, path, noted)
    file = Path(name).expanduser()
    if not file.is_file():
        nodes = ", ".join(one.name for one in cluster.servers)
        raise RestoreError(
            f"cannot restore {name}: there is no such file here; name a file, SERVER:NAME ({nodes}), or s3:NAME"
        )
    return _sent(cluster, file, name, noted)


def _newest(cluster: Cluster) -> tuple[str, str]:
    kept = {token.hash for token in cluster.tokens}
    places = {one.name for one in cluster.servers}
    for server in cluster.servers:
        found = server.kept()
        if isinstance(found, Unknown) or found["records"] is None:
            continue
        known = [import_module(SNAPSHOT).snapshot(record) for record in found["records"]]
        for one in known:
            if usable(one, kept) != "yes":
                continue
            if one.place == "s3":
                return f"s3:{one.name}", one.token_hash or ""
            if one.place in places:
                return f"{one.place}:{one.location.removeprefix('file://') or one.name}", one.token_hash or ""
        raise RestoreError("cannot restore: none of the snapshots can be; see `unterbau etcd snapshots`")
    raise RestoreError("cannot choose a snapshot: no API tells which there are; name one: --from FILE or SERVER:NAME")


def _from_server(cluster: Cluster, server: Remote, path: str, noted: str) -> Source:
    """On the first server it is copied; from another one it comes by way of here."""
    file, name = shlex.quote(path), f"{server.name}:{path}"
    said = server.run(f"if test -f {file}; then sha256sum < {file}; else echo none; fi").split()[0]
    if said == "none":
        raise RestoreError(f"cannot restore {name}: there is no such file; see `unterbau etcd snapshots`")
    first, target = cluster.servers[0], HERE.snapshot(said[:IDENTITY_LENGTH])
    if server is first:
        server.run(f"umask 077; mkdir -p {HERE.ours} && cp {file} {target}.part && mv -fT {target}.part {target}")
        return _looked_at(cluster, name, said[:IDENTITY_LENGTH], noted)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "snapshot"
        here.touch(0o600)
        server.fetch(path, here)
        return _sent(cluster, here, name, noted)


def _from_bucket(cluster: Cluster, rest: str, noted: str) -> Source:
    """The first server fetches it through its own gateway."""
    bucket, first = cluster.bucket, cluster.servers[0]
    if bucket is None:
        raise RestoreError(f"cannot restore s3:{rest}: snapshots stay on the servers here; name SERVER:NAME, or a file")
    keys = Hidden(login(bucket.access_key, bucket.secret_key.unmask()))
    said = first.run(download(HERE, f"{bucket.url}/{quote(rest)}", bucket.region), keys).split()[0]
    identity = said[:IDENTITY_LENGTH]
    first.run(downloaded(HERE, identity))
    return _looked_at(cluster, f"s3:{rest}", identity, noted)


def _sent(cluster: Cluster, file: Path, name: str, noted: str) -> Source:
    identity = sha256_of(file)[:IDENTITY_LENGTH]
    cluster.servers[0].send(file, HERE.snapshot(identity))
    return _looked_at(cluster, name, identity, noted)


def _looked_at(cluster: Cluster, name: str, identity: str, noted: str) -> Source:
    found = cluster.servers[0].file(HERE.snapshot(identity))
    return Source(name, restore.checked(found, name, identity, list(cluster.tokens), noted))
