"""Whether a machine has to be rebooted, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def version_and_flavour(kernel: str) -> tuple[tuple[int, ...], str]:
    """The numbers of a kernel's release, and its kind: "6.1.0-28-cloud-amd64" -> ((6, 1, 0, 28), "cloud-amd64").

    Source: Debian Linux kernel handbook, package names; `uname -r`.
    """
    parts = kernel.split("-")
    numbered = next((place for place, part in enumerate(parts) if not part[:1].isdigit()), len(parts))
    numbers = re.findall(r"[0-9]+", "-".join(parts[:numbered]))
    return tuple(map(int, numbers)), "-".join(parts[numbered:])


def newer_kernel(running: str, installed: Mapping[str, float], booted_s: float) -> str | None:
    """The newest of `installed` {release: when it came, epoch} that a reboot would bring; None if none would.

    One that was there already at the last boot is not what this machine boots, however new it is, and neither is
    one of another flavour: a reboot for either would be the first of many.
    """
    version, flavour = version_and_flavour(running)
    found = [
        kernel
        for kernel, came_s in installed.items()
        if came_s > booted_s and version_and_flavour(kernel)[1] == flavour and version_and_flavour(kernel)[0] > version
    ]
    return max(found, key=version_and_flavour, default=None)


def asked_by(packages: Sequence[str]) -> str:
    """Who asked for it, in words."""
    names = list(dict.fromkeys(packages))
    return f"/run/reboot-required is there ({', '.join(names)})" if names else "/run/reboot-required is there"
