"""What says that a machine needs a reboot: Debian's own mark, and kernels that came after it was booted."""

from __future__ import annotations

import uuid
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown

BOOT_ID = "/proc/sys/kernel/random/boot_id"
REQUIRED = "/run/reboot-required"  # made by packages, gone with the boot. Source: unattended-upgrades, README
PACKAGES = f"{REQUIRED}.pkgs"
IMAGE = "vmlinuz-"


class BootState(TypedDict):
    """This boot of a machine, and what another one would bring. Times are epochs."""

    boot_id: str
    booted_s: float
    running: str  # the kernel's release, "6.1.0-28-amd64"
    required_s: float | None  # since when a package asks for a reboot; None if none does
    packages: list[str]  # which; [] if none said its name
    kernels: dict[str, float]  # {release: when it came} of those installed; {} where the kernel is somebody else's


class State(FactBase[BootState | Unknown]):
    """Both, in one command."""

    @override
    @staticmethod
    def default() -> BootState | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "; ".join(
            (
                f"set -e; printf 'boot\\t%s\\n' \"$(cat {BOOT_ID})\"",
                'awk \'$1 == "btime" { print "booted\\t" $2 }\' /proc/stat',
                "printf 'running\\t%s\\n' \"$(uname -r)\"",
                f"! test -e {REQUIRED} || find {REQUIRED} -maxdepth 0 -printf 'required\\t%T@\\n'",
                f"! test -e {PACKAGES} || sed 's/^/package\\t/' {PACKAGES}",
                f"! test -d /boot || find /boot -maxdepth 1 -name '{IMAGE}*' -type f -printf 'kernel\\t%C@\\t%f\\n'",
            )
        )

    @override
    def process(self, output: list[str]) -> BootState | Unknown:
        rows = [line.split("\t") for line in output]
        try:
            said = {row[0]: row[1] for row in rows if row[0] in ("boot", "booted", "running", "required")}
            return {
                "boot_id": str(uuid.UUID(said["boot"])),
                "booted_s": float(said["booted"]),
                "running": said["running"],
                "required_s": float(said["required"]) if "required" in said else None,
                "packages": [row[1] for row in rows if row[0] == "package" and row[1]],
                "kernels": {row[2].removeprefix(IMAGE): float(row[1]) for row in rows if row[0] == "kernel"},
            }
        except (KeyError, ValueError, IndexError) as error:
            raise FactProcessError(f"cannot read whether a reboot is needed: {error!r} in {output[:6]}") from error
