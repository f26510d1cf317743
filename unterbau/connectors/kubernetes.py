"""`@kubernetes/<name>`: the API of a K3s cluster as a host, through the SSH connections of its servers.

PATH is `apiVersion/Kind/namespace/name`, with "-" for no namespace. The answer is JSON; it has no value
of a Secret, only keyed hashes. What is asked with `cluster` is asked about the objects with the mark of that cluster.

    GET PATH {cluster}                      the object; null if it is not there
    LIST apiVersion/Kind/namespace {cluster, selector}      its objects, in every namespace for "-"
    OURS cluster                            [{api_version, kind, namespace, name, uid, resource_version, deleting}]
    WITHIN namespace {cluster}              {ours, others}: what it holds
    INSTANCES definition {cluster}          {ours, others}: the objects of a custom resource's kind
    COMPARE cluster [objects]               {PATH: what is there, and what an apply would make of it, dry run}
    APPLY PATH {object, cluster, force, adopt}              server-side apply as the manager "unterbau"
    STRIP PATH {fields}                     what people set by hand beside what is declared is taken off
    DELETE PATH {uid, resource_version, within_s}           exactly this object, gone when it ends
    GONE PATH {uid, within_s}               gone when it ends; it is being deleted already
    AWAIT PATH {until: {field: value}, within_s}            the object once these fields have these values
    LOGS namespace/pod {container, lines}   the end of what a container said
    HEALTH cluster                          {version, checks: {name: whether it passed}}
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from pyinfra.api.host import Host
from typing_extensions import override

from unterbau.connectors.endpoint import Call, EndpointConnector, EndpointError, NotThereError
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.domain.kubernetes_object import NAME, Ref
from unterbau.secrets.store import StoreError

if TYPE_CHECKING:
    from unterbau.connectors.kubernetes_client import KubernetesClient
    from unterbau.connectors.kubernetes_objects import Objects
    from unterbau.connectors.kubernetes_writes import Writes

WRITING = ("APPLY", "STRIP", "DELETE")
DELETED_WITHIN_S = 120
LINES = 100


class KubernetesConnector(EndpointConnector):
    """See the module. The client library is imported on first use: it is large."""

    verbs = (
        "GET",
        "LIST",
        "OURS",
        "WITHIN",
        "INSTANCES",
        "COMPARE",
        "APPLY",
        "STRIP",
        "DELETE",
        "GONE",
        "AWAIT",
        "LOGS",
        "HEALTH",
    )
    layer = "k3s"
    _client: KubernetesClient | None = None
    _objects: Objects | None = None

    @property
    def client(self) -> KubernetesClient:
        """The one client of this host, made on first use."""
        if self._client is None:
            from unterbau.connectors.kubernetes_client import KubernetesClient  # noqa: PLC0415

            self._client = KubernetesClient(self._way(), self.patience_s)
        return self._client

    @property
    def objects(self) -> Objects:
        """What reads."""
        if self._objects is None:
            from unterbau.connectors.kubernetes_objects import Objects  # noqa: PLC0415

            self._objects = Objects(self.client, lambda purpose, text: self._keyring().keyed_hash(purpose, text))
        return self._objects

    @property
    def writes(self) -> Writes:
        """What changes something."""
        from unterbau.connectors.kubernetes_writes import Writes  # noqa: PLC0415

        return Writes(self.client, self.objects)

    @override
    def makers(self) -> list[Host]:
        return list(self.state.inventory.get_group(self.host.data.kubernetes.members))

    @override
    def anybody_answers(self) -> bool:
        return self.client.way.answers()

    @override
    def lock(self, holder: str) -> None:
        self.client.way.lock(holder)

    @override
    def disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._objects = None

    @override
    def answer(self, call: Call) -> Any:
        body = call.body if call.body is not None else {}
        if call.verb in WRITING and self.client.way.unguarded:
            raise EndpointError(f"cannot {call}: the lock on its servers was lost: another run may be at work")
        try:
            return self._verbs()[call.verb](call.path, body)
        except StoreError as error:
            raise NotThereError(f"cannot compare Secrets of {self.host.name}: {error}") from error
        except ValueError as error:
            raise EndpointError(f"cannot {call.verb}: found {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise EndpointError(f"cannot {call.verb}: found other parameters than its own ({error})") from error

    def _verbs(self) -> dict[str, Callable[[str, Any], Any]]:
        return {
            "GET": lambda path, body: self.objects.shown(Ref.parse(path), body.get("cluster", "")),
            "LIST": self._list,
            "OURS": lambda path, _body: self.objects.ours(path),
            "WITHIN": lambda path, body: self.objects.within(_name(path), body["cluster"]),
            "INSTANCES": lambda path, body: self.objects.instances(_name(path), body["cluster"]),
            "COMPARE": lambda path, body: self.objects.compared(body, path),
            "APPLY": self._apply,
            "STRIP": lambda path, body: self.writes.strip(Ref.parse(path), body["fields"]),
            "DELETE": self._delete,
            "GONE": lambda path, body: self.writes.gone(
                Ref.parse(path), body["uid"], body.get("within_s", DELETED_WITHIN_S)
            ),
            "AWAIT": self._await,
            "LOGS": self._logs,
            "HEALTH": lambda _path, _body: self._health(),
        }

    def _list(self, path: str, body: Any) -> Any:
        ref = Ref.parse(f"{path}/any")
        return self.objects.listed(
            ref.api_version, ref.kind, ref.namespace, body.get("selector", ""), body.get("cluster", "")
        )

    def _apply(self, path: str, body: Any) -> Any:
        ref, declared = Ref.parse(path), body["object"]
        if Ref.of(declared) != ref:
            raise EndpointError(f"cannot APPLY {path}: found the object {Ref.of(declared).path}")
        force, adopt = body.get("force") or [], bool(body.get("adopt"))
        return self.writes.apply(ref, declared, body["cluster"], force, adopt=adopt)

    def _delete(self, path: str, body: Any) -> Any:
        within_s = body.get("within_s", DELETED_WITHIN_S)
        return self.writes.delete(Ref.parse(path), body["uid"], body.get("resource_version", ""), within_s)

    def _await(self, path: str, body: Any) -> Any:
        ref, until, within_s = Ref.parse(path), body["until"], body["within_s"]
        deadline_s = time.monotonic() + within_s
        while True:
            found = self.objects.shown(ref, body.get("cluster", ""))
            left = {field: _value(found, field) for field, value in until.items() if _value(found, field) != value}
            if found is not None and not left:
                return found
            if time.monotonic() > deadline_s:
                state = "nothing" if found is None else ", ".join(f"{name}={value!r}" for name, value in left.items())
                raise EndpointError(f"cannot go on: {ref} is not as awaited within {within_s:g} s, found {state}")
            gevent.sleep(LOOK_AGAIN_S)

    def _logs(self, path: str, body: Any) -> Any:
        namespace, _, pod = path.partition("/")
        query = [("tailLines", body.get("lines", LINES))]
        query += [("container", body["container"])] if body.get("container") else []
        return self.client.call(
            "get", f"/api/v1/namespaces/{_name(namespace)}/pods/{_name(pod)}/log", query_params=query
        )

    def _health(self) -> Any:
        from unterbau.connectors.kubernetes_client import ApiError  # noqa: PLC0415

        try:
            said = str(self.client.call("get", "/readyz", query_params=[("verbose", "")]))
        except ApiError as error:  # not ready: its text says why
            said = error.text
        checks = [line.partition(" ")[0] for line in said.splitlines() if line[:3] in ("[+]", "[-]")]
        version = self.client.call("get", "/version")
        return {"version": version["gitVersion"], "checks": {check[3:]: check[1] == "+" for check in checks}}

    def _way(self) -> Any:
        from unterbau.connectors.kubernetes_members import Members  # noqa: PLC0415

        declared = self.host.data.kubernetes
        return Members(self.state, declared.members, declared.port)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"the name {text[:60]!r}, which no object has")
    return text


def _value(found: Any, field: str) -> Any:
    """`.status.phase` of an object; None if it has none."""
    for part in field.strip(".").split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
