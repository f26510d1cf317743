"""A node's name: the one in use, the one for the next boot, and the names it knows of others."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown


class Names(TypedDict):
    """The kernel's host name, /etc/hostname and /etc/hosts."""

    running: str
    files: dict[str, FileState]


class State(FactBase[Names | Unknown]):
    """The node's names."""

    @override
    @staticmethod
    def default() -> Names | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return f"cat /proc/sys/kernel/hostname && {reading(['/etc/hostname', '/etc/hosts'])}"

    @override
    def process(self, output: list[str]) -> Names | Unknown:
        return {"running": output[0], "files": dict(map(parsed, output[1:]))}
