"""A Kubernetes cluster outside a run: reached and logged in to as a run does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unterbau.connectors.endpoint import Call, EndpointError
from unterbau.connectors.kubernetes import KubernetesConnector
from unterbau.declaration import Environment
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.hidden import redact


class KubernetesError(Exception):
    """A sentence: cannot + object + what was found + what to do next."""


class Cluster:
    """One environment's cluster."""

    def __init__(self, connector: KubernetesConnector) -> None:
        self._connector = connector

    @property
    def name(self) -> str:
        """How a kubeconfig names it."""
        declared = self._connector.host.data.get("k3s")
        return str(declared.name if declared is not None else self._connector.host.name)

    def declared(self) -> set[str]:
        """The names of its nodes; empty if the environment does not say."""
        k3s = self._connector.host.data.get("k3s")
        groups = [] if k3s is None else [group for group in (k3s.servers, k3s.agents) if group]
        return {node.name for group in groups for node in self._connector.state.inventory.get_group(group)}

    def ask(self, verb: str, path: str, body: Any = None) -> Any:
        """What a command of the connector answers; KubernetesError."""
        try:
            return self._connector.answer(Call(verb, path, body))
        except EndpointError as error:
            raise KubernetesError(redact(str(error))) from error

    def signed(self, name: str, request: str, life_s: int) -> str:
        """The certificate (PEM) for a request (PEM); KubernetesError."""
        from unterbau.connectors.kubernetes_signing import signed  # noqa: PLC0415  # the client library is large

        try:
            return signed(self._connector.client, name, request, life_s)
        except EndpointError as error:
            raise KubernetesError(redact(str(error))) from error

    def server(self) -> tuple[str, str]:
        """(URL of a server that answers, the authorities that it is verified against); KubernetesError."""
        try:
            way = self._connector.client.way
            return way.url(0), way.roots()
        except EndpointError as error:
            raise KubernetesError(str(error)) from error


@contextmanager
def cluster(environment: Environment, root: Path) -> Iterator[Cluster]:
    """The cluster of an environment, connected; SessionError if it declares none."""
    found = Session(environment, root)
    host = next((one for one in found.hosts if one.data.get("kubernetes")), None)
    if host is None:
        raise SessionError(
            f"cannot reach Kubernetes: {environment.name} declares none; add endpoints(KubernetesEndpoint(…))"
        )
    session = Session(environment, root, (host.name,))  # the connector connects the servers, which are left out
    try:
        session.connect()
        if problems := [problem for found in session.problems.values() for problem in found]:
            raise SessionError("; ".join(problems))
        connector = session.hosts[0].connector
        assert isinstance(connector, KubernetesConnector)  # noqa: S101  # for the type checker
        yield Cluster(connector)
    finally:
        session.disconnect()
