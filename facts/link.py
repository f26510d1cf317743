"""Symbolic links: where each leads."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown


class LinkState(TypedDict):
    """What is at a path: `kind` is absent, link or other; `target` only of a link, as it was written."""

    kind: str
    target: str | None


class States(FactBase[dict[str, LinkState] | Unknown]):
    """{path: what is there} of `paths`, and of the links in `folders` whose name ends in `suffix`."""

    @override
    @staticmethod
    def default() -> dict[str, LinkState] | Unknown:
        return UNKNOWN

    @override
    def command(self, paths: Sequence[str], folder: str = "", suffix: str = "") -> str:
        names = " ".join(map(shlex.quote, paths))
        others = f" {shlex.quote(folder)}/*{shlex.quote(suffix)}" if folder else ""
        return (
            f"for f in {names}{others}; do "
            'if [ -L "$f" ]; then target=$(readlink -- "$f") || exit 1; printf \'%s\\tlink\\t%s\\n\' "$f" "$target"; '
            'elif [ -e "$f" ]; then printf \'%s\\tother\\t\\n\' "$f"; '
            "else printf '%s\\tabsent\\t\\n' \"$f\"; fi; done"
        )

    @override
    def process(self, output: list[str]) -> dict[str, LinkState] | Unknown:
        try:
            rows = [line.split("\t", 2) for line in output]
            return {path: {"kind": kind, "target": target or None} for path, kind, target in rows}
        except ValueError as error:
            raise FactProcessError(f"cannot read where links lead: {error}; found {output[:3]}") from error
