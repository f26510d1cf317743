"""What is written to a Kubernetes API: each only if it meets what the plan was made of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gevent
from kubernetes.dynamic.resource import Resource

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.kubernetes_client import ApiError, KubernetesClient
from unterbau.connectors.kubernetes_masking import encoded
from unterbau.connectors.kubernetes_objects import APPLY, CONFLICT, INVALID, PATCH, Objects, path_of
from unterbau.connectors.members import LOOK_AGAIN_S
from unterbau.domain import kubernetes_fields as fields
from unterbau.domain.kubernetes_object import Ref, is_ours

TRIES = 5  # an object that changes by itself meanwhile, as one with a status does


class Writes:
    """Applies, takes fields off, deletes."""

    def __init__(self, client: KubernetesClient, objects: Objects) -> None:
        self._client, self._objects = client, objects

    def apply(self, ref: Ref, declared: dict[str, Any], cluster: str, force: list[str], *, adopt: bool) -> Any:
        """Apply one object; `force` names "manager field" that may be taken back, `adopt` one that is not ours.

        A kind or a namespace that was made right before is waited for.
        """
        body, kind = encoded(declared), self._kind(ref)
        for _ in range(TRIES):
            live = self._objects.get(ref)
            if live is not None and not adopt and not is_ours(live, cluster):
                raise EndpointError(f"cannot apply {ref}: found one that is not ours meanwhile; plan again")
            try:
                made = self._applied(kind, ref, body, live, force)
            except ApiError as error:
                if error.status != CONFLICT or error.causes:
                    raise
            else:
                return {"uid": made["metadata"]["uid"]}
            gevent.sleep(LOOK_AGAIN_S)
        raise EndpointError(
            f"cannot apply {ref}: it was changed {TRIES} times meanwhile; look who does, and plan again"
        )

    def _applied(
        self, kind: Resource, ref: Ref, body: dict[str, Any], live: dict[str, Any] | None, force: list[str]
    ) -> Any:
        if live is None or not force:
            return self._client.call("patch", path_of(kind, ref), body=body, **APPLY)
        found, _result = self._objects.tried(kind, ref, body, live["metadata"].get("managedFields") or [])
        if new := [one for one in found if not one["by_hand"] or f"{one['manager']} {one['field']}" not in force]:
            raise EndpointError(
                f"cannot apply {ref}: {new[0]['manager']} has set {new[0]['field']} since the plan was made; plan again"
            )
        version = {"resourceVersion": live["metadata"]["resourceVersion"]}
        exact = {**body, "metadata": {**body["metadata"], **version}}
        return self._client.call("patch", path_of(kind, ref), body=exact, force_conflicts="true", **APPLY)

    def strip(self, ref: Ref, names: list[str]) -> Any:
        """Take fields off one object that people set beside what is declared; those that are gone by now are done."""
        kind = self._kind(ref)
        for _ in range(TRIES):
            live = self._objects.get(ref)
            if live is None:
                return {}
            alone = fields.by_hand(live["metadata"].get("managedFields") or ())
            patch, _left = fields.removal(live, [path for path in alone if fields.text(path) in names])
            if not patch:
                return {}
            version = {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
            try:
                self._client.call("patch", path_of(kind, ref), body=[version, *patch], **PATCH)
            except ApiError as error:
                if error.status != CONFLICT and not (
                    error.status == INVALID and self._is_changed(ref, version["value"])
                ):
                    raise
                gevent.sleep(LOOK_AGAIN_S)
            else:
                return {}
        raise EndpointError(
            f"cannot correct {ref}: it was changed {TRIES} times meanwhile; look who does, and plan again"
        )

    def _is_changed(self, ref: Ref, version: str) -> bool:
        """Whether an object is not the one that was looked at."""
        found = self._objects.get(ref)
        return found is None or found["metadata"]["resourceVersion"] != version

    def delete(self, ref: Ref, uid: str, version: str, within_s: float) -> Any:
        """Delete this very object, as it was seen, with what it owns; it is gone when this ends."""
        kind = self._kind(ref)
        exactly = {"uid": uid, **({"resourceVersion": version} if version else {})}
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": exactly,
        }
        try:
            self._client.call("delete", path_of(kind, ref), body=body)
        except ApiError as error:
            if error.status == CONFLICT and not self._is_going(ref, uid):  # it is if an answer was lost
                raise EndpointError(f"cannot delete {ref}: it was changed or replaced meanwhile; plan again") from error
            if error.status not in (404, CONFLICT):
                raise
        return self.gone(ref, uid, within_s)

    def gone(self, ref: Ref, uid: str, within_s: float) -> Any:
        """Await the end of an object that is being deleted: `within_s` after its pods had their time."""
        found, begun_s = self._objects.get(ref), time.monotonic()
        within_s += max(map(grace_s, self._with_pods(ref, found)), default=0)
        while found is not None and found["metadata"]["uid"] == uid:
            if time.monotonic() > begun_s + within_s:
                raise EndpointError(
                    f"cannot go on: {ref} is being deleted for {within_s:g} s, held by {held_by(found)}; mend that, "
                    "and apply again"
                )
            gevent.sleep(LOOK_AGAIN_S)
            found = self._objects.get(ref)
        return {}

    def _with_pods(self, ref: Ref, found: dict[str, Any] | None) -> list[dict[str, Any]]:
        """An object, and the pods that go with it; none if it is gone."""
        if found is None or ref.kind != "Namespace":
            return [] if found is None else [found]
        return [found, *(self._client.call("get", f"/api/v1/namespaces/{ref.name}/pods").get("items") or ())]

    def _is_going(self, ref: Ref, uid: str) -> bool:
        found = self._objects.get(ref)
        return found is None or (found["metadata"]["uid"] == uid and "deletionTimestamp" in found["metadata"])

    def _kind(self, ref: Ref) -> Resource:
        kind = self._objects.kinds.awaited(ref.api_version, ref.kind)
        if kind is None:
            raise EndpointError(
                f"cannot change {ref}: the API has no kind {ref.api_version}/{ref.kind}; declare its CRD"
            )
        return kind


def held_by(found: Mapping[str, Any]) -> str:
    """What an object that is being deleted waits for: finalizers, and what a namespace says of its content."""
    named = [*(found["metadata"].get("finalizers") or ())]
    if found.get("kind") == "Namespace":
        named += (found.get("spec") or {}).get("finalizers") or ()
        conditions = (found.get("status") or {}).get("conditions") or ()
        named += [f"{one['type']}: {one.get('message', '')}" for one in conditions if one.get("status") == "True"]
    return ", ".join(named) or "nothing that it names"


def grace_s(found: Mapping[str, Any]) -> int:
    """How long the pods of an object get to end by themselves; 0 if it has none."""
    for path in ((), ("template",), ("jobTemplate", "spec", "template")):
        spec: Any = found.get("spec") or {}
        for part in path:
            spec = spec.get(part) or {}
        spec = (spec.get("spec") or {}) if path else spec
        if seconds := spec.get("terminationGracePeriodSeconds"):
            return int(seconds)
    return 0
