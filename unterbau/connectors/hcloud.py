"""`@hcloud/<name>`: the API of a Hetzner Cloud project as a host.

A path is a kind, kind/name of one of ours, or kind/name/actions/action; in a body, too, a name of ours stands where the
API wants a number. What a call starts has ended when the answer comes.

    GET kind                    every object of the kind, ours or not; asked for once until something is written
    GET pricing | limits        prices (net); {limit, remaining, reset_at} of the project's requests
    POST kind {body}            the object, created; one of ours that has the name already is taken over
    POST servers {…, "candidates": [[type, location], …], "spread", "most_per_location"}
                                the server, of the first of these that can be had
    POST kind/name/actions/action {body}    {}
    PUT kind/name {body}        the object
    DELETE kind/name            {}; it is gone
    AWAIT kind/name {"until": {field: value}, "within_s": n}    the object once these fields have these values
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pyinfra.api.host import Host
from typing_extensions import override

from unterbau.connectors import cloud_listing
from unterbau.connectors.endpoint import Call, EndpointConnector, EndpointError, NotThereError
from unterbau.secrets.store import StoreError

if TYPE_CHECKING:
    from unterbau.connectors.hcloud_client import CloudClient
    from unterbau.connectors.hcloud_objects import Objects

WITHIN_S = 300


class HcloudConnector(EndpointConnector):
    """See the module. The vendor's library is imported on first use: it takes a while."""

    verbs = ("GET", "POST", "PUT", "DELETE", "AWAIT")
    _client: CloudClient | None = None
    _objects: Objects | None = None
    _pricing: dict[str, Any] | None = None

    @property
    def client(self) -> CloudClient:
        """The one client of this host, made on first use; StoreError if its token cannot be read."""
        if self._client is None:
            from unterbau.connectors.hcloud_client import CloudClient  # noqa: PLC0415

            declared = self.host.data.cloud
            token = self._keyring().value(declared.token.name)
            self._client = CloudClient(str(declared.endpoint), token, str(declared.ca or ""))
        return self._client

    @property
    def objects(self) -> Objects:
        """What is in the project."""
        if self._objects is None:
            from unterbau.connectors.hcloud_objects import Objects  # noqa: PLC0415

            declared = self.host.data.cloud
            self._objects = Objects(self.client, str(declared.cluster), cloud_listing.taken(str(declared.name)))
        return self._objects

    @override
    def makers(self) -> list[Host]:
        return []  # a project is there before any of its nodes

    @override
    def anybody_answers(self) -> bool:
        try:
            self.objects.listed("locations")
        except NotThereError:
            return False
        return True

    @override
    def disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._objects = self._pricing = None

    @override
    def answer(self, call: Call) -> Any:
        verbs: dict[str, Callable[[str, Any], Any]] = {
            "GET": lambda path, _body: self._found(path),
            "POST": self._posted,
            "PUT": self._put,
            "DELETE": lambda path, _body: self._deleted(path),
            "AWAIT": self._awaited,
        }
        try:
            return verbs[call.verb](call.path, call.body if call.body is not None else {})
        except StoreError as error:
            raise NotThereError(f"cannot log in to {self.host.name}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            said = f"cannot {call}: found parameters, or an answer, of another shape ({type(error).__name__}: {error})"
            raise EndpointError(said) from error

    def _found(self, path: str) -> Any:
        if path == "pricing":
            if self._pricing is None:
                self._pricing = dict(self.client.call("GET", "/pricing")["pricing"])
            return self._pricing
        if path == "limits":
            return self._limits()
        return self.objects.listed(path)

    def _limits(self) -> dict[str, Any]:
        if self.client.quota.remaining is None:  # nothing was asked so far
            self.objects.listed("locations")
        quota = self.client.quota
        return {"limit": quota.limit, "remaining": quota.remaining, "reset_at": quota.reset_at}

    def _posted(self, path: str, body: Mapping[str, Any]) -> Any:
        from unterbau.connectors.hcloud_objects import taken_apart  # noqa: PLC0415
        from unterbau.connectors.hcloud_purchase import bought  # noqa: PLC0415

        kind, name, action = taken_apart(path)
        if not name:
            return bought(self.objects, body) if "candidates" in body else self.objects.created(kind, body)
        if not action:
            raise EndpointError(f"cannot POST {path}: found no action; a path is kind, or kind/name/actions/action")
        self.objects.acted(kind, name, action, body)
        return {}

    def _put(self, path: str, body: Mapping[str, Any]) -> Any:
        kind, name = _named(path)
        return self.objects.put(kind, name, body)

    def _deleted(self, path: str) -> Any:
        kind, name = _named(path)
        self.objects.deleted(kind, name)
        return {}

    def _awaited(self, path: str, body: Mapping[str, Any]) -> Any:
        kind, name = _named(path)
        return self.objects.awaited(kind, name, body["until"], body.get("within_s", WITHIN_S))


def _named(path: str) -> tuple[str, str]:
    from unterbau.connectors.hcloud_objects import taken_apart  # noqa: PLC0415

    kind, name, action = taken_apart(path)
    if not name or action:
        raise EndpointError(f"cannot change {path[:80]!r}: a path is kind/name here")
    return kind, name
