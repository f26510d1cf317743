"""An API as a host: a command is a call, its output the JSON answer, a failure this command's only.

A call is `VERB path {json}`, or `client_method {json}` where the API is spoken through a client's methods.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import click
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_host
from typing_extensions import override

from unterbau.domain.unknown import KNOWN_AFTER_APPLY
from unterbau.secrets import pki
from unterbau.secrets.declared import store_in
from unterbau.secrets.hidden import redact
from unterbau.secrets.keyring import Keyring

FAILOVER_S = 20  # longer than OpenBao's members take to notice that their leader is gone, and to choose another


class EndpointError(Exception):
    """One command failed; the sentence says what was asked for and what came back."""


class NotThereError(EndpointError):
    """The API cannot be reached at all."""


@dataclass(frozen=True)
class Call:
    """One command, taken apart."""

    verb: str
    path: str = ""
    body: Any = None

    def __str__(self) -> str:
        """Without the body: it may hold secrets."""
        return f"{self.verb} {self.path}".rstrip()


def parsed(command: str, verbs: Iterable[str]) -> Call:
    """`VERB path [json]`; EndpointError for anything else, without its text."""
    verb, _, rest = command.strip().partition(" ")
    path, _, body = rest.partition(" ")
    if verb not in verbs or not path:
        raise EndpointError(f"cannot run this command: found the verb {verb[:16]!r}; there are {', '.join(verbs)}")
    try:
        return Call(verb, path, json.loads(body) if body else None)
    except ValueError as error:
        raise EndpointError(f"cannot run {verb} {path}: found a body that is no JSON") from error


def parsed_method(command: str, methods: Container[str]) -> Call:
    """`client_method [{json}]`, whose parameters are an object; EndpointError for anything else, without its text."""
    method, _, body = command.strip().partition(" ")
    if method not in methods:
        raise EndpointError(f"cannot run this command: found the method {method[:40]!r}, which there is none of")
    try:
        parameters = json.loads(body or "{}")
    except ValueError as error:
        raise EndpointError(f"cannot run {method}: found parameters that are no JSON") from error
    if not isinstance(parameters, dict):
        raise EndpointError(f"cannot run {method}: found parameters that are no JSON object")
    return Call(method, body=parameters)


class EndpointConnector(BaseConnector):
    """What all API connectors share. They connect lazily: on a first run the API does not exist yet."""

    handles_execution = True
    verbs: ClassVar[tuple[str, ...]] = ()
    layer: ClassVar[str] = ""  # which layer makes the endpoint, on the nodes that `makers` names
    _in_vain = False

    @override
    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    @abstractmethod
    def answer(self, call: Call) -> Any:
        """The JSON value that the API answers with; EndpointError."""

    @abstractmethod
    def makers(self) -> list[Host]:
        """The nodes on which the endpoint is made."""

    @abstractmethod
    def anybody_answers(self) -> bool:
        """Whether any server answers, whatever it says."""

    def parse(self, command: str) -> Call:
        """The command taken apart; EndpointError."""
        return parsed(command, self.verbs)

    def lock(self, holder: str) -> None:
        """Hold the endpoint for one run; raise ConnectError with the present holder if another run has it."""

    @override
    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        raw = command.get_raw_value() if isinstance(command, StringCommand) else str(command)
        if print_input:
            click.echo(f"{self.host.print_prefix}>>> {redact(str(command))}", err=True)
        done, line = self._answered(raw)
        if print_output:
            click.echo(f"{self.host.print_prefix}{redact(line)}", err=True)
        return done, CommandOutput([OutputLine("stdout" if done else "stderr", line)])

    def _answered(self, raw: str) -> tuple[bool, str]:
        try:
            answer = json.dumps(self.answer(self.parse(raw)), sort_keys=True)
        except NotThereError as error:
            self._in_vain = True
            if self.made_by_this_plan():
                return True, json.dumps(KNOWN_AFTER_APPLY)
            return False, redact(str(error))
        except EndpointError as error:
            return False, redact(str(error))
        self._in_vain = False
        return True, answer

    @property
    def preparing(self) -> bool:
        """Whether the run still looks, and changes nothing yet."""
        return bool(self.state.current_stage < StateStage.Execute)

    def patience_s(self) -> float:
        """How long a server that can answer is waited for.

        A plan does not wait for one that it has yet to make, nor where nobody is there that could come back, nor a
        second time in vain: each of its many questions would.
        """
        hopeless = self.preparing and (self._in_vain or self.made_by_this_plan() or not self.anybody_answers())
        return 0 if hopeless else FAILOVER_S

    def made_by_this_plan(self) -> bool:
        """Whether this run is still being planned, and will change the endpoint's layer on a node that makes it."""
        return self.preparing and any(self._layer_changes(host) for host in self.makers())

    def _layer_changes(self, host: Host) -> bool:
        with ctx_host.use(host):  # whose operations may look at the host once more
            return any(
                any(name.startswith(f"{self.layer} | ") for name in self.state.op_meta[op_hash].names)
                and op_data.operation_meta.will_change
                for op_hash, op_data in list(self.state.ops.get(host, {}).items())
            )

    def _keyring(self) -> Keyring:
        """The environment's secrets, of which an endpoint makes none; StoreError."""
        found = store_in(self.state.inventory)
        if found is None:
            raise EndpointError(f"cannot log in to {self.host.name}: the inventory has no secret store; declare one")
        return Keyring.of(found[1], (), rotate=False, generate=False)

    def _roots(self) -> list[str]:
        """The internal certificates (PEM) that servers of this environment show a chain to; StoreError."""
        declared = self.host.data.pki
        return [
            pki.root_certificate(root) for root in self._keyring().within(declared.root, declared.root_overlap_days)
        ]

    @override
    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        raise NotImplementedError(f"cannot put a file on {self.host.name}: it is an API")

    @override
    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        raise NotImplementedError(f"cannot get a file from {self.host.name}: it is an API")
