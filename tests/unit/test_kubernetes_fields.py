"""Whose a field is: what people set is found, what controllers need is left, and a removal is a JSON patch."""

from __future__ import annotations

from typing import Any

import pytest

from unterbau.domain.kubernetes_fields import (
    by_hand,
    conflicts,
    is_below,
    is_manual,
    manager_of,
    removal,
    restored,
    text,
)
from unterbau.domain.kubernetes_object import Difference, Ref, differences, is_ours, marked, without_mark


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


WEB = 'k:{"name":"web"}'


@pytest.mark.parametrize(
    ("managed", "found"),
    [
        ([entry("kubectl-edit", {"f:data": {".": {}, "f:x": {}}})], [".data"]),
        ([entry("kubectl-edit", {"f:data": {".": {}, "f:x": {}}}), entry("unterbau", {"f:data": {"f:y": {}}}, "Apply")],
         [".data.x"]),
        ([entry("kubectl-edit", {"f:data": {"f:x": {}}}), entry("unterbau", {"f:data": {"f:x": {}}}, "Apply")], []),
        ([entry("kubectl", {"f:data": {"f:x": {}}}, "Apply")], []),
        ([entry("kubectl", {"f:status": {"f:x": {}}})], []),
        ([entry("kubectl", {"f:spec": {"f:x": {}}}, subresource="scale")], []),
        ([entry("some-operator", {"f:data": {"f:x": {}}})], []),
        ([entry("kubectl-label", {"f:metadata": {"f:labels": {".": {}, "f:team": {}, "f:example.com/a": {},
         "f:app.kubernetes.io/part-of": {}, "f:kubernetes.io/x": {}, "f:node.k8s.io/y": {}}}})],
         [".metadata.labels.app.kubernetes.io/part-of", ".metadata.labels.example.com/a", ".metadata.labels.team"]),
        ([entry("kubectl-label", {"f:metadata": {"f:labels": {"f:pod-security.kubernetes.io/enforce-version": {}}}})],
         [".metadata.labels.pod-security.kubernetes.io/enforce-version"]),
        ([entry("kubectl-edit", {"f:metadata": {"f:finalizers": {".": {}, 'v:"x"': {}}}})], []),
        ([entry("kubectl-edit", {"f:spec": {"f:containers": {WEB: {".": {}, "f:image": {}, "f:name": {}}}}})],
         ['.spec.containers[name="web"]']),
    ],
)  # fmt: skip
def test_what_people_set_beside_what_is_declared(managed: list[dict[str, Any]], found: list[str]) -> None:
    assert sorted(map(text, by_hand(managed))) == found


@pytest.mark.parametrize(
    ("manager", "operation", "manual"),
    [
        ("kubectl", "Update", True), ("kubectl-edit", "Update", True), ("k9s/v0.5", "Update", True),
        ("kubectl", "Apply", False), ("kubectlish", "Update", False), ("kube-controller-manager", "Update", False),
        ("unterbau", "Apply", False), ("", "Update", False), ("node-fetch", "Update", False),
        ("OpenAPI-Generator", "Update", False),
    ],
)  # fmt: skip
def test_who_is_a_person(manager: str, operation: str, manual: bool) -> None:
    assert is_manual(manager, operation) is manual


def test_a_conflict_names_field_and_manager() -> None:
    managed = [entry("kubectl-edit", {}), entry("argocd", {}, "Apply"), entry("both", {}), entry("both", {}, "Apply")]
    causes = [
        {"field": ".b", "message": 'conflict with "kubectl-edit" using apps/v1 at 2026-11-22T00:00:00Z'},
        {"field": ".a", "message": 'conflict with "argocd"'},
        {"field": ".c", "message": "another form"},
    ]
    assert conflicts(causes, managed) == [
        {"field": ".a", "manager": "argocd", "by_hand": False},
        {"field": ".b", "manager": "kubectl-edit", "by_hand": True},
        {"field": ".c", "manager": "somebody", "by_hand": False},
    ]
    assert manager_of('conflict with "a \\"b\\"" using v1') == 'a "b"'


