"""The bootstrap store: which secrets it has, and how old they are. Never a value."""

from __future__ import annotations

import json

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown
from unterbau.secrets.keyring import Metadata


class Versions(FactBase[dict[str, Metadata] | Unknown]):
    """{name: {version, made_at (UTC, text), made_by, overdue_days (None: not due)}}; {} for an empty store."""

    @override
    @staticmethod
    def default() -> dict[str, Metadata] | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "LIST"

    @override
    def process(self, output: list[str]) -> dict[str, Metadata] | Unknown:
        try:
            found = json.loads("\n".join(output))
            return {name: _metadata(one) for name, one in found.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FactProcessError(f"cannot read the versions of the store: {type(error).__name__} {error}") from error


def _metadata(one: Metadata) -> Metadata:
    return {
        "version": one["version"], "made_at": one["made_at"], "made_by": one["made_by"],
        "overdue_days": one["overdue_days"],
    }  # fmt: skip
