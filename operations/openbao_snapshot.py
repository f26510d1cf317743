"""Snapshots of OpenBao on a schedule: the timer runs on every server, and whichever leads then saves one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation

import unterbau
from facts.openbao import DATA_FOLDER, UNIT, USER
from facts.openbao_snapshot import FOLDER, SERVICE
from operations import service
from operations.config_file import Commands
from operations.openbao_config import HARDENING, HEADER
from unterbau import changes

PROGRAM = "/usr/local/lib/unterbau-openbao-snapshot.py"
# Its text goes to the servers as it is; nothing of it is imported here.
PROGRAM_TEXT = (Path(unterbau.__file__).parent / "connectors" / "vault_on_server.py").read_text()
TIMER = "openbao-snapshot.timer"
CREDENTIALS = f"/run/credentials/{UNIT}"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@operation()
def scheduled(endpoint: str, every_hours: int, kept: int) -> Commands:
    """A snapshot is saved in /var/lib/openbao/snapshots of the server that leads, and the newest ones are kept.

    Args:
        endpoint: this server's API, ADDRESS:PORT.
        every_hours: how often, 1 to 168; counted from midnight UTC, or from Monday's if a day is no multiple of it.
        kept: snapshots kept on each server.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]+", endpoint) or kept < 1 or not 1 <= every_hours <= len(DAYS) * 24:
        found = f"the API {endpoint!r}, every {every_hours} hours, {kept} kept"
        yield from changes.refuse(
            f"cannot schedule snapshots on {host.name}: found {found}; use ADDRESS:PORT, 1 to 168"
        )
        return
    files = {
        PROGRAM: HEADER + PROGRAM_TEXT,
        f"{service.UNIT_FOLDER}{SERVICE}": unit_text(endpoint, kept),
        f"{service.UNIT_FOLDER}{TIMER}": timer_text(every_hours),
    }
    yield from service.converge(TIMER, files)


def timer_text(every_hours: int) -> str:
    """The same moments on all servers: leadership may move between two of them without a gap."""
    lines = [
        "[Unit]",
        "Description=When to take a snapshot of OpenBao",
        "",
        "[Timer]",
        *(f"OnCalendar={moment}" for moment in moments(every_hours)),
        "AccuracySec=1min",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    ]
    return HEADER + "\n".join(lines)


def moments(every_hours: int) -> Iterator[str]:
    """In systemd's words, at most `every_hours` apart."""
    if 24 % every_hours == 0:
        yield f"*-*-* {_hours(range(0, 24, every_hours))}:00:00 UTC"
        return
    for number, day in enumerate(DAYS):
        if hours := [hour % 24 for hour in range(0, len(DAYS) * 24, every_hours) if hour // 24 == number]:
            yield f"{day} *-*-* {_hours(hours)}:00:00 UTC"


def _hours(hours: range | list[int]) -> str:
    return ",".join(f"{hour:02}" for hour in hours)


def unit_text(endpoint: str, kept: int) -> str:
    """The service. It gets copies of the seal keys that the server was started with, to name them by fingerprints."""
    return HEADER + "\n".join(
        [
            "[Unit]",
            "Description=Snapshot of OpenBao, if this server leads",
            f"After={UNIT}",
            f"ConditionPathIsDirectory={CREDENTIALS}",
            "",
            "[Service]",
            "Type=oneshot",
            f"User={USER}",
            f"Group={USER}",
            f"ExecStart=/usr/bin/python3 -I -B {PROGRAM} {endpoint} {kept}",
            f"LoadCredential=seal:{CREDENTIALS}",
            f"StateDirectory={FOLDER.removeprefix('/var/lib/')}",
            "StateDirectoryMode=0700",
            f"InaccessiblePaths=-/etc/openbao -{DATA_FOLDER}/raft -{DATA_FOLDER}/vault.db",
            "TimeoutStartSec=30min",
            "Nice=10",
            "IOSchedulingClass=idle",
            *HARDENING,
            "",
        ]
    )
