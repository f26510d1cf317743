"""Kubernetes objects as data: what names one, what marks it as ours, and how two states of one differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

MANAGER = "unterbau"  # as the API calls who set a field
LABEL = "app.kubernetes.io/managed-by"
ANNOTATION = "unterbau.io/cluster"
VIEW_GROUP, ADMIN_GROUP = "unterbau:view", "unterbau:admin"  # of people with a kubeconfig of their own
HASHED = "keyed hash "  # what stands for a value of a Secret
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")  # a part of a path: nothing in it may lead elsewhere
_OF_THE_SERVER = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")

Manifest = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Ref:
    """Which object. `namespace` is "" for one of the whole cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Manifest) -> Ref:
        """Of an object; ValueError with what is missing, or what is no name."""
        metadata = manifest.get("metadata") or {}
        parts = manifest.get("apiVersion"), manifest.get("kind"), metadata.get("namespace") or "", metadata.get("name")
        if not all(isinstance(part, str) for part in parts):
            raise ValueError("no apiVersion, kind and metadata.name")
        return cls(*map(str, parts)).checked()

    @classmethod
    def parse(cls, path: str) -> Ref:
        """`apiVersion/Kind/namespace/name`, with "-" for no namespace; ValueError."""
        *version, kind, namespace, name = path.split("/") if path.count("/") in (3, 4) else ("", "", "", "")
        return cls("/".join(version), kind, "" if namespace == "-" else namespace, name).checked()

    def checked(self) -> Ref:
        """Itself; ValueError if a part is no name."""
        parts = [*self.api_version.split("/"), self.kind, *filter(None, [self.namespace]), self.name]
        if odd := [part for part in parts if not NAME.fullmatch(part)]:
            raise ValueError(f"the name {odd[0][:60]!r}, which no object has")
        return self

    @property
    def path(self) -> str:
        """As commands name it."""
        return f"{self.api_version}/{self.kind}/{self.namespace or '-'}/{self.name}"

    @property
    def deletion(self) -> str:
        """As the list of allowed deletions names it."""
        return "/".join(filter(None, [self.kind, self.namespace, self.name]))

    @property
    def group_kind(self) -> tuple[str, str]:
        """Whatever the version, it is one object."""
        return self.api_version.rpartition("/")[0], self.kind

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(filter(None, [self.namespace, self.name]))}"


def marked(manifest: Manifest, cluster: str) -> dict[str, Any]:
    """The same with our mark on it."""
    metadata = dict(manifest.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: MANAGER}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: cluster}
    return {**manifest, "metadata": metadata}


def hash_purpose(cluster: str, ref: Ref, key: str) -> str:
    """What a keyed hash of a Secret's value is of: the same value elsewhere has another one."""
    return f"kubernetes/{cluster}/{ref.namespace}/{ref.name}/{key}"


def owner_of(found: Manifest) -> str:
    """Whose an object is: the cluster in our mark; "" if nobody of ours made it, or the mark was taken off."""
    metadata = found.get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(ANNOTATION, ""))


def is_ours(found: Manifest, cluster: str) -> bool:
    """Whether our mark is on it, or was until somebody took it off: the API knows who applied it."""
    applied = any(
        entry.get("manager") == MANAGER and entry.get("operation") == "Apply"
        for entry in (found.get("metadata") or {}).get("managedFields") or ()
    )
    return owner_of(found) == cluster or (applied and not owner_of(found))


def is_made_by_another(found: Manifest) -> bool:
    """Whether it came of another object, which its labels may have been copied from."""
    metadata = found.get("metadata") or {}
    copied = found.get("kind") in ("Endpoints", "EndpointSlice", "Event")
    return copied or bool(metadata.get("ownerReferences"))


def normal(found: Manifest) -> dict[str, Any]:
    """What somebody wants of an object, without what the server keeps for itself."""
    wanted = {key: deepcopy(value) for key, value in found.items() if key != "status"}
    wanted["metadata"] = {k: v for k, v in wanted.get("metadata", {}).items() if k not in _OF_THE_SERVER}
    return wanted


def without_mark(found: Manifest) -> dict[str, Any]:
    """The same without our mark, and without folders of labels that only it was in."""
    metadata = dict(found.get("metadata") or {})
    for folder, key in (("labels", LABEL), ("annotations", ANNOTATION)):
        left = {name: value for name, value in (metadata.get(folder) or {}).items() if name != key}
        metadata = {**metadata, folder: left} if left else {k: v for k, v in metadata.items() if k != folder}
    return {**found, "metadata": metadata}


@dataclass(frozen=True)
class Difference:
    """One value of an object; None is absent."""

    path: str
    old: str | None
    new: str | None


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """Every value that differs, by path: `.spec.replicas`, `.spec.containers[name="web"].image`."""
    if old == new:
        return
    before, after = _parts(old), _parts(new)
    if (before is None and old is not None) or (after is None and new is not None) or before == after:
        yield Difference(path, _text(old), _text(new))
        return
    for key in sorted({*(before or {}), *(after or {})}):
        yield from differences((before or {}).get(key), (after or {}).get(key), path + key)


def _parts(value: Any) -> dict[str, Any] | None:
    """What a value is made of, by the last part of the path; None if it is not made of anything."""
    if isinstance(value, Mapping) and value:
        return {f".{key}": one for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        names = [one.get("name") if isinstance(one, Mapping) else None for one in value]
        named = None not in names and len(set(names)) == len(names)
        return {f"[name={json.dumps(names[n])}]" if named else f"[{n}]": one for n, one in enumerate(value)}
    return None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)
