"""Who set which field of an object, as the API keeps it in `managedFields`.

A path is a tuple of its parts: "f:replicas" a field, 'k:{"name":"web"}' an item of a list by its keys, 'v:"a"' a value
of a set, "i:0" a place in a list. Source: Kubernetes, "Server-Side Apply"; structured-merge-diff, FieldsV1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from unterbau.domain.kubernetes_object import MANAGER

Path = tuple[str, ...]

# Tools that people hold in their hands. What others set (controllers, operators, an autoscaler) they need.
# Names that client libraries have by themselves ("node-fetch", "OpenAPI-Generator") are controllers' as well.
MANUAL = ("kubectl", "k9s", "curl")
_RESERVED = ("kubernetes.io", "k8s.io", "cattle.io")  # domains of labels that controllers set
_OURS_TO_SAY = ("app.kubernetes.io", "pod-security.kubernetes.io")  # but these, which people set
_FOLDERS = ("f:labels", "f:annotations")
_FLAT = ("labels", "annotations", "data", "matchLabels", "nodeSelector")
_OF_CONTROLLERS = ("f:status", "f:finalizers", "f:ownerReferences")


def is_manual(manager: str, operation: str) -> bool:
    """Whether a person did it: `kubectl scale` or `edit`, not `kubectl apply --server-side`, which declares."""
    first = manager.partition("/")[0]
    return operation == "Update" and any(first == tool or first.startswith(f"{tool}-") for tool in MANUAL)


def paths(fields: Mapping[str, Any], before: Path = ()) -> Iterator[Path]:
    """Every path that one manager set."""
    for part, inner in fields.items():
        if part == ".":
            continue
        if not inner or "." in inner:
            yield (*before, part)
        yield from paths(inner, (*before, part))


def by_hand(managed: Iterable[Mapping[str, Any]]) -> dict[Path, str]:
    """{path: manager} of what people set and nobody declares; the whole of it, not each part of an item."""
    manual: dict[Path, str] = {}
    others: set[Path] = set()
    for entry in managed:
        own = list(paths(entry.get("fieldsV1") or {}))
        person = is_manual(entry.get("manager", ""), entry.get("operation", "")) and not entry.get("subresource")
        if person:
            manual |= dict.fromkeys(own, str(entry["manager"]))
        else:
            others |= {path[:length] for path in own for length in range(1, len(path) + 1)}
    alone = {path: who for path, who in manual.items() if path not in others and not _is_reserved(path)}
    return {path: who for path, who in alone.items() if not any(path[:n] in alone for n in range(1, len(path)))}


def _is_reserved(path: Path) -> bool:
    if any(part in _OF_CONTROLLERS for part in path):
        return True
    if path[-1] in _FOLDERS:  # what is in them counts, each by itself
        return True
    folder = path[-2] if len(path) > 1 else ""
    domain = path[-1].removeprefix("f:").partition("/")[0] if "/" in path[-1] else ""
    ours_to_say = domain in _OURS_TO_SAY
    of_controllers = any(domain == one or domain.endswith(f".{one}") for one in _RESERVED)
    return folder in _FOLDERS and of_controllers and not ours_to_say


def text(path: Path) -> str:
    """As the API names fields in its answers: `.spec.containers[name="web"].image`."""
    return "".join(_part_text(*part.split(":", 1)) for part in path)


def is_below(path: str, field: str) -> bool:
    """Whether a path is a field's, or of a part of it; keys of labels and data have dots in them, and no parts."""
    if any(f".{folder}." in field for folder in _FLAT):
        return path == field
    return path == field or path.startswith((f"{field}.", f"{field}["))


def _part_text(kind: str, rest: str) -> str:
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        return f"[{','.join(f'{key}={json.dumps(value)}' for key, value in json.loads(rest).items())}]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def removal(found: Mapping[str, Any], gone: Sequence[Path]) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """(JSON patch that takes these out of an object, the object without them); a path that is not there is left out."""
    left, patch = deepcopy(dict(found)), []
    for path in gone:
        place: list[str] = []
        inner: Any = left
        for number, part in enumerate(path):
            key = _key(inner, part)
            if key is None:
                break
            place.append(str(key).replace("~", "~0").replace("/", "~1"))
            if number == len(path) - 1:
                del inner[key]
                patch.append({"op": "remove", "path": "/" + "/".join(place)})
            else:
                inner = inner[key]
    return patch, left


def value(found: Mapping[str, Any], path: Path) -> Any:
    """What an object has at a path; None if nothing."""
    inner: Any = found
    for part in path:
        key = _key(inner, part)
        if key is None:
            return None
        inner = inner[key]
    return inner


def restored(found: Mapping[str, Any], after: Mapping[str, Any], gone: Sequence[Path]) -> dict[str, Any]:
    """An object with what another one has at these paths; without what that does not have."""
    _patch, left = removal(found, [path for path in gone if value(after, path) is None])
    for path in gone:
        inner, there = value(left, path[:-1]), value(after, path)
        key = _key(inner, path[-1])
        if there is not None and key is not None:
            inner[key] = deepcopy(there)
    return left


def is_there(found: Mapping[str, Any], path: Path) -> bool:
    """Whether an object has something at a path."""
    return bool(removal(found, [path])[0])


def _key(inner: Any, part: str) -> Any:
    """The key or index of a part in a dict or a list; None if it is not there."""
    kind, rest = part.split(":", 1)
    if kind == "f":
        return rest if isinstance(inner, dict) and rest in inner else None
    if not isinstance(inner, list):
        return None
    wanted = json.loads(rest)
    for index, item in enumerate(inner):
        if kind == "k" and isinstance(item, dict) and all(item.get(key) == value for key, value in wanted.items()):
            return index
        if (kind == "v" and item == wanted) or (kind == "i" and index == wanted):
            return index
    return None


def manager_of(message: str) -> str:
    """Who holds a field, from the cause of a conflict: `conflict with "kubectl-edit" using apps/v1 at …`."""
    try:
        name, _end = json.JSONDecoder().raw_decode(message[message.index('"') :])
    except ValueError:
        return "somebody"
    return str(name)


def operation_of(managed: Iterable[Mapping[str, Any]], manager: str) -> str:
    """ "Update" if a manager never applied, else "Apply": then it declares what it holds."""
    found = {str(entry.get("operation")) for entry in managed if entry.get("manager") == manager}
    return "Update" if found == {"Update"} else "Apply"


def conflicts(causes: Iterable[Mapping[str, str]], managed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """[{field, manager, by_hand}] of an apply that others' fields stand in the way of."""
    found = []
    for cause in causes:
        manager = manager_of(cause.get("message", ""))
        manual = manager != MANAGER and is_manual(manager, operation_of(managed, manager))
        found.append({"field": cause.get("field", ""), "manager": manager, "by_hand": manual})
    return sorted(found, key=lambda one: (one["field"], one["manager"]))
