"""Services of the platform that keep data on a node."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api.facts import FactBase
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown

UNITS = ("minio.service", "openbao.service", "postgresql@*.service")
END = "end of services"


class Residents(FactBase[list[str] | Unknown]):
    """Names of the units that run here, or would after a boot, and keep data; [] if there are none."""

    @override
    @staticmethod
    def default() -> list[str] | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        units = " ".join(f"'{unit}'" for unit in UNITS)
        return (
            f"systemctl list-unit-files --no-legend --no-pager --state=enabled,enabled-runtime {units};"
            f" running=$(systemctl list-units --no-legend --no-pager --plain --state=active,activating,failed {units})"
            f" && printf '%s\\n' \"$running\" && echo '{END}'"
        )

    @override
    def process(self, output: Iterable[str]) -> list[str] | Unknown:
        *lines, end = [line for line in output if line.strip()]
        return sorted({line.split()[0] for line in lines}) if end == END else UNKNOWN
