"""Which kinds of objects an API has, asked in two requests. Source: Kubernetes, "API discovery", aggregated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from kubernetes.dynamic.resource import Resource

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.kubernetes_client import KubernetesClient
from unterbau.connectors.members import LOOK_AGAIN_S

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NEW_KIND_WITHIN_S = 30  # a CustomResourceDefinition was made right before
COPIES = {"Endpoints", "EndpointSlice", "Event"}  # made of other objects, labels and all
APPLIED = {"list", "patch", "delete"}  # what can be said of a kind whose objects can be declared


class Kinds:
    """Asked for once, and again for a kind that is not known."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._known: dict[tuple[str, str], Resource] = {}
        self._unread: list[tuple[str, str]] = []  # (group, version) whose own server does not answer
        self._asking = BoundedSemaphore()

    def find(self, api_version: str, kind: str) -> Resource | None:
        """One kind; None if the API does not have it."""
        with self._asking:  # many objects are asked about at once
            if (api_version, kind) not in self._known:
                self._ask()
        return self._known.get((api_version, kind))

    def awaited(self, api_version: str, kind: str) -> Resource | None:
        """One kind that may have been made a moment ago."""
        deadline_s = time.monotonic() + NEW_KIND_WITHIN_S
        while (found := self.find(api_version, kind)) is None and time.monotonic() < deadline_s:
            gevent.sleep(LOOK_AGAIN_S)
        return found

    def ask_again(self, group: str | None = None) -> None:
        """For who must not miss a kind; EndpointError if the API cannot say which ones a group, or any, has."""
        with self._asking:
            self._ask()
        if away := [f"{name}/{version}" for name, version in self._unread if group in (None, name)]:
            raise EndpointError(
                f"cannot tell which kinds there are: the server of {', '.join(away)} does not answer; look at its "
                "APIService, and mend or delete it"
            )

    def all(self, *, namespaced: bool = False) -> list[Resource]:
        """Every kind whose objects can be declared, each in the first version, as the API prefers them, that has it."""
        with self._asking:
            if not self._known:
                self._ask()
        first: dict[tuple[str, str], Resource] = {}
        for one in self._known.values():
            if set(one.verbs) >= APPLIED and one.kind not in COPIES and (one.namespaced or not namespaced):
                first.setdefault((one.group, one.name), one)
        return list(first.values())

    def _ask(self) -> None:
        unread: list[tuple[str, str]] = []
        self._known, self._unread = dict(self._asked(unread)), unread

    def _asked(self, unread: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Resource]]:
        for prefix in ("api", "apis"):
            listed = self._client.call("get", f"/{prefix}", header_params={"Accept": ACCEPT})
            for group in listed.get("items") or ():
                name = (group.get("metadata") or {}).get("name", "")
                for version in group.get("versions") or ():
                    if version.get("freshness") == "Stale" or not version.get("resources"):
                        unread.append((name, version["version"]))
                    for one in version.get("resources") or ():
                        kind = self._resource(prefix, name, version["version"], one)
                        yield (kind.group_version, kind.kind), kind

    def _resource(self, prefix: str, group: str, version: str, one: dict[str, Any]) -> Resource:
        return self._client.resource(
            prefix=prefix, group=group, api_version=version, kind=one["responseKind"]["kind"], name=one["resource"],
            namespaced=one["scope"] == "Namespaced", verbs=one.get("verbs") or [],
        )  # fmt: skip
