"""The keys that a node's SSH server shows."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api.facts import FactBase
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown

FOLDER = "/etc/ssh"
END = "end of host keys"


class HostKeys(FactBase[dict[str, str] | Unknown]):
    """{name of the private key's file: "type base64" of its public half}, as the files say; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, str] | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return (
            f"for key in {FOLDER}/ssh_host_*_key; do"
            ' [ -e "$key" ] || continue;'
            ' public=$(ssh-keygen -y -f "$key") || exit 1;'
            ' echo "${key##*/} $public";'
            f" done && echo {END!r}"
        )

    @override
    def process(self, output: Iterable[str]) -> dict[str, str] | Unknown:
        *lines, end = output
        if end != END:
            return UNKNOWN
        return {name: " ".join(key) for name, *key in (line.split()[:3] for line in lines)}
