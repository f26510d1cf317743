"""What a Kubernetes API has, and what it would make of declared objects: by its own dry run, which changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from kubernetes.dynamic.resource import Resource

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.kubernetes_client import ApiError, KubernetesClient
from unterbau.connectors.kubernetes_kinds import Kinds
from unterbau.connectors.kubernetes_masking import KeyedHash, comparable, masked
from unterbau.domain import kubernetes_fields as fields
from unterbau.domain.kubernetes_object import (
    ANNOTATION,
    LABEL,
    MANAGER,
    Ref,
    is_made_by_another,
    is_ours,
    normal,
    owner_of,
)

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY = {"content_type": "application/apply-patch+yaml", "field_manager": MANAGER}
PATCH = {"content_type": "application/json-patch+json", "field_manager": MANAGER}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PAGE, CONFLICT, INVALID = 500, 409, 422
# What every namespace gets by itself, and what goes with it.
OF_A_NAMESPACE = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}


class Objects:
    """Reads only."""

    def __init__(self, client: KubernetesClient, keyed_hash: KeyedHash) -> None:
        self._client, self._keyed_hash = client, keyed_hash
        self.kinds = Kinds(client)

    def get(self, ref: Ref) -> dict[str, Any] | None:
        """As it is, values and all; None if it is not there, or its kind is not."""
        kind = self.kinds.find(ref.api_version, ref.kind)
        if kind is None:
            return None
        try:
            found: dict[str, Any] = self._client.call("get", path_of(kind, ref))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def shown(self, ref: Ref, cluster: str) -> dict[str, Any] | None:
        """As it may be shown; None if it is not there."""
        found = self.get(ref)
        return found if found is None else masked(found, cluster, self._keyed_hash)

    def listed(self, api_version: str, kind: str, namespace: str, selector: str, cluster: str) -> list[dict[str, Any]]:
        """The objects of one kind, as they may be shown; EndpointError if there is no such kind."""
        resource = self.kinds.find(api_version, kind)
        if resource is None:
            raise EndpointError(f"cannot list {api_version}/{kind}: the API has no such kind")
        found = self._pages(resource.path(namespace=namespace or None), label_selector=selector or None)
        whole = ({"apiVersion": api_version, "kind": kind, **one} for one in found)
        return [masked(one, cluster, self._keyed_hash) for one in whole]

    def ours(self, cluster: str) -> list[dict[str, Any]]:
        """[{api_version, kind, namespace, name, uid, resource_version, deleting}] with our mark, sorted."""
        calls = [partial(self._of_kind, kind, label_selector=f"{LABEL}={MANAGER}") for kind in self.kinds.all()]
        found = [one for of_kind in self._client.at_once(calls) for one in of_kind]
        return sorted(
            (_identity(one) for one in found if is_ours_alone(one, cluster)),
            key=lambda one: (one["kind"], one["namespace"], one["name"], one["api_version"]),
        )

    def within(self, namespace: str, cluster: str) -> dict[str, list[str]]:
        """{ours, others}: what a namespace holds, as "Kind name", without what comes with every one."""
        self.kinds.ask_again()
        kinds = self.kinds.all(namespaced=True)
        lists = self._client.at_once([partial(self._listed, kind, namespace=namespace) for kind in kinds])
        found = [one for of_kind in lists for one in of_kind if not is_made_by_another(one) and one["kind"] != "Lease"]
        return _told([one for one in found if (one["kind"], one["metadata"]["name"]) not in OF_A_NAMESPACE], cluster)

    def instances(self, definition: str, cluster: str) -> dict[str, list[str]]:
        """{ours, others}: the objects of a CustomResourceDefinition's kind; none if there is no such definition."""
        plural, _, group = definition.partition(".")
        self.kinds.ask_again(group)
        kinds = [kind for kind in self.kinds.all() if kind.name == plural and kind.group == group]
        if not kinds and self._is_there(f"{DEFINITIONS}/{definition}"):
            raise EndpointError(
                f"cannot tell what goes with {definition}: the API has no kind of it yet, or none any more; look at "
                "its status.conditions"
            )
        return _told([one for kind in kinds for one in self._listed(kind)], cluster)

    def compared(self, manifests: list[dict[str, Any]], cluster: str) -> dict[str, Any]:
        """{path: what there is, and what an apply would make of it} of declared objects; see `_compared`."""
        refs = [Ref.of(manifest) for manifest in manifests]
        calls = [partial(self._compared, *pair, cluster) for pair in zip(refs, manifests, strict=True)]
        return {ref.path: answer for ref, answer in zip(refs, self._client.at_once(calls), strict=True)}

    def _of_kind(self, kind: Resource, **options: Any) -> list[dict[str, Any]]:
        """Their metadata. A kind whose own server does not answer, or that is gone since, has none."""
        try:
            return self._listed(kind, **options)
        except ApiError as error:
            if error.status in (404, 405):
                return []
            raise

    def _listed(self, kind: Resource, namespace: str | None = None, **options: Any) -> list[dict[str, Any]]:
        """Their metadata; ApiError."""
        pages = self._pages(kind.path(namespace=namespace), header_params={"Accept": METADATA_ONLY}, **options)
        return [{**one, "apiVersion": kind.group_version, "kind": kind.kind} for one in pages]

    def _is_there(self, path: str) -> bool:
        try:
            self._client.call("get", path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _pages(self, path: str, **options: Any) -> Iterator[dict[str, Any]]:
        more = None
        while True:
            page = self._client.call("get", path, limit=PAGE, _continue=more, **_copied(options))
            yield from page.get("items") or ()
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return

    def _compared(self, ref: Ref, manifest: dict[str, Any], cluster: str) -> dict[str, Any]:
        """`live` and `result` (null if absent), whether it is `ours`, else whose; `conflicts`, `by_hand`; or why not.

        `missing` is "kind" or "namespace" where the object cannot be there yet, `refused` is what the API says, and
        `blocked` what it says while `by_hand` is there.
        """
        kind = self.kinds.find(ref.api_version, ref.kind)
        if kind is None:
            return {"missing": "kind"}
        if kind.namespaced != bool(ref.namespace):
            wanted = "a namespace, and has none" if kind.namespaced else "no namespace, and has one"
            return {"refused": f"an object of this kind has {wanted}"}
        live = self.get(ref)
        try:
            return self._dry_run(kind, ref, manifest, live, cluster)
        except ApiError as error:
            if error.status == 404 and live is None:
                return {"missing": "namespace"}
            return {**self._found(live, cluster), **self._in_the_way(kind, ref, live, cluster, error)}

    def _in_the_way(
        self, kind: Resource, ref: Ref, live: dict[str, Any] | None, cluster: str, error: ApiError
    ) -> dict[str, Any]:
        """What may be why the API refuses: people's part of an object of ours, that takes the place of a declared one.

        It goes before the apply (`blocked` says why), if the object is one without it; else a person has to.
        """
        by_hand = fields.by_hand(((live or {}).get("metadata") or {}).get("managedFields") or ())
        if live is None or error.status != INVALID or not by_hand or not is_ours(live, cluster):
            return {"refused": str(error)}
        try:
            gone, left = self.removable(kind, ref, live, live)
        except ApiError:
            names = ", ".join(f"{fields.text(path)} (set by {who})" for path, who in sorted(by_hand.items()))
            return {"refused": f"{error}; people set beside what is declared: {names}", "held": True}
        if not gone:
            return {"refused": str(error)}
        return {"blocked": str(error), **self._corrected(gone, left, cluster)}

    def _found(self, live: dict[str, Any] | None, cluster: str) -> dict[str, Any]:
        if live is None:
            return {"live": None}
        shown = normal(masked(live, cluster, self._keyed_hash))
        deleting = "deletionTimestamp" in live["metadata"]
        return {"live": shown, "ours": is_ours(live, cluster), "owner": owner_of(live), "deleting": deleting}

    def _dry_run(
        self, kind: Resource, ref: Ref, manifest: dict[str, Any], live: dict[str, Any] | None, cluster: str
    ) -> dict[str, Any]:
        answer = self._found(live, cluster)
        if answer.get("deleting"):
            return answer
        body = comparable(manifest, live, cluster, self._keyed_hash)
        managed = ((live or {}).get("metadata") or {}).get("managedFields") or []
        answer["conflicts"], result = self.tried(kind, ref, body, managed)
        if not all(one["by_hand"] for one in answer["conflicts"]):
            return answer
        if result is None:
            force = {"dry_run": "All", "force_conflicts": "true", **APPLY}
            result = self._client.call("patch", path_of(kind, ref), body=body, **force)
        gone, left = self.removable(kind, ref, live, result) if live is not None else ({}, result)
        return {**answer, **self._corrected(gone, left, cluster)}

    def _corrected(self, gone: dict[fields.Path, str], left: dict[str, Any], cluster: str) -> dict[str, Any]:
        by_hand = [{"field": fields.text(path), "manager": who} for path, who in sorted(gone.items())]
        return {"by_hand": by_hand, "result": normal(masked(left, cluster, self._keyed_hash))}

    def tried(
        self, kind: Resource, ref: Ref, body: Any, managed: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """([{field, manager, by_hand}] that an apply meets, what it would make, if it meets none); ApiError."""
        try:
            return [], self._client.call("patch", path_of(kind, ref), body=body, dry_run="All", **APPLY)
        except ApiError as error:
            if error.status == CONFLICT and error.causes:
                return fields.conflicts(error.causes, managed), None
            raise

    def removable(
        self, kind: Resource, ref: Ref, live: dict[str, Any], result: dict[str, Any]
    ) -> tuple[dict[fields.Path, str], dict[str, Any]]:
        """({path: manager} of what people set beside what is declared and can be taken off, the result without it).

        What the server puts back by itself as it was is a default; what it puts back otherwise was set over one.
        """
        alone = fields.by_hand(result["metadata"].get("managedFields") or ())
        there = {path: who for path, who in alone.items() if fields.is_there(live, path)}
        if not there:
            return {}, result
        patch, _left = fields.removal(live, list(there))
        after = self._client.call("patch", path_of(kind, ref), body=patch, dry_run="All", **PATCH)
        gone = {path: who for path, who in there.items() if fields.value(after, path) != fields.value(live, path)}
        return gone, fields.restored(result, after, list(gone))


def path_of(kind: Resource, ref: Ref) -> str:
    """Where an object is; its parts are names, see Ref."""
    return str(kind.path(name=ref.name, namespace=ref.namespace or None))


def is_ours_alone(found: dict[str, Any], cluster: str) -> bool:
    """Whether an object has our mark itself, not that of another one it was made of."""
    notes = found["metadata"].get("annotations") or {}
    return notes.get(ANNOTATION) == cluster and not is_made_by_another(found)


def _told(found: list[dict[str, Any]], cluster: str) -> dict[str, list[str]]:
    told = {f"{one['kind']} {one['metadata']['name']}": is_ours(one, cluster) for one in found}
    return {
        "ours": sorted(name for name, is_own in told.items() if is_own),
        "others": sorted(name for name, is_own in told.items() if not is_own),
    }


def _identity(found: dict[str, Any]) -> dict[str, Any]:
    metadata = found["metadata"]
    return {
        "api_version": found["apiVersion"],
        "kind": found["kind"],
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resource_version": metadata["resourceVersion"],
        "deleting": "deletionTimestamp" in metadata,
    }


def _copied(options: dict[str, Any]) -> dict[str, Any]:
    """The generated client writes into the headers that it is given."""
    return {key: dict(value) if isinstance(value, dict) else value for key, value in options.items()}
