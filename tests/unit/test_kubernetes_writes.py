"""Deletions: what is on its way out already is awaited, however it came there, and what holds it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.test_kubernetes_connector import FOUND, Way, made, ran
from unterbau.connectors import kubernetes_writes
from unterbau.connectors.kubernetes import KubernetesConnector

PATH = "/api/v1/namespaces/a/configmaps/x"
DELETE = "DELETE v1/ConfigMap/a/x " + json.dumps({"uid": "u", "resource_version": "1", "within_s": 0})
GOING = {"uid": "u", "resourceVersion": "2", "deletionTimestamp": "2026-11-23T00:00:00Z"}


def having(metadata: dict[str, Any] | None, **more: Any) -> tuple[KubernetesConnector, Way]:
    """One object, whose deletion conflicts."""
    one, way = made()
    way.tree[f"DELETE {PATH}"] = 409, {"message": "the object has been modified"}
    found = {**FOUND, "metadata": {**FOUND["metadata"], **(metadata or {})}, **more}  # type: ignore[dict-item]
    way.tree[f"GET {PATH}"] = (200, found) if metadata else (404, {"message": "not found"})
    return one, way


def test_one_that_goes_already_is_awaited() -> None:
    one, _way = having(GOING)
    done, output = ran(one, DELETE)
    assert not done
    assert "ConfigMap a/x is being deleted for" in output


def test_one_that_is_gone_is_done() -> None:
    assert ran(having(None)[0], DELETE) == (True, "{}")


@pytest.mark.parametrize("metadata", [{"uid": "u", "resourceVersion": "2"}, {**GOING, "uid": "another"}])
def test_another_one_and_one_that_was_changed_are_refused(metadata: dict[str, Any]) -> None:
    done, output = ran(having(metadata)[0], DELETE)
    assert not done
    assert "it was changed or replaced meanwhile; plan again" in output


def test_one_that_goes_is_awaited_without_a_deletion() -> None:
    one, way = having(GOING)
    done, output = ran(one, 'GONE v1/ConfigMap/a/x {"uid": "u", "within_s": 0}')
    assert not done
    assert "is being deleted for" in output
    assert not any(asked.startswith("DELETE") for asked in way.asked)
    assert ran(having(None)[0], 'GONE v1/ConfigMap/a/x {"uid": "u"}') == (True, "{}")


def test_what_holds_a_namespace_is_told() -> None:
    remains = {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 resource instances"}
    fine = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all is well"}
    found = {"kind": "Namespace", "metadata": GOING, "spec": {"finalizers": ["kubernetes"]},
             "status": {"conditions": [remains, fine]}}  # fmt: skip
    told = kubernetes_writes.held_by(found)
    assert "kubernetes" in told
    assert "NamespaceContentRemaining: pods. has 1 resource instances" in told
    assert "all is well" not in told
    assert kubernetes_writes.held_by(FOUND) == "nothing that it names"


def test_pods_get_the_time_that_they_have_to_end() -> None:
    pod = {"spec": {"terminationGracePeriodSeconds": 900}}
    assert kubernetes_writes.grace_s(pod) == 900
    assert kubernetes_writes.grace_s({"spec": {"template": pod}}) == 900
    assert kubernetes_writes.grace_s({"spec": {"jobTemplate": {"spec": {"template": pod}}}}) == 900
    assert kubernetes_writes.grace_s(FOUND) == 0


@pytest.mark.parametrize(("version", "tries"), [("2", 5), ("1", 1)])
def test_a_removal_that_is_refused_is_tried_again_if_the_object_changed(
    monkeypatch: pytest.MonkeyPatch, version: str, tries: int
) -> None:
    monkeypatch.setattr(kubernetes_writes, "LOOK_AGAIN_S", 0)
    fields = {"f:data": {".": {}, "f:b": {}}}
    entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields}
    one, way = having({"uid": "u", "resourceVersion": "1", "managedFields": [entry]}, data={"b": "1"})
    way.tree[f"PATCH {PATH}"] = 422, {"message": "the server rejected our request"}
    versions = iter(range(2, 100))
    found = way.tree[f"GET {PATH}"][1]
    objects = one.objects
    monkeypatch.setattr(
        objects,
        "get",
        lambda _ref: {
            **found,
            "metadata": {**found["metadata"], "resourceVersion": str(next(versions)) if version == "2" else "1"},
        },
    )
    done, output = ran(one, 'STRIP v1/ConfigMap/a/x {"fields": [".data"]}')
    assert not done
    assert ("it was changed 5 times meanwhile" in output) is (version == "2")
    assert sum(asked.startswith("PATCH") for asked in way.asked) == tries
