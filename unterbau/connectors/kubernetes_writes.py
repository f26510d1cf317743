"""What is written to a Kubernetes API: each only if it meets what the plan was made of."""

from __future__ import annotations

import time
from typing import Any

import gevent
from kubernetes.dynamic.resource import Resource

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.kubernetes_client import ApiError, KubernetesClient
from unterbau.connectors.kubernetes_masking import encoded
from unterbau.connectors.kubernetes_objects import APPLY, CONFLICT, PATCH, Objects, path_of
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
                if not _test_failed(error):
                    raise
                gevent.sleep(LOOK_AGAIN_S)
            else:
                return {}
        raise EndpointError(
            f"cannot correct {ref}: it was changed {TRIES} times meanwhile; look who does, and plan again"
        )

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
            if error.status == CONFLICT:
                raise EndpointError(f"cannot delete {ref}: it was changed or replaced meanwhile; plan again") from error
            if error.status != 404:
                raise
        return self._gone(ref, uid, within_s)

    def _gone(self, ref: Ref, uid: str, within_s: float) -> Any:
        deadline_s = time.monotonic() + within_s
        while (found := self._objects.get(ref)) is not None and found["metadata"]["uid"] == uid:
            if time.monotonic() > deadline_s:
                held = ", ".join(found["metadata"].get("finalizers") or ()) or "nothing that it names"
                raise EndpointError(f"cannot go on: {ref} is being deleted for {within_s:g} s, held by {held}")
            gevent.sleep(LOOK_AGAIN_S)
        return {}

    def _kind(self, ref: Ref) -> Resource:
        kind = self._objects.kinds.awaited(ref.api_version, ref.kind)
        if kind is None:
            raise EndpointError(
                f"cannot change {ref}: the API has no kind {ref.api_version}/{ref.kind}; declare its CRD"
            )
        return kind


def _test_failed(error: ApiError) -> bool:
    """Whether the object is not the one that was looked at."""
    return error.status == CONFLICT or (error.status == 422 and "test" in str(error).lower())
