"""What the connectors of endpoints have in common: their "shell" is an API, files they have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from pyinfra.connectors.base import BaseConnector
from typing_extensions import override


class EndpointConnector(BaseConnector):
    """A host that is no machine. It connects lazily: on a first run what it stands for may not exist yet."""

    handles_execution = True

    @override
    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    @override
    def put_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(f"cannot put a file on {self.host.name}: it is an API, not a machine")

    @override
    def get_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError(f"cannot get a file from {self.host.name}: it is an API, not a machine")
