"""An S3 service outside a run: reached and logged in to as a run does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host

from unterbau.connectors.endpoint import Call, EndpointError
from unterbau.connectors.s3 import S3Connector
from unterbau.declaration import Environment
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.hidden import redact
from unterbau.secrets.store import StoreError


class StorageError(Exception):
    """A sentence: cannot + object + what was found + what to do next."""


class Service:
    """One environment's object storage."""

    def __init__(self, connector: S3Connector) -> None:
        self._connector = connector

    def ask(self, command: str, **parameters: Any) -> Any:
        """What a command of the connector answers; StorageError."""
        try:
            return self._connector.answer(Call(command, body=parameters))
        except (EndpointError, StoreError) as error:
            raise StorageError(redact(str(error))) from error


def endpoint(session: Session) -> Host:
    """The host of the environment's object storage, our own servers first; SessionError if it declares none."""
    found = [host for host in session.state.inventory if host.data.get("s3")]
    if not found:
        raise SessionError(
            f"cannot reach object storage: {session.environment.name} declares none; "
            'add endpoints(S3Endpoint(members="storage")) to its inventory'
        )
    return min(found, key=lambda host: host.data.s3.members is None)


def service_of(host: Host) -> Service:
    """Its connector, as one of ours."""
    assert isinstance(host.connector, S3Connector)  # noqa: S101  # for the type checker
    return Service(host.connector)


def members(session: Session, host: Host) -> list[Host]:
    """The nodes that serve it, in the inventory's order; none if it is a service elsewhere."""
    return [one for one in session.state.inventory if host.data.s3.members in one.groups]


@contextmanager
def service(environment: Environment, root: Path) -> Iterator[Service]:
    """Connected; SessionError if the environment declares none. It needs one of its nodes, not all of them."""
    session = Session(environment, root)
    host = endpoint(session)
    try:
        session.each(session._connect, [*members(session, host), host])
        yield service_of(host)
    finally:
        session.disconnect()
