"""Objects without a type of ours: YAML with many documents, filled in by Jinja2.

The templates see their values and nothing else, and one that is not declared is an error. `{{ it | tojson }}` quotes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from operations.kubernetes_object import CRD, Object
from unterbau.declaration.kubernetes import KubernetesManifest
from unterbau.domain.kubernetes_object import Ref

# What others need comes first; everything else follows in the order in which it is written.
FIRST = (
    "Namespace", CRD, "PriorityClass", "StorageClass", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role",
    "RoleBinding", "ConfigMap", "PersistentVolumeClaim", "Service",
)  # fmt: skip
# What a file, a template's expressions and YAML go wrong by.
WRONG = (OSError, TemplateError, yaml.YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError,
         RuntimeError)  # fmt: skip
TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """A date is text: JSON, which the API takes, has no dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass
class Rendered:
    """The objects of all manifests, and why some have none."""

    objects: list[Object] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def rendered(manifests: Sequence[KubernetesManifest]) -> Rendered:
    """All of them, those first that others need."""
    made = Rendered()
    for one in manifests:
        try:
            made.objects += [Object(found) for found in _documents(one)]
        except WRONG as error:
            made.problems.append(
                f"cannot render the manifest {one.name}: found {' '.join(str(error).split())[:300]}; correct its "
                f"{'template' if one.template else 'text'} or values"
            )
    made.objects.sort(key=lambda one: FIRST.index(one.ref.kind) if one.ref.kind in FIRST else len(FIRST))
    return made


def _documents(one: KubernetesManifest) -> Iterator[dict[str, Any]]:
    source = Path(one.template).read_text() if one.template else one.text or ""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    text = environment.from_string(source).render(_lists(one.values))
    found = [one for one in yaml.load_all(text, Loader=_Loader) if one is not None]  # a SafeLoader
    objects = [inner for document in found for inner in _items(document)]
    if not objects:
        raise ValueError("no object in it")
    for each in objects:
        _check(each)
    yield from objects


def _check(found: dict[str, Any]) -> None:
    """ValueError with why a document is no object."""
    metadata = found.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError("metadata that is no mapping")
    for folder in ("labels", "annotations"):
        if not isinstance((metadata or {}).get(folder) or {}, dict):
            raise ValueError(f"{folder} that are no mapping")  # noqa: TRY004  # of data
    _check_keys(found)
    Ref.of(found)  # ValueError


def _check_keys(value: Any) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if odd := [key for key in (value if isinstance(value, dict) else ()) if not isinstance(key, str)]:
        raise ValueError(f"the key {odd[0]!r}, which is no text; quote it")
    for one in inner:
        _check_keys(one)


def _items(document: Any) -> list[Any]:
    if not isinstance(document, dict):
        raise ValueError(f"a document that is no object, but {type(document).__name__}")  # noqa: TRY004  # of data
    if document.get("kind") == "List":
        return [inner for one in document.get("items") or () for inner in _items(one)]
    return [document]


def _lists(value: Any) -> Any:
    """Declared tuples as the lists that YAML has."""
    if isinstance(value, dict):
        return {name: _lists(one) for name, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value