def test_a_removal_finds_items_by_their_keys_and_leaves_the_rest() -> None:
    found = {"a": {"b/c~d": 1}, "l": [{"name": "x"}, {"name": "y", "v": 1}, {"name": "z"}], "s": ["p", "q"]}
    gone = [("f:a", "f:b/c~d"), ("f:l", 'k:{"name":"x"}'), ("f:l", 'k:{"name":"y"}', "f:v"), ("f:s", 'v:"q"'),
            ("f:l", "i:1"), ("f:nothing",), ("f:l", 'k:{"name":"gone"}')]  # fmt: skip
    patch, left = removal(found, gone)
    assert patch == [
        {"op": "remove", "path": "/a/b~1c~0d"}, {"op": "remove", "path": "/l/0"}, {"op": "remove", "path": "/l/0/v"},
        {"op": "remove", "path": "/s/1"}, {"op": "remove", "path": "/l/1"},
    ]  # fmt: skip
    assert left == {"a": {}, "l": [{"name": "y"}], "s": ["p"]}
    assert len(found["l"]) == 3


def test_a_default_that_comes_back_is_restored() -> None:
    found = {"spec": {"type": "Recreate", "added": 1, "items": [{"name": "x", "v": 2}, {"name": "y"}]}}
    after = {"spec": {"type": "RollingUpdate", "items": [{"name": "x", "v": 1}]}}
    gone = [("f:spec", "f:type"), ("f:spec", "f:added"), ("f:spec", "f:items", 'k:{"name":"x"}', "f:v"),
            ("f:spec", "f:items", 'k:{"name":"y"}'), ("f:no", "f:where")]  # fmt: skip
    assert restored(found, after, gone) == after
    assert found["spec"]["type"] == "Recreate"


def test_differences_name_items_of_lists_by_name_and_show_leaves() -> None:
    old = {"a": [{"name": "x", "v": 1}], "b": [1, 2], "c": {"d": "e"}, "same": {"f": []}, "kind": "text"}
    new = {"a": [{"name": "x", "v": 2}, {"name": "y"}], "b": [1], "same": {"f": []}, "kind": ["text"]}
    assert list(differences(old, new)) == [
        Difference('.a[name="x"].v', "1", "2"),
        Difference('.a[name="y"].name', None, "y"),
        Difference(".b[1]", "2", None),
        Difference(".c.d", "e", None),
        Difference(".kind", "text", '["text"]'),
    ]


@pytest.mark.parametrize(
    ("path", "field", "below"),
    [
        (".metadata.labels.app", ".metadata.labels.app", True),
        (".metadata.labels.app2", ".metadata.labels.app", False),
        (".metadata.labels.app/x", ".metadata.labels.app", False), (".spec.a.b", ".spec.a", True),
        (".metadata.labels.app.kubernetes.io/name", ".metadata.labels.app", False), (".data.a", ".data", True),
        ('.spec.c[name="x"].b', ".spec.c", True), ('.spec.c[name="x"].b', '.spec.c[name="x"]', True),
    ],
)  # fmt: skip
def test_a_field_is_below_another_by_its_parts(path: str, field: str, below: bool) -> None:
    assert is_below(path, field) is below


@pytest.mark.parametrize(
    "path", ["v1/Pod/a", "v1/Pod/a/b/c/d", "v1/Pod/../x", "v1/Pod/a/x y", "v1//a/b", "v1/Pod/a/-x", ""]
)
def test_a_path_that_names_no_object_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="which no object has"):
        Ref.parse(path)


@pytest.mark.parametrize(
    "path", ["v1/Pod/a/b", "apps/v1/Deployment/a/b", "v1/Namespace/-/a", "r.k8s.io/v1/ClusterRole/-/system:x"]
)
def test_a_path_is_the_object_it_names(path: str) -> None:
    assert Ref.parse(path).path == path


def test_the_mark_is_the_label_the_cluster_and_who_applied() -> None:
    plain = {"metadata": {"name": "x", "labels": {"a": "b"}}}
    one = marked(plain, "demo")
    assert is_ours(one, "demo")
    assert not is_ours(one, "other")
    assert without_mark(one) == plain
    applied = {"metadata": {"managedFields": [entry("unterbau", {}, "Apply")]}}
    assert is_ours(applied, "demo")
    assert not is_ours({"metadata": {"managedFields": [entry("unterbau", {})]}}, "demo")
