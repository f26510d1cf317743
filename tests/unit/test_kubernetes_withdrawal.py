"""What is ours and no longer declared, on a real Kubernetes API: it goes if it is allowed by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from operations import kubernetes_template
from operations import kubernetes_withdrawal as withdrawal
from tests.unit.kube_objects import APPS, CLUSTER, CORE, applied, new_space, nothing, said, text, web
from tests.unit.kube_server import Endpoint, Server
from tests.unit.s3_host import Ran, ran
from unterbau.connectors import kubernetes
from unterbau.declaration.kubernetes import (
    KubernetesManifest,
)
from unterbau.domain.kubernetes_object import Ref


@pytest.fixture
def space(kube_endpoint: Endpoint, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    return new_space(kube_endpoint, request.node.name)


def test_a_custom_kind_and_its_objects_come_in_one_run(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    made = kubernetes_template.rendered([_things(space)])
    assert not made.problems
    found = applied(kube_endpoint, *made.objects)
    assert not found.refused
    assert not found.error
    assert nothing(applied(kube_endpoint, *made.objects))
    kube.call("POST", f"/apis/example.com/v1/namespaces/{space}/things", _thing("foreign"))
    kept, allowed = [Ref("v1", "Namespace", "", space)], ["CustomResourceDefinition/things.example.com"]
    assert "ours and no longer declared: " in withdrawn(kube_endpoint, kept, allowed, space).refused
    allowed.append(f"Thing/{space}/one")
    gone = withdrawn(kube_endpoint, kept, allowed, space)
    assert "cannot delete CustomResourceDefinition things.example.com: 1 objects that are not ours" in gone.refused
    kube.call("DELETE", f"/apis/example.com/v1/namespaces/{space}/things/foreign")
    gone = withdrawn(kube_endpoint, kept, allowed, space)
    assert list(said(gone)) == [f"Thing {space}/one", "CustomResourceDefinition things.example.com"]
    assert not gone.error


def _thing(name: str) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": 3}}


def _things(space: str) -> KubernetesManifest:
    return KubernetesManifest(
        name="things", values={"space": space, "sizes": (3,)},
        text="""
{% for size in sizes %}
apiVersion: example.com/v1
kind: Thing
metadata: {name: one, namespace: {{ space | tojson }}}
spec: {size: {{ size }}}
---
{% endfor %}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
""",
    )  # fmt: skip


def withdrawn(endpoint: Endpoint, declared: list[Ref], deletions: list[str], space: str) -> Ran:
    """In this test's namespace only: what others left is declared for this once."""
    done, output = endpoint.ran(f"OURS {CLUSTER}")
    assert done
    others = [Ref(o["api_version"], o["kind"], o["namespace"], o["name"]) for o in json.loads(output)]
    kept = [ref for ref in others if space not in (ref.namespace, ref.name) and not ref.name.endswith("example.com")]
    return ran(endpoint, withdrawal.exactly, [*declared, *kept], cluster=CLUSTER, deletions=deletions)


def test_what_is_no_longer_declared_goes_if_it_is_allowed_by_name(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    applied(kube_endpoint, text(space), web(space))
    here = Ref("v1", "Namespace", "", space)
    kept = [here, text(space).ref]
    found = withdrawn(kube_endpoint, kept, [], space)
    assert f"ours and no longer declared: Deployment/{space}/web; declare them, or name them in" in found.refused
    assert kube.get(f"{APPS}/{space}/deployments/web")
    found = withdrawn(kube_endpoint, kept, [f"Deployment/{space}/web"], space)
    assert said(found) == {f"Deployment {space}/web": ("present", None)}
    assert not found.error
    assert kube.get(f"{APPS}/{space}/deployments/web") is None
    assert nothing(withdrawn(kube_endpoint, kept, [], space))


def test_what_was_copied_or_is_not_ours_is_never_deleted(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    labels = {"app.kubernetes.io/managed-by": "unterbau"}
    foreign = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "foreign", "labels": labels}}
    kube.call("POST", f"{CORE}/{space}/configmaps", foreign)
    assert nothing(withdrawn(kube_endpoint, [Ref("v1", "Namespace", "", space)], [], space))


def test_a_namespace_goes_with_what_is_ours_and_never_with_anything_else(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    applied(kube_endpoint, text(space))
    foreign = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "foreign"}}
    kube.call("POST", f"{CORE}/{space}/configmaps", foreign)
    found = withdrawn(kube_endpoint, [], [f"Namespace/{space}"], space)
    assert "1 objects that are not ours would go with it (ConfigMap foreign)" in found.refused
    kube.call("DELETE", f"{CORE}/{space}/configmaps/foreign")
    found = withdrawn(kube_endpoint, [], [f"Namespace/{space}"], space)
    assert not found.error
    assert [command.split()[:2] for command in found.commands] == [["DELETE", f"v1/Namespace/-/{space}"]]
    assert kube.get(f"{CORE}/{space}") is None


def test_one_that_was_replaced_meanwhile_is_not_deleted(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, text(space))
    done, output = kube_endpoint.ran(
        f'DELETE v1/ConfigMap/{space}/text {{"uid": "00000000-0000-0000-0000-000000000000"}}'
    )
    assert not done
    assert "it was changed or replaced meanwhile; plan again" in output
    assert kube.get(f"{CORE}/{space}/configmaps/text")


def test_a_deletion_that_a_run_left_is_awaited(
    kube: Server, kube_endpoint: Endpoint, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "DELETED_WITHIN_S", 10)
    applied(kube_endpoint, text(space))
    path = f"{CORE}/{space}/configmaps/text"
    kube.call("PATCH", path, {"metadata": {"finalizers": ["example.com/held"]}})
    kube.call("DELETE", f"{CORE}/{space}")
    found = withdrawn(kube_endpoint, [], [], space)
    assert said(found)[f"Namespace {space}"] == ("being deleted", None)
    [command] = found.commands
    assert command.startswith(f"GONE v1/Namespace/-/{space} ")
    assert f"cannot go on: Namespace {space} is being deleted for 10 s, held by kubernetes, " in found.error
    assert "NamespaceFinalizersRemaining: " in found.error
    kube.call("PATCH", path, {"metadata": {"finalizers": None}})
    withdrawn(kube_endpoint, [], [], space)
    assert kube.get(f"{CORE}/{space}") is None


def test_unknown_is_not_empty(kube: Server) -> None:
    away = Endpoint(kube)
    away.there = False
    away.connector.patience_s = lambda: 0.0  # type: ignore[method-assign]
    assert "could not be read" in applied(away, text("default")).refused
    assert "could not be read" in ran(away, withdrawal.exactly, [], cluster=CLUSTER, deletions=[]).refused
