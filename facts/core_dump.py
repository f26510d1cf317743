"""Core dumps: what systemd allows services by default, and the files that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown


class CoreDumps(TypedDict):
    """The limit that systemd gives services now (bytes or "infinity"), and the files asked for."""

    service_limit: str
    files: dict[str, FileState]


class State(FactBase[CoreDumps | Unknown]):
    """Limit and files `paths`."""

    @override
    @staticmethod
    def default() -> CoreDumps | Unknown:
        return UNKNOWN

    @override
    def command(self, paths: Sequence[str]) -> str:
        return f"systemctl show --property=DefaultLimitCORE && {reading(paths)}"

    @override
    def process(self, output: list[str]) -> CoreDumps | Unknown:
        name, _, limit = output[0].partition("=")
        if name != "DefaultLimitCORE":
            raise FactProcessError(f"cannot read the default limit of core dumps from {output[0]!r}")
        return {"service_limit": limit, "files": dict(map(parsed, output[1:]))}
