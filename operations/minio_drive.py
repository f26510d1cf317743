"""Drives for object storage: each a file system of its own, and in the place that MinIO knows it in."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

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
    found = _drives(ctx_host.get(), server.mounts)
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


_read: WeakKeyDictionary[Host, Found | Unknown] = WeakKeyDictionary()


def _drives(one: Host, mounts: Sequence[str]) -> Found | Unknown:
    """Every member looks at the drives of all: asked once while the plan is made, anew when it is carried out."""
    if getattr(one.state, "is_executing", False):
        return one.get_fact(Drives, mounts=list(mounts))
    if one not in _read:
        _read[one] = one.get_fact(Drives, mounts=list(mounts))
    return _read[one]


def unusable(mount: str, drive: DriveState) -> str | None:
    """Why MinIO cannot be given this drive, as a sentence; None if it can."""
    folder, kind = folder_of(mount), drive["folder"]["kind"]
    wrong = (
        (drive["error"] is not None, f"{mount} does not answer ({drive['error']}); {_REPLACE}"),
        (drive["file_system"] is None, f"found no file system of its own at {mount}, a folder of another; {_MOUNT}"),
        (drive["file_system"] != "xfs", f"found {drive['file_system']} at {mount}, MinIO wants XFS; {_REPLACE}"),
        (kind not in ("absent", "directory"), f"found a {kind} at {folder}; move it away"),
        (drive["format_damaged"], f"{folder}/.minio.sys/format.json is not what MinIO writes; {_EMPTY}"),
        (drive["foreign_entries"] > 0, f"found {drive['foreign_entries']} entries not MinIO's in {folder}; move them"),
    )
    return next((sentence for is_so, sentence in wrong if is_so), None)


_MOUNT = "mount the drive there, in /etc/fstab too, then apply again"
_REPLACE = (
    "unmount it, replace the drive, make an XFS on it (`mkfs.xfs`), mount it there, then apply again: MinIO puts back"
    " what belongs on it"
)
_EMPTY = "if it is to be filled anew, move MinIO's folder away, then apply again: MinIO heals it"


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
        if sentence := _of_another(taken, clusters) or _misplaced(server, mount, taken):
            return f"{mount} {sentence}"
    return None


def _of_another(taken: Format, clusters: Counter[str]) -> str | None:
    others = [(other, count) for other, count in clusters.most_common() if other != taken["cluster"]]
    if not others or clusters[taken["cluster"]] > others[0][1]:
        return None
    most, count = others[0]
    return (
        f"was formatted by the cluster {taken['cluster']}, {count} drives here are of {most}; put the right drive"
        f" there; {_EMPTY}"
    )


def _misplaced(server: Server, mount: str, taken: Format) -> str | None:
    pool = next(pool for pool in server.pools if server.node in pool.nodes and mount in pool.mounts)
    position = pool.endpoints.index((server.node, mount))
    known = [drive for one in taken["sets"] for drive in one]
    if len(known) != len(pool.endpoints) or len(taken["sets"][0]) != erasure.set_size(pool.erasure):
        declared = f"{len(pool.endpoints)} in sets of {erasure.set_size(pool.erasure)}"
        found = f"{len(known)} drives in sets of {len(taken['sets'][0])}"
        return f"belongs to a pool of {found}, declared are {declared}; a pool never changes: append one"
    if taken["drive"] not in known:
        return f"is a drive that its own pool does not know; {_EMPTY}"
    if (place := known.index(taken["drive"])) == position:
        return None
    node, at = pool.endpoints[place]
    return f"is the drive of {node} {at}; put each drive where it was, then apply again"


def _others(server: Server) -> dict[str, Format]:
    """{"NODE MOUNT": format} of the other members' drives, of those in this run: nobody is called up for it."""
    found: dict[str, Format] = {}
    for one in host.state.inventory:
        name = one.data.node.name if one.data.get("node") else None
        if name == server.node or name not in server.members or not one.connected:
            continue
        said = _drives(one, [m for pool in server.pools if name in pool.nodes for m in pool.mounts])
        if not isinstance(said, Unknown):
            found |= {f"{name} {mount}": drive["format"] for mount, drive in said.items() if drive["format"]}
    return found
