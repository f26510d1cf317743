"""`@store/<name>`: the bootstrap store as a host. A command is `LIST`, or `COMMIT name=version …`.

No value ever crosses: COMMIT names candidates of this process (`secrets/keyring.py`), LIST answers metadata as JSON.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.output import echo
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from typing_extensions import override

from unterbau.secrets.declared import declared_in
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.store import StoreError


class StoreConnector(BaseConnector):
    """See the module. Nothing is opened at connect: a store that cannot be read fails this host's fact, with why."""

    handles_execution = True

    @override
    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    @override
    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        text = command.get_raw_value() if isinstance(command, StringCommand) else str(command)
        logger.debug("--> Running command on the store: %s", command)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {command}", err=True)
        try:
            succeeded, line = True, OutputLine("stdout", self._answer(text))
        except StoreError as error:
            succeeded, line = False, OutputLine("stderr", str(error))
        if print_output:
            echo(f"{self.host.print_prefix}{line.line}", err=True)
        return succeeded, CommandOutput([line])

    @override
    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        raise OSError(f"cannot put a file on {self.host.name}: a store takes LIST and COMMIT only")

    @override
    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        raise OSError(f"cannot get a file from {self.host.name}: a store takes LIST and COMMIT only")

    def _answer(self, text: str) -> str:
        try:
            verb, *arguments = shlex.split(text)
            match verb, arguments:
                case "LIST", []:
                    return json.dumps(self._keyring().metadata())
                case "COMMIT", [_, *_]:
                    numbers = dict(_name_and_number(argument) for argument in arguments)
                    self._keyring().commit(numbers)
                    return json.dumps({"stored": numbers})
        except ValueError:
            pass
        raise StoreError(
            f"cannot run {text[:200]!r}: a store takes `LIST` and `COMMIT name=version …`; see connectors/store"
        )

    def _keyring(self) -> Keyring:
        store = self.host.data.get("store")
        if store is None:
            raise StoreError(
                f"cannot open {self.host.name}: it has no data `store`; declare it with endpoints(SecretStore(…))"
            )
        return Keyring.of(store, declared_in(self.state.inventory), rotate=True)


def _name_and_number(argument: str) -> tuple[str, int]:
    name, _, number = argument.rpartition("=")
    return name, int(number)
