"""Kernel modules: loaded, built in or neither, and the file they are loaded from at boot."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown


class ModuleStates(TypedDict):
    """{name: "loaded" | "builtin" | "absent"}, and the file."""

    modules: dict[str, str]
    file: FileState


class States(FactBase[ModuleStates | Unknown]):
    """State of each of `names`, and of the file `path`. In names - and _ are the same, as for modprobe."""

    @override
    @staticmethod
    def default() -> ModuleStates | Unknown:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str], path: str) -> str:
        pairs = " ".join(f"{shlex.quote(name)} {shlex.quote(name.replace('-', '_'))}" for name in names)
        return (
            f"set -e; {reading([path])}; builtin=/lib/modules/$(uname -r)/modules.builtin; set -- {pairs}; "
            'while [ $# -gt 0 ]; do printf "%s\\t" "$1"; '
            'if [ -e "/sys/module/$2/initstate" ]; then echo loaded; '  # only what was loaded has a state
            'elif [ -d "/sys/module/$2" ] || { [ -r "$builtin" ] && sed "s,.*/,,; s,\\.ko.*,,; y,-,_," "$builtin" '
            '| grep -qxF -e "$2"; }; then echo builtin; else echo absent; fi; shift 2; done'
        )

    @override
    def process(self, output: list[str]) -> ModuleStates | Unknown:
        modules = dict(line.split("\t", 1) for line in output[1:] if "\t" in line)
        if len(modules) != len(output) - 1 or not set(modules.values()) <= {"loaded", "builtin", "absent"}:
            raise FactProcessError(f"cannot read the state of kernel modules from {output[1:]}")
        return {"modules": modules, "file": parsed(output[0])[1]}
