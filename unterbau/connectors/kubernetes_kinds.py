"""Which kinds of objects an API has, asked in two requests. Source: Kubernetes, "API discovery", aggregated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from kubernetes.dynamic.resource import Resource

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
        self._asking = BoundedSemaphore()

    def find(self, api_version: str, kind: str) -> Resource | None:
        """One kind; None if the API does not have it."""
        with self._asking:  # many objects are asked about at once
            if (api_version, kind) not in self._known:
                self._known = dict(self._asked())
        return self._known.get((api_version, kind))

    def awaited(self, api_version: str, kind: str) -> Resource | None:
        """One kind that may have been made a moment ago."""
        deadline_s = time.monotonic() + NEW_KIND_WITHIN_S
        while (found := self.find(api_version, kind)) is None and time.monotonic() < deadline_s:
            gevent.sleep(LOOK_AGAIN_S)
        return found

    def all(self, *, namespaced: bool = False) -> list[Resource]:
        """Every kind whose objects can be declared, each in the version that the API prefers."""
        if not self._known:
            self._known = dict(self._asked())
        return [
            one
            for one in self._known.values()
            if one.preferred
            and set(one.verbs) >= APPLIED
            and one.kind not in COPIES
            and (one.namespaced or not namespaced)
        ]

    def _asked(self) -> Iterator[tuple[tuple[str, str], Resource]]:
        for prefix in ("api", "apis"):
            listed = self._client.call("get", f"/{prefix}", header_params={"Accept": ACCEPT})
            for group in listed.get("items") or ():
                for number, version in enumerate(group.get("versions") or ()):
                    for one in version.get("resources") or ():
                        kind = self._resource(prefix, group, version["version"], one, preferred=number == 0)
                        yield (kind.group_version, kind.kind), kind

    def _resource(
        self, prefix: str, group: dict[str, Any], version: str, one: dict[str, Any], *, preferred: bool
    ) -> Resource:
        return self._client.resource(
            prefix=prefix, group=(group.get("metadata") or {}).get("name", ""), api_version=version,
            kind=one["responseKind"]["kind"], name=one["resource"], namespaced=one["scope"] == "Namespaced",
            verbs=one.get("verbs") or [], preferred=preferred,
        )  # fmt: skip
