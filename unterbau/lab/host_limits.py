"""Limits of this host that five booted Debians exceed: raised while a lab is up, put back when the last one goes.

Machines have the host's root user, so what the kernel counts per user it counts for all machines together: a booted
machine holds 6 to 10 inotify instances, a Kubernetes node about 60, and Debian allows 128.
"""

from __future__ import annotations

import json
from pathlib import Path

from unterbau.lab.layout import Lab

WANTED = {"fs/inotify/max_user_instances": 4096, "fs/inotify/max_user_watches": 1048576}
_SYSCTL = Path("/proc/sys")
_RECORD = "host-limits.json"


def too_low(current: dict[str, int]) -> dict[str, int]:
    """Those of the current limits that a lab needs raised."""
    return {name: value for name, value in current.items() if value < WANTED[name]}


def enough() -> bool:
    """Whether the host allows what a lab needs."""
    return not too_low(_current())


def lift(lab: Lab) -> bool:
    """Raise what is too low, and remember what it was; whether anything was."""
    low = too_low(_current())
    if not low:
        return False
    # Written first: if this run ends here, `down` puts back what may not even have been changed.
    record = lab.cache / _RECORD
    record.write_text(json.dumps({**low, **_recorded(record)}))
    for name in low:
        (_SYSCTL / name).write_text(str(WANTED[name]))
    return True


def put_back(lab: Lab) -> None:
    """Put back what was raised."""
    record = lab.cache / _RECORD
    for name, value in _recorded(record).items():
        if name in WANTED and (_SYSCTL / name).read_text().strip() == str(WANTED[name]):
            (_SYSCTL / name).write_text(str(value))
    record.unlink(missing_ok=True)


def _current() -> dict[str, int]:
    return {name: int((_SYSCTL / name).read_text()) for name in WANTED}


def _recorded(record: Path) -> dict[str, int]:
    try:
        recorded: dict[str, int] = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return recorded
