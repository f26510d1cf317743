"""One operation on an S3 endpoint, planned and carried out by pyinfra itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyinfra
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from tests.unit.s3_server import Endpoint, Server
from unterbau.changes import AttributeChange, Record, RuleAsked, TextChange, recording
from unterbau.connectors.s3 import S3Connector
from unterbau.declaration.storage import S3Endpoint


@dataclass
class Ran:
    """What a plan said, and whether carrying it out succeeded."""

    record: Record
    commands: list[str]
    done: bool = False

    @property
    def changes(self) -> dict[str, str]:
        """{subject: "old -> new", or its diff}."""
        return {one.subject: _said(one) for one in self.record.changes}

    @property
    def refusals(self) -> list[str]:
        return self.record.refusals

    @property
    def rules(self) -> list[RuleAsked]:
        return self.record.rules

    @property
    def nothing(self) -> bool:
        return not (self.commands or self.record.changes or self.record.refusals)


def _said(change: AttributeChange | TextChange) -> str:
    return change.diff if isinstance(change, TextChange) else f"{change.old} -> {change.new}"


class Runs:
    """Runs against one server, each a state of its own, over one connection: making a client costs more than a run."""

    def __init__(self, server: Server, endpoint: Endpoint, monkeypatch: Any) -> None:
        self._server = server
        monkeypatch.setattr(pyinfra, "is_cli", False)
        monkeypatch.setattr(S3Connector, "_commands", endpoint.connector.commands)
        monkeypatch.setattr(S3Connector, "disconnect", lambda _self: None)

    def planned(self, operation: Callable[..., Any], **arguments: Any) -> Ran:
        return self._run(operation, arguments, carry_out=False)

    def applied(self, operation: Callable[..., Any], **arguments: Any) -> Ran:
        return self._run(operation, arguments, carry_out=True)

    def fact(self, fact: Any, **arguments: Any) -> Any:
        state = self._state()
        try:
            host = next(iter(state.inventory))
            with ctx_state.use(state), ctx_host.use(host):
                return host.get_fact(fact, **arguments)
        finally:
            disconnect_all(state)

    def _run(self, operation: Callable[..., Any], arguments: dict[str, Any], *, carry_out: bool) -> Ran:
        state = self._state()
        try:
            with recording() as record:
                add_op(state, operation, name="it", **arguments)
            host = next(iter(state.inventory))
            with ctx_state.use(state), ctx_host.use(host):
                (data,) = state.ops[host].values()
                commands = [str(command) for command in data.command_generator()]
            ran = Ran(record, commands)
            if carry_out:
                state.set_stage(StateStage.Execute)
                with suppress(PyinfraError):  # "No hosts remaining!": a refusal is an answer here
                    run_ops(state)
                ran.done = host not in state.failed_hosts
            return ran
        finally:
            disconnect_all(state)

    def _state(self) -> State:
        endpoint = S3Endpoint(
            name="storage", url=self._server.url, engine=self._server.engine, roots=str(self._server.roots)
        )
        inventory = Inventory((["@s3/storage"], {"s3": endpoint}))
        state = State(inventory, Config(), check_for_changes=True)
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        return state
