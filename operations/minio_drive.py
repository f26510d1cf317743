"""Drives for object storage: each a file system of its own, and in the place that MinIO knows it in."""

from __future__ import annotations

import posixpath
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping

from pyinfra import host, inventory
from pyinfra.api import StringCommand, operation
from pyinfra.api.exceptions import PyinfraError

from facts.minio import USER
from facts.minio_drive import Drives, DriveState, Format, folder_of
from operations.config_file import Commands
from operations.minio_config import Server, malformed
from unterbau import changes
from unterbau.domain import erasure
from unterbau.domain.unknown import Unknown

MODE = "700"

Found = Mapping[str, DriveState]


@operation()
def present(server: Server) -> Commands:
    """This node's drives are there, each an XFS of its own with a folder of MinIO's, and belong where they are.

    Nothing is formatted here, and nothing is mounted: what is missing is a sentence.

    Args:
        server: this member, as it should be.
    """
    promised = erasure.promise([pool.erasure for pool in server.pools], server.parity, server.survives)
    name = f"object storage survives {server.survives} nodes"
    if not promised.passed or server.node == next(iter(server.members)):
        yield from changes.rule(name, passed=promised.passed, arithmetic=promised.arithmetic)
    if not promised.passed:
        return
    where = f"cannot use the drives of {server.node}"
    if sentence := malformed(server):
        yield from changes.refuse(f"{where} for MinIO: {sentence}")
        return
    found = host.get_fact(Drives, mounts=server.mounts)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"{where}: their state could not be read; see the error above")
        return
    if sentence := next(filter(None, (unusable(mount, one) for mount, one in found.items())), None):
        yield from changes.refuse(f"{where}: {sentence}")
        return
    if sentence := _displaced(server, found):
        yield from changes.refuse(f"{where}: {sentence}")
        return
    if not any(map(unsettled, found.values())):
        host.noop("every drive has its folder, and is where it belongs")
    yield from folders(found)


def unusable(mount: str, drive: DriveState) -> str | None:
    """Why MinIO cannot be given this drive, as a sentence; None if it can."""
    if drive["error"] is not None:
        return (
            f"{mount} does not answer ({drive['error']}); unmount it, replace the drive, make an XFS on it"
            f" (`mkfs.xfs`), mount it there, then apply again: MinIO puts back what was on it"
        )
    if drive["file_system"] is None:
        return (
            f"found no file system of its own at {mount}: it is a folder of another one; mount the drive there, in"
            " /etc/fstab too, then apply again"
        )
    if drive["file_system"] != "xfs":
        return (
            f"found {drive['file_system']} at {mount}; MinIO wants XFS: make one on an empty drive and mount it there"
        )
    if drive["folder"]["kind"] not in ("absent", "directory"):
        return f"found a {drive['folder']['kind']} at {folder_of(mount)}; move it away"
    if drive["format_damaged"]:
        return (
            f"{folder_of(mount)}/.minio.sys/format.json cannot be read as MinIO's; if the drive is to be filled anew,"
            f" move {folder_of(mount)} away, then apply again"
        )
    if drive["foreign_entries"]:
        return f"found {drive['foreign_entries']} entries in {folder_of(mount)} that are not MinIO's; move them away"
    return None


def unsettled(drive: DriveState) -> str | None:
    """What is wrong with MinIO's folder, as "mode owner" or "absent"; None if nothing is."""
    folder = drive["folder"]
    if not folder["exists"]:
        return "absent"
    is_now = f"{folder['mode']} {folder['user']}:{folder['group']}"
    return None if is_now == f"{MODE} {USER}:{USER}" else is_now


def folders(drives: Found) -> Iterator[StringCommand]:
    """Say which folders change, and make them so. Never in a mount point that lost its mount in the meantime."""
    wrong = {mount: said for mount, one in drives.items() if (said := unsettled(one)) is not None}
    for mount, said in wrong.items():
        changes.attribute(f"folder {folder_of(mount)}", None if said == "absent" else said, f"{MODE} {USER}:{USER}")
    for mount in wrong:
        install = f"install -d -m {MODE} -o {USER} -g {USER} -- {shlex.quote(folder_of(mount))}"
        yield StringCommand(f"mountpoint -q -- {shlex.quote(mount)} && {install}")


def _displaced(server: Server, found: Found) -> str | None:
    """Why a drive is another cluster's, or belongs elsewhere in this one, as a sentence; None if all are right."""
    ours = {mount: one["format"] for mount, one in found.items() if one["format"] is not None}
    if not ours:
        return None
    others = _others(server)
    clusters = Counter(one["cluster"] for one in [*ours.values(), *others.values()])
    for mount, taken in ours.items():
        if sentence := _of_another(taken, clusters) or _misplaced(server, mount, taken, others):
            return f"{mount} {sentence}"
    return None


def _of_another(taken: Format, clusters: Counter[str]) -> str | None:
    [(most, count), *_] = clusters.most_common(1)
    if taken["cluster"] == most or clusters[taken["cluster"]] == count:
        return None
    return (
        f"was formatted by the cluster {taken['cluster']}, {count} drives here are of {most}; put the right drive there,"
        " or, if nothing on it is needed, empty it, then apply again: MinIO heals it"
    )


def _misplaced(server: Server, mount: str, taken: Format, others: Mapping[str, Format]) -> str | None:
    pool = next(pool for pool in server.pools if server.node in pool.nodes and mount in pool.mounts)
    position = pool.endpoints.index((server.node, mount))
    known = [drive for one in taken["sets"] for drive in one]
    if len(known) != len(pool.endpoints) or len(taken["sets"][0]) != erasure.set_size(pool.erasure):
        declared = f"{len(pool.endpoints)} in sets of {erasure.set_size(pool.erasure)}"
        found = f"{len(known)} in sets of {len(taken['sets'][0])}"
        return f"belongs to a pool of {found} drives, declared are {declared}; a pool never changes: append one"
    if taken["drive"] not in known:
        return "is a drive that its own pool does not know; empty it, then apply again: MinIO heals it"
    if (place := known.index(taken["drive"])) != position:
        node, at = pool.endpoints[place]
        return f"is the drive of {node} {at}; put each drive where it was, then apply again"
    twin = next((name for name, one in others.items() if one["drive"] == taken["drive"]), None)
    return f"is a copy of the drive of {twin}; empty the copy, then apply again" if twin else None


def _others(server: Server) -> dict[str, Format]:
    """{"NODE/MOUNT": format} of all other members' drives that can be read: who is down is looked at when it is back."""
    found: dict[str, Format] = {}
    for one in inventory:
        if not one.data.get("node") or one.data.node.name == server.node or one.data.node.name not in server.members:
            continue
        mounts = [m for pool in server.pools if one.data.node.name in pool.nodes for m in pool.mounts]
        try:
            said = one.get_fact(Drives, mounts=mounts)
        except (PyinfraError, OSError):
            continue
        if not isinstance(said, Unknown):
            places = {posixpath.join(one.data.node.name, mount.lstrip("/")): mount for mount in mounts}
            found |= {place: taken for place, m in places.items() if m in said and (taken := said[m]["format"])}
    return found
