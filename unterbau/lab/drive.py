"""A machine's drives: files of a fixed size, each with a file system of its own, mounted before it boots.

The files are sparse: a drive takes on the host what was written to it. What lives on an overlay elsewhere in a machine
cannot live on one here: containers (an overlay on an overlay), what the kubelet measures, and etcd's log.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab.command import run
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Machine


@dataclass(frozen=True)
class Drive:
    """One drive; a machine sees it as /mnt/NAME, or as the folder it is for."""

    name: str
    filesystem: str
    size_mib: int
    folder: str = ""

    @property
    def path(self) -> str:
        """Where a machine has it."""
        return self.folder or f"/mnt/{self.name}"

    def image(self, machine: Machine) -> Path:
        """The file behind it."""
        return machine.directory / f"{self.name}.img"


OBJECTS = Drive("drive-1", "xfs", 2048)
# Two, on file systems of their own: an audit device that cannot write must not take the other one with it. ext4,
# because XFS begins at 300 MiB.
DRIVES = (
    OBJECTS,
    Drive("audit-1", "ext4", 64),
    Drive("audit-2", "ext4", 64),
    Drive("rancher", "ext4", 4096, "/var/lib/rancher"),  # etcd, images and containers
    Drive("kubelet", "ext4", 1024, "/var/lib/kubelet"),  # pods' volumes and logs
)
# No reserve: full is full, for root too. A new file reads as zeros: nothing needs to be written over, now or later.
_FORMAT = {
    "xfs": ("mkfs.xfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-m", "0", "-E", "assume_storage_prezeroed=1,lazy_journal_init=1"),
}


def make(machine: Machine) -> None:
    """Make the drives that are not there; those that are keep what is on them."""
    for drive in DRIVES:
        image = drive.image(machine)
        (machine.directory / drive.name).mkdir(exist_ok=True)
        if image.exists():
            continue
        part = image.with_suffix(".part")
        with part.open("wb") as file:
            file.truncate(drive.size_mib * 2**20)
        run(*_FORMAT[drive.filesystem], str(part))
        part.replace(image)


def mounts() -> str:
    """One line a drive, `FILESYSTEM NAME`: NAME.img is mounted on the folder NAME before the machine boots."""
    return "\n".join(f"{drive.filesystem} {drive.name}" for drive in DRIVES)


def await_release(machine: Machine, timeout_s: float = 60) -> None:
    """Wait until the kernel has let go of the drives, a moment after the last process: until then none mounts again."""
    deadline = time.monotonic() + timeout_s
    while held := _loop_devices(machine):
        if time.monotonic() > deadline:
            raise LabError(f"cannot release the drives of {machine.name}: still on {held}; see `losetup -a`")
        time.sleep(0.01)


def _loop_devices(machine: Machine) -> list[str]:
    images, found = {str(drive.image(machine)) for drive in DRIVES}, []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # released meanwhile
            if file.read_text().strip() in images:
                found.append(file.parts[3])
    return found
