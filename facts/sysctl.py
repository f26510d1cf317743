"""Kernel parameters: the running values, and the file they are set from at boot."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown


class Parameters(TypedDict):
    """Running values by key, white space in them made single blanks; None: this kernel has no such key."""

    values: dict[str, str | None]
    file: FileState


def proc_path(key: str) -> str:
    """net.ipv4.ip_forward -> /proc/sys/net/ipv4/ip_forward; a/b.c keeps its dot. Source: sysctl.d(5)."""
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return f"/proc/sys/{key}"
    return "/proc/sys/" + key.translate(str.maketrans("./", "/."))


def dotted(key: str) -> str:
    """The way sysctl prints a key: net/ipv4/conf/eth0.1/rp_filter -> net.ipv4.conf.eth0/1.rp_filter."""
    return proc_path(key).removeprefix("/proc/sys/").translate(str.maketrans("./", "/."))


class Values(FactBase[Parameters | Unknown]):
    """Running values of `keys`, by their dotted names, and the file `path`.

    One process reads all keys, each in one piece: to those who read by bytes the kernel gives only a number's first.
    """

    @override
    @staticmethod
    def default() -> Parameters | Unknown:
        return UNKNOWN

    @override
    def command(self, keys: Sequence[str], path: str) -> str:
        paths = " ".join(shlex.quote(proc_path(key)) for key in keys)
        return (
            f"set -e; {reading([path])}; set --; for f in {paths}; do "
            'if [ -e "$f" ]; then set -- "$@" "$f"; else printf "absent\\t%s\\n" "$f"; fi; done; '
            """[ $# -eq 0 ] || awk 'FNR == 1 { print "is\\t" FILENAME "\\t" $0 }' "$@\""""
        )

    @override
    def process(self, output: list[str]) -> Parameters | Unknown:
        values: dict[str, str | None] = {}
        for line in output[1:]:
            found, _, rest = line.partition("\t")
            path, _, value = rest.partition("\t")
            if found not in ("is", "absent"):
                raise FactProcessError(f"cannot read a kernel parameter from {line!r}")
            values[dotted(path.removeprefix("/proc/sys/"))] = " ".join(value.split()) if found == "is" else None
        return {"values": values, "file": parsed(output[0])[1]}
