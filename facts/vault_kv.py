"""KV entries of a Vault cluster: versions and what stands beside them, never their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import answer
from facts.vault import each
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class EntryState(TypedDict):
    """One entry of a KV engine, version 2."""

    version: int  # 0: no data were ever written
    gone: bool  # the current version was deleted or destroyed
    custom: dict[str, str]  # custom metadata


Entries = dict[str, EntryState]


class Metadata(FactBase[Entries | Unknown | AfterApply]):
    """{path: state} of these entries of a mount, or of all; those that are not there are left out."""

    @override
    @staticmethod
    def default() -> Entries | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, mount: str, names: Sequence[str] | None = None) -> str:
        path = f"{mount}/metadata"
        return f"WALK {path}" if names is None else each(path, names)

    @override
    def process(self, output: list[str]) -> Entries | Unknown | AfterApply:
        return answer(output, lambda value: {path: _entry(entry) for path, entry in value.items()})


def _entry(value: dict[str, Any]) -> EntryState:
    current = value["versions"].get(str(value["current_version"]), {})
    return {
        "version": value["current_version"],
        "gone": bool(current.get("deletion_time") or current.get("destroyed")),
        "custom": dict(value["custom_metadata"] or {}),
    }
