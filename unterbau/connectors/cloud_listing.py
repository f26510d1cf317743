"""The servers of a cloud project as a run's inventory sees them: asked for once, before there are hosts.

An inventory is made before any connector of it, so whoever asks first is no host. What was listed is handed to the
project's own host, which would ask the same again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from unterbau.connectors.endpoint import EndpointError
from unterbau.declaration import CloudProject, Environment, SecretStore, load
from unterbau.declaration.cloud_nodes import asked_by
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.store import StoreError

Servers = list[dict[str, Any]]


@dataclass
class _Run:
    """One run's environments, and what was listed in it; a sentence where that failed."""

    environments: dict[str, Environment] = field(default_factory=dict)
    listed: dict[str, Servers | str] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()  # names of nodes whose machines were made or started right before


_run = _Run()


def begin(environment: Environment, begun: Iterable[str] = ()) -> None:
    """A new run: whatever an earlier one of this process listed is old. `begun`: nodes that may still be booting."""
    global _run  # noqa: PLW0603  # pyinfra makes an inventory by calling functions that belong to nobody
    names = [one.name for one in environment.endpoints if isinstance(one, CloudProject)]
    _run = _Run(dict.fromkeys(names, environment), begun=frozenset(begun))


def has_just_begun(node: str) -> bool:
    """Whether a node's machine was made or started right before this run."""
    return node in _run.begun


def environment_of(project: str) -> Environment:
    """The environment that declares the project; EndpointError, DeclarationError."""
    if project not in _run.environments:
        path = asked_by(project)
        if path is None:
            raise EndpointError(f"cannot ask for @nodes/{project}: no inventory names it with nodes_of({project!r})")
        _run.environments[project] = load(path)
    return _run.environments[project]


def declared(project: str) -> CloudProject:
    """The project's declaration; EndpointError if the environment has none of that name."""
    every = environment_of(project).endpoints
    found = [one for one in every if isinstance(one, CloudProject) and one.name == project]
    if not found:
        raise EndpointError(f"cannot ask for @nodes/{project}: the inventory declares no CloudProject of that name")
    return found[0]


def servers(project: str) -> Servers | str:
    """All servers of the project, ours or not; a sentence if they cannot be read."""
    if project not in _run.listed:
        _run.listed[project] = _asked(project)
    return _run.listed[project]


def taken(project: str) -> Servers | None:
    """What was listed in this run, once: a later answer would be old. None if nothing was."""
    found = _run.listed.pop(project, None)
    return found if isinstance(found, list) else None


def unasked() -> list[tuple[str, str]]:
    """(project, why) of those that could not be asked in this run: of their servers only the declared are known."""
    return [(name, f"unknown: {found}") for name, found in _run.listed.items() if isinstance(found, str)]


def _asked(project: str) -> Servers | str:
    from unterbau.connectors.hcloud_client import CloudClient  # noqa: PLC0415  # the vendor's library takes a while

    one = declared(project)
    stores = [store for store in environment_of(project).endpoints if isinstance(store, SecretStore)]
    try:
        token = Keyring.of(stores[0], (), rotate=False, generate=False).value(one.token.name)
        client = CloudClient(str(one.endpoint), token, str(one.ca or ""))
        return client.every("servers")
    except (EndpointError, StoreError) as error:
        return str(error)
