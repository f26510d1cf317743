"""Swap: what is in use, and everything that would bring it back at boot."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown

FOLDERS = (  # in systemd's order: what stands in an earlier one hides the same name in a later one
    "/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator",
    "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
)  # fmt: skip
SERVICES = ("zramswap.service", "dphys-swapfile.service")  # Debian's, which swap on without a .swap unit


class Swap(TypedDict):
    """`in_use` are device or file names; a container sees those of its host, so it has none of its own."""

    in_use: list[str]
    units: dict[str, str]  # {name: path of its file}; not those that are masked or made from fstab
    fstab: FileState


class State(FactBase[Swap | Unknown]):
    """All there is about swap, without asking systemd: reading six folders is quicker."""

    @override
    @staticmethod
    def default() -> Swap | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        names = " -o ".join(f"-name {name}" for name in ("'*.swap'", *SERVICES))
        return (
            f"set -e; {reading(['/etc/fstab'])}; "
            "[ -e /run/systemd/container ] || sed '1d; s/[[:space:]].*//; s/^/used\\t/' /proc/swaps; "
            f'set --; for d in {" ".join(FOLDERS)}; do [ ! -d "$d" ] || set -- "$@" "$d"; done; '
            f'found=$(find "$@" -maxdepth 1 \\( {names} \\)); echo "$found" | while read -r u && [ "$u" ]; do '
            'if [ "$(readlink -f "$u")" = /dev/null ]; then s=masked; '
            'elif grep -qx SourcePath=/etc/fstab "$u"; then s=fstab; else s=unit; fi; '
            'printf "%s\\t%s\\n" $s "$u"; done'
        )

    @override
    def process(self, output: list[str]) -> Swap | Unknown:
        in_use: list[str] = []
        units: dict[str, tuple[str, str]] = {}
        for line in output[1:]:
            kind, _, name = line.partition("\t")
            if kind not in ("used", "masked", "fstab", "unit"):
                raise FactProcessError(f"cannot read the state of swap from {line!r}")
            if kind == "used":
                in_use.append(name)
            else:
                units.setdefault(name.rpartition("/")[2], (kind, name))
        active = {unit: path for unit, (kind, path) in sorted(units.items()) if kind == "unit"}
        return {"in_use": sorted(in_use), "units": active, "fstab": parsed(output[0])[1]}
