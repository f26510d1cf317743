"""systemd units: whether they run, whether they start at boot, and what they read when they did."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown

PROPERTIES = ("ActiveState", "UnitFileState", "NeedDaemonReload")
STARTS = ("ExecMainStartTimestamp", "ActiveEnterTimestamp")  # a timer or a socket has only the second


class UnitState(TypedDict):
    """One unit, in systemd's words, and its configuration files."""

    active: str  # active, inactive, failed, activating, deactivating, reloading
    enabled: str  # enabled, disabled, static, masked, generated, …; "" if there is no unit file
    needs_daemon_reload: bool
    started_s: float | None  # start of the main process (or of the unit), seconds since 1970
    now_s: float  # the node's clock while this was read
    files: dict[str, FileState]


def _seconds(timestamp: str) -> float:
    """ "Fri 2025-11-21 21:17:03.123456 UTC" -> seconds since 1970."""
    return datetime.strptime(timestamp, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()


class State(FactBase[UnitState | Unknown]):
    """State of `unit` and of the files it is configured by."""

    @override
    @staticmethod
    def default() -> UnitState | Unknown:
        return UNKNOWN

    @override
    def command(self, unit: str, config_paths: Sequence[str] = ()) -> str:
        properties = ",".join(PROPERTIES + STARTS)
        show = f"date +now=%s.%N && systemctl show --timestamp=us+utc --property={properties} -- {shlex.quote(unit)}"
        return f"{show} && {reading(config_paths)}" if config_paths else show

    @override
    def process(self, output: list[str]) -> UnitState | Unknown:
        values = {name: value for name, _, value in (line.partition("=") for line in output if line[:1] != "/")}
        try:
            started = next((_seconds(values[name]) for name in STARTS if values.get(name)), None)
            active, enabled, needs_reload = (values[name] for name in PROPERTIES)
            now = float(values["now"])
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read what systemctl show said: {error}; found {values}") from error
        return {
            "active": active,
            "enabled": enabled,
            "needs_daemon_reload": needs_reload == "yes",
            "started_s": started,
            "now_s": now,
            "files": dict(parsed(line) for line in output if line.startswith("/")),
        }
