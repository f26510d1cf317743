"""`@vault/<name>`: the API of an OpenBao cluster as a host, through the SSH connections of its members.

Commands; the answer is JSON, without what the API wraps around its data:

    GET path            the data; null if absent
    LIST path           the names; [] if there are none
    EACH path [names]   {name: data} of those that are there
    WALK path           {name: data} of all that are there, folders included
    PUT path {body}     the data, or {}
    DELETE path         {}
    AWAIT path {"until": {key: value}, "within_s": n}   the data once these keys have these values
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import gevent
import requests
from pyinfra.api.host import Host
from typing_extensions import override

from unterbau.connectors.endpoint import Call, EndpointConnector, EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.connectors.vault_client import Credentials, VaultClient, sentence
from unterbau.connectors.vault_members import Members
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import StoreError

DEPLOYER = "unterbau-deploy"
LOGIN_LIFE = timedelta(hours=1)
AUTHORITIES_TRIED = 50  # newest first; a cluster that was restored, or left alone for years, trusts an old one only


class VaultConnector(EndpointConnector):
    """See the module."""

    verbs = ("GET", "LIST", "EACH", "WALK", "PUT", "DELETE", "AWAIT")
    layer = "vault | servers"  # the steps that start, restart or unseal a member; others of the layer do not
    _client: VaultClient | None = None

    @property
    def client(self) -> VaultClient:
        """The one client of this host, made on first use; StoreError if the store cannot be read."""
        if self._client is None:
            self._client = VaultClient(self._members(), self._credentials(), self.patience_s)
        return self._client

    @override
    def makers(self) -> list[Host]:
        return list(self.state.inventory.get_group(self.host.data.vault.members))

    @override
    def anybody_answers(self) -> bool:
        return self._client_members.answers()

    @override
    def lock(self, holder: str) -> None:
        self.client.members.lock(holder)

    @override
    def disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @override
    def answer(self, call: Call) -> Any:
        verbs: dict[str, Callable[[Call], Any]] = {
            "GET": lambda c: self._data("GET", c.path),
            "LIST": lambda c: self._names(c.path),
            "EACH": lambda c: dict(self._each(c.path, c.body or [])),
            "WALK": lambda c: dict(self._walk(c.path, "")),
            "PUT": lambda c: self._data("POST", c.path, c.body) or {},
            "DELETE": lambda c: self._data("DELETE", c.path) or {},
            "AWAIT": lambda c: self._awaited(c.path, c.body["until"], c.body["within_s"]),
        }
        try:
            if call.verb in ("PUT", "DELETE") and self.client.members.unguarded:
                raise EndpointError(f"cannot {call}: the lock on its members was lost: another run may be at work")
            return verbs[call.verb](call)
        except StoreError as error:
            raise NotThereError(f"cannot log in to {self.host.name}: {error}") from error

    def _data(self, method: str, path: str, body: Any = None) -> Any:
        if {"", ".", ".."} & set(path.split("/")):
            raise EndpointError(f"cannot {method} {path!r}: found a path that leads elsewhere")
        response = self.client.request(method, path, body)
        if response.status_code == 404 and method in ("GET", "LIST", "DELETE") and _absent(response):
            return None
        if not response.ok:
            raise EndpointError(sentence(method, path, response))
        return _unwrapped(response)

    def _names(self, path: str) -> list[str]:
        return sorted((self._data("LIST", path) or {}).get("keys") or [])

    def _each(self, path: str, names: list[str]) -> Iterator[tuple[str, Any]]:
        for name in names:
            if (data := self._data("GET", f"{path}/{quote(name)}")) is not None:
                yield name, data

    def _walk(self, path: str, folder: str) -> Iterator[tuple[str, Any]]:
        for name in self._names(f"{path}/{quote(folder)}".rstrip("/")):
            if name.endswith("/"):
                yield from self._walk(path, folder + name)
            elif (data := self._data("GET", f"{path}/{quote(folder + name)}")) is not None:
                yield folder + name, data

    def _awaited(self, path: str, until: dict[str, Any], within_s: float) -> Any:
        deadline = time.monotonic() + within_s
        while True:
            found = self._data("GET", path) or {}
            left = {key: found.get(key) for key, value in until.items() if _ordered(found.get(key)) != _ordered(value)}
            if not left:
                return found
            if time.monotonic() > deadline:
                wanted = json.dumps({key: until[key] for key in left})
                raise EndpointError(
                    f"cannot go on: {path} is not {wanted} within {within_s} s, found {json.dumps(left)}; "
                    "look at `unterbau vault status`"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def _members(self) -> Members:
        declared = self.host.data.vault
        self._client_members = Members(self.state, declared.members, declared.port, self._roots)
        return self._client_members

    def _credentials(self) -> Credentials:
        return Credentials(self._roots, self._clients)

    def _clients(self) -> list[Hidden]:
        name = self.host.data.vault_server.deployers
        authorities = self._keyring().versions(name, AUTHORITIES_TRIED)
        return [pki.client_certificate(authority, DEPLOYER, LOGIN_LIFE) for authority in authorities]


def _ordered(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _absent(response: requests.Response) -> bool:
    """Nothing there, or nothing mounted there; a path that no engine knows is something else."""
    try:
        errors = response.json().get("errors") or []
    except ValueError:
        return False
    return all("no handler for route" in error for error in errors)


def _unwrapped(response: requests.Response) -> Any:
    answer = response.json() if response.content else {}
    return (answer["data"] or {}) if "data" in answer else answer
