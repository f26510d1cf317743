"""Debian packages: the declared ones, and whatever dpkg has left half done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown


class Packages(TypedDict):
    """What dpkg's database says, in its words. Source: dpkg-query(1), package states."""

    versions: dict[str, str]  # of those asked for that are installed
    broken: dict[str, str]  # {any package: half-installed, unpacked, half-configured, triggers-pending, …}
    interrupted: bool  # dpkg was killed while it wrote its database


class Installed(FactBase[Packages | Unknown]):
    """Which of `names` are installed, in one reading of dpkg's database."""

    @override
    @staticmethod
    def default() -> Packages | Unknown:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str]) -> str:
        wanted = shlex.quote(" " + " ".join(names) + " ")
        return (
            # not straight into pipes: there, a failure would look like a node without packages
            "journal=$(ls /var/lib/dpkg/updates) && "
            "rows=$(dpkg-query -W -f '${db:Status-Status}\\t${Package}\\t${Version}\\n') || exit 1; "
            "if echo \"$journal\" | grep -q '^[0-9]'; then echo interrupted; else echo whole; fi; "
            'echo "$rows" | '
            f"""awk -F '\\t' -v names={wanted} '$1 != "installed" && $1 != "config-files" && $1 != "not-installed" """
            """|| $1 == "installed" && index(names, " " $2 " ")'"""
        )

    @override
    def process(self, output: list[str]) -> Packages | Unknown:
        rows = [line.split("\t") for line in output[1:]]
        if output[0] not in ("interrupted", "whole") or any(len(row) != 3 for row in rows):
            raise FactProcessError(f"cannot read dpkg's database: found {output[:3]}")
        return {
            "versions": {name: version for status, name, version in rows if status == "installed"},
            "broken": {name: status for status, name, _ in rows if status != "installed"},
            "interrupted": output[0] == "interrupted",
        }
