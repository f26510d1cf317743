"""What a deletion would take along: a kind that could not be asked about is never taken for one without objects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_kubernetes_connector import made, ran

GROUP = "/apis/example.com"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com"


def kind(plural: str, name: str) -> dict[str, Any]:
    verbs = ["delete", "get", "list", "patch"]
    return {"resource": plural, "responseKind": {"kind": name}, "scope": "Namespaced", "verbs": verbs}


def listed(name: str) -> tuple[int, Any]:
    notes = {"unterbau.io/cluster": "demo"}
    metadata = {"name": name, "namespace": "a", "uid": "u", "resourceVersion": "1", "annotations": notes}
    return 200, {"items": [{"metadata": metadata}]}


def group(*versions: dict[str, Any], name: str = "example.com") -> tuple[int, Any]:
    return 200, {"items": [{"metadata": {"name": name}, "versions": list(versions)}]}


V1 = {"version": "v1", "resources": [kind("others", "Other")]}
V1ALPHA1 = {"version": "v1alpha1", "resources": [kind("others", "Other"), kind("things", "Thing")]}
EMPTY = 200, {"items": []}


def tree(apis: tuple[int, Any], **more: tuple[int, Any]) -> dict[str, tuple[int, Any]]:
    """An API with configmaps and one group more."""
    lists = {f"GET {GROUP}/v1/others": EMPTY, f"GET {GROUP}/v1/namespaces/a/others": EMPTY,
             f"GET {GROUP}/v1alpha1/things": listed("it"), f"GET {GROUP}/v1alpha1/namespaces/a/things": listed("it"),
             "GET /api/v1/configmaps": EMPTY, "GET /api/v1/namespaces/a/configmaps": EMPTY}  # fmt: skip
    return {"GET /apis": apis, **lists, **more}


@pytest.mark.parametrize(
    "command", ['WITHIN a {"cluster": "x"}', 'INSTANCES things.example.com {"cluster": "x"}', "OURS demo"]
)
def test_a_kind_that_only_a_later_version_of_its_group_has_is_seen_once(command: str) -> None:
    one, way = made()
    way.tree |= tree(group(V1, V1ALPHA1))
    done, output = ran(one, command)
    assert done, output
    assert output.count('"Thing it"' if "OURS" not in command else '"Thing"') == 1


@pytest.mark.parametrize("command", ['WITHIN a {"cluster": "x"}', 'INSTANCES things.example.com {"cluster": "x"}'])
def test_a_kind_that_came_since_the_plan_is_seen(command: str) -> None:
    one, way = made()
    way.tree |= tree(group(V1))
    assert ran(one, "OURS demo")[0]
    way.tree |= tree(group(V1, V1ALPHA1))
    assert "Thing it" in ran(one, command)[1]


@pytest.mark.parametrize("command", ['WITHIN a {"cluster": "x"}', 'INSTANCES things.example.com {"cluster": "x"}'])
@pytest.mark.parametrize("version", [{"version": "v1"}, {**V1, "freshness": "Stale"}])
def test_a_group_whose_own_server_is_away_is_unknown(command: str, version: dict[str, Any]) -> None:
    one, way = made()
    way.tree |= tree(group(version))
    done, output = ran(one, command)
    assert not done
    assert "example.com/v1" in output


def test_another_group_that_is_away_says_nothing_of_this_one() -> None:
    one, way = made()
    items = [*group(V1ALPHA1)[1]["items"], *group({"version": "v1"}, name="metrics.k8s.io")[1]["items"]]
    way.tree |= tree((200, {"items": items}))
    assert "Thing it" in ran(one, 'INSTANCES things.example.com {"cluster": "x"}')[1]
    assert ran(one, "OURS demo")[0]


@pytest.mark.parametrize("command", ['WITHIN a {"cluster": "x"}', 'INSTANCES things.example.com {"cluster": "x"}'])
@pytest.mark.parametrize("status", [404, 405])
def test_a_list_that_is_refused_is_not_empty(command: str, status: int) -> None:
    one, way = made()
    way.tree |= tree(group(V1ALPHA1))
    refused = {"message": "not now"}
    for path in ("things", "namespaces/a/things"):
        way.tree[f"GET {GROUP}/v1alpha1/{path}"] = status, refused
    assert not ran(one, command)[0]


def test_a_definition_without_a_kind_is_unknown_while_it_is_there() -> None:
    one, way = made()
    way.tree |= tree(group(V1))
    command = 'INSTANCES things.example.com {"cluster": "x"}'
    assert ran(one, command)[0]
    way.tree[f"GET {CRD}"] = 200, {"metadata": {"name": "things.example.com"}}
    done, output = ran(one, command)
    assert not done
    assert "the API has no kind of it" in output
