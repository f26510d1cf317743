"""Drives of an object storage server: what is mounted, what MinIO has written on it, whether it is being healed."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import ABSENT, FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown

FOLDER = "minio"  # on each drive; the rest of its file system is nobody's


class Format(TypedDict):
    """What MinIO wrote on a drive when it took it: whose it is, and where in it."""

    cluster: str  # the deployment's id, the same on every drive of a cluster
    drive: str  # this drive's id
    sets: list[list[str]]  # the ids of all drives of its pool, set by set


class DriveState(TypedDict):
    """One drive. Sizes are None where nothing is mounted."""

    file_system: str | None  # None if nothing is mounted there: it is a folder of another file system
    size_bytes: int | None
    used_bytes: int | None
    error: str | None  # why it could not be listed: "Input/output error"
    folder: FileState  # MinIO's, without content
    foreign_entries: int  # in a folder without .minio.sys
    format: Format | None  # None if MinIO has not taken it yet
    format_damaged: bool
    healing: bool  # MinIO is putting back what belongs on it
    healed_items: int | None  # so far, or in its last healing; None if it was never healed


def folder_of(mount: str) -> str:
    """MinIO's folder on the drive that is mounted there."""
    return f"{mount}/{FOLDER}"


# The tracker is MessagePack and stays after the healing, with Finished set. Source: MinIO,
# cmd/background-newdisks-heal-ops.go. `file` and `folder` are the shell's variables.
_READ = r"""
printf 'drive\t%s\t%s\n' "$mount" "$(findmnt -rno FSTYPE --mountpoint "$mount" | tail -n 1)"
printf 'room\t%s\t%s\n' "$mount" "$(df -B1 --output=size,used -- "$mount" 2>/dev/null | tail -n 1)"
if said=$(LC_ALL=C ls -- "$mount" 2>&1 >/dev/null); then :; else printf 'error\t%s\t%s\n' "$mount" "${said##*: }"; fi
if [ -d "$folder" ]; then
[ -e "$folder/.minio.sys" ] || printf 'entries\t%s\t%s\n' "$mount" "$(find "$folder" -mindepth 1 -maxdepth 1 | wc -l)"
if [ -e "$folder/.minio.sys/format.json" ]; then
printf 'format\t%s\t%s\n' "$mount" "$(base64 -w0 < "$folder/.minio.sys/format.json")"; fi
tracker=$folder/.minio.sys/buckets/.healing.bin
if [ -e "$tracker" ]; then printf 'tracker\t%s\t%s\n' "$mount" "$(base64 -w0 < "$tracker")"; fi
fi
"""


def reading_drives(mounts: Iterable[str]) -> str:
    """Shell text that prints tab-separated rows of each drive, and a line of `config_file.reading` of its folder."""
    texts = []
    for mount in mounts:
        folder = folder_of(mount)
        texts.append(
            f"mount={shlex.quote(mount)}; folder={shlex.quote(folder)}{_READ}{reading([folder], content=False)}"
        )
    return "\n".join(texts)


def drives_of(output: Sequence[str]) -> dict[str, DriveState]:
    """What `reading_drives` printed, by mount point."""
    rows: dict[str, dict[str, str]] = {}
    for line in output:
        kind, _, rest = line.partition("\t")
        if kind in ("drive", "room", "error", "entries", "format", "tracker"):
            mount, _, value = rest.partition("\t")
            rows.setdefault(mount, {})[kind] = value
    files = dict(parsed(line) for line in output if line.startswith("/"))
    return {mount: _drive(found, files.get(folder_of(mount), ABSENT)) for mount, found in rows.items()}


def _drive(found: dict[str, str], folder: FileState) -> DriveState:
    try:
        size, used = (int(number) for number in found["room"].split()) if found["room"].strip() else (None, None)
        tracker = base64.b64decode(found["tracker"], validate=True) if "tracker" in found else None
        written = base64.b64decode(found["format"], validate=True) if "format" in found else None
    except (KeyError, ValueError) as error:
        raise FactProcessError(f"cannot read the state of a drive: {error!r}") from error
    system = found.get("drive") or None
    taken = None if written is None else _format(written)
    return {
        "file_system": system,
        "size_bytes": size if system else None,
        "used_bytes": used if system else None,
        "error": found.get("error"),
        "folder": folder,
        "foreign_entries": int(found.get("entries", "0")),
        "format": taken,
        "format_damaged": written is not None and taken is None,
        "healing": tracker is not None and b"Finished\xc3" not in tracker,
        "healed_items": None if tracker is None else _count(tracker, b"ItemsHealed"),
    }


def _format(text: bytes) -> Format | None:
    try:
        said: Any = json.loads(text)
        return {"cluster": str(said["id"]), "drive": str(said["xl"]["this"]), "sets": said["xl"]["sets"]}
    except (ValueError, KeyError, TypeError):
        return None


_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}  # MessagePack: how many bytes follow


def _count(tracker: bytes, name: bytes) -> int | None:
    """The number that follows a name of the tracker."""
    _, found, rest = tracker.partition(name)
    if not found or not rest:
        return None
    if rest[0] < 0x80:  # in the byte itself
        return rest[0]
    size = _UNSIGNED.get(rest[0], 0)
    return int.from_bytes(rest[1 : 1 + size], "big") if size else None


class Drives(FactBase[dict[str, DriveState] | Unknown]):
    """{mount point: state} of the drives that are mounted at `mounts`."""

    @override
    @staticmethod
    def default() -> dict[str, DriveState] | Unknown:
        return UNKNOWN

    @override
    def command(self, mounts: Sequence[str]) -> str:
        return reading_drives(mounts)

    @override
    def process(self, output: list[str]) -> dict[str, DriveState] | Unknown:
        return drives_of(output)
