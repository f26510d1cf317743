"""Operations of `@s3` on a real server: facts are read and commands are run as pyinfra does it, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.context import ctx_host

from tests.unit.s3_server import Endpoint
from unterbau.changes import Record, recording


@dataclass
class Host:
    """What facts and operations ask of pyinfra's host."""

    endpoint: Endpoint
    name: str = "storage"

    def get_fact(self, wanted: type[FactBase[Any]], /, **arguments: Any) -> Any:
        fact = wanted()
        done, said = self.endpoint.ran(str(fact.command(**arguments)))
        try:
            return fact.process([said]) if done else fact.default()
        except FactProcessError:
            return fact.default()

    def noop(self, said: str) -> None:
        """An operation says why it does nothing."""


@dataclass
class Ran:
    """What an operation said and did."""

    said: Record
    commands: list[str] = field(default_factory=list)  # masked
    error: str = ""  # of the first command that failed

    @property
    def refused(self) -> str:
        """Why nothing was done."""
        return "; ".join([*self.said.refusals, *(rule.arithmetic for rule in self.said.rules if not rule.passed)])


def ran(
    endpoint: Endpoint, operation: Callable[..., Any], *arguments: Any, until: int | None = None, **more: Any
) -> Ran:
    """Run it; with `until`, as if it were killed after so many commands. A refused one does nothing."""
    with ctx_host.use(Host(endpoint)), recording() as record:
        commands = list(operation._inner(*arguments, **more))  # type: ignore[attr-defined]
        one = Ran(record)
        for command in commands[:until] if not one.refused else ():
            assert isinstance(command, StringCommand)
            one.commands.append(str(command))
            done, said = endpoint.ran(command)
            if not done:
                one.error = said
                break
    return one
