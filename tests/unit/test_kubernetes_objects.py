"""Objects of a real Kubernetes API: made, corrected, adopted, refused, deleted; what is not ours is never touched."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from pyinfra.api import HiddenValue

from operations import kubernetes_object, kubernetes_render
from operations.kubernetes_object import Object
from tests.unit.kube_objects import (
    APPS,
    BATCH,
    CLUSTER,
    CORE,
    IMAGE,
    SECRET,
    applied,
    diffs,
    everything,
    job,
    new_space,
    nothing,
    said,
    secret,
    text,
    web,
)
from tests.unit.kube_server import Endpoint, Server, keyed_hash
from tests.unit.s3_host import ran
from unterbau.declaration.kubernetes import KubernetesSecret
from unterbau.declaration.secret import SecretRef


@pytest.fixture
def space(kube_endpoint: Endpoint, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    return new_space(kube_endpoint, request.node.name)


def test_everything_is_made_once_and_then_as_declared(kube_endpoint: Endpoint, space: str) -> None:
    made = applied(kube_endpoint, *everything(space))
    assert not made.error
    assert not made.refused
    assert len(made.commands) == len(made.said.changes) == 9
    assert "image: " + IMAGE in diffs(made)[f"Deployment {space}/web"]
    assert nothing(applied(kube_endpoint, *everything(space)))


def test_pods_are_restricted(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, *everything(space))
    exists = {"until": {".metadata.name": "default"}, "within_s": 60}
    assert kube_endpoint.ran(f"AWAIT v1/ServiceAccount/{space}/default {json.dumps(exists)}")[0]
    for path in (f"{APPS}/{space}/deployments/web", f"{BATCH}/{space}/cronjobs/nightly"):
        spec = kube.get(path)["spec"]
        template = spec.get("template") or spec["jobTemplate"]["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": template["spec"]}
        kube.call("POST", f"{CORE}/{space}/pods", pod, dryRun="All")  # enforced there


def test_what_was_scaled_by_hand_comes_back_and_the_plan_names_exactly_it(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    applied(kube_endpoint, web(space))
    scale = {"spec": {"replicas": 5}}
    kube.call("PATCH", f"{APPS}/{space}/deployments/web/scale", scale, manager="kubectl")
    found = applied(kube_endpoint, web(space))
    assert said(found) == {f"Deployment {space}/web .spec.replicas": ("5 (set by kubectl)", "2")}
    assert '"force": ["kubectl .spec.replicas"]' in found.commands[0]
    assert not found.error
    assert kube.get(f"{APPS}/{space}/deployments/web")["spec"]["replicas"] == 2
    assert nothing(applied(kube_endpoint, web(space)))


def test_a_foreign_label_is_named_and_taken_off(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, web(space))
    labels = {"metadata": {"labels": {"team": "somebody"}, "annotations": {"example.com/note": "hi"}}}
    kube.call("PATCH", f"{APPS}/{space}/deployments/web", labels, manager="kubectl-label")
    found = applied(kube_endpoint, web(space))
    subject = f"Deployment {space}/web .metadata"
    assert said(found) == {
        f"{subject}.annotations.example.com/note": ("hi (set by kubectl-label)", None),
        f"{subject}.labels.team": ("somebody (set by kubectl-label)", None),
    }
    assert not found.error
    assert "team" not in kube.get(f"{APPS}/{space}/deployments/web")["metadata"]["labels"]
    assert nothing(applied(kube_endpoint, web(space)))


def test_what_was_edited_inside_comes_back(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, web(space))
    live = kube.get(f"{APPS}/{space}/deployments/web")
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "other"}, {"name": "C", "value": "3"}]
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": IMAGE})
    live["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}
    kube.call("PUT", f"{APPS}/{space}/deployments/web", live)
    found = applied(kube_endpoint, web(space))
    env = f'Deployment {space}/web .spec.template.spec.containers[name="web"].env[name='
    assert said(found)[f'{env}"A"].value'] == ("other (set by kubectl-edit)", "1")
    assert said(found)[f'{env}"C"].value'] == ("3 (set by kubectl-edit)", None)
    assert said(found)[f'{env}"B"].value'] == (None, "2")
    assert not found.error
    pod = kube.get(f"{APPS}/{space}/deployments/web")["spec"]["template"]
    assert [one["name"] for one in pod["spec"]["containers"]] == ["web"]
    assert [one["name"] for one in pod["spec"]["containers"][0]["env"]] == ["A", "B"]
    assert "kubectl.kubernetes.io/restartedAt" in pod["metadata"]["annotations"]  # whoever asked for a restart got it
    assert nothing(applied(kube_endpoint, web(space)))


def test_a_cron_job_that_was_deleted_by_hand_is_made_again(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, job(space))
    kube.call("DELETE", f"{BATCH}/{space}/cronjobs/nightly")
    found = applied(kube_endpoint, job(space), text(space))
    assert set(diffs(found)) == {f"CronJob {space}/nightly", f"ConfigMap {space}/text"}
    assert kube.get(f"{BATCH}/{space}/cronjobs/nightly")


def test_our_mark_that_was_taken_off_comes_back(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, text(space))
    gone = {
        "metadata": {"labels": {"app.kubernetes.io/managed-by": None}, "annotations": {"unterbau.io/cluster": None}}
    }
    kube.call("PATCH", f"{CORE}/{space}/configmaps/text", gone, manager="kubectl-label")
    found = applied(kube_endpoint, text(space))
    assert len(said(found)) == 2
    assert nothing(applied(kube_endpoint, text(space)))


@pytest.mark.parametrize(("method", "manager"), [("PATCH", "kube-controller-manager"), ("APPLY", "argocd")])
def test_what_another_manager_set_is_shown_and_not_forced(
    kube: Server, kube_endpoint: Endpoint, space: str, method: str, manager: str
) -> None:
    applied(kube_endpoint, web(space))
    path, scaled = f"{APPS}/{space}/deployments/web", {"spec": {"replicas": 7}}
    named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, **scaled}
    force = {"force": "true"} if method == "APPLY" else {}
    kube.call(method, path, named if method == "APPLY" else scaled, manager=manager, **force)
    found = applied(kube_endpoint, web(space))
    assert f".spec.replicas (set by {manager})" in found.refused
    assert kube.get(path)["spec"]["replicas"] == 7


def test_a_field_that_another_takes_between_plan_and_apply_is_not_forced(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    applied(kube_endpoint, web(space))
    path = f"{APPS}/{space}/deployments/web"
    kube.call("PATCH", path, {"spec": {"replicas": 7}}, manager="kube-controller-manager")
    body = {"object": kubernetes_object.marked(web(space).manifest, CLUSTER), "cluster": CLUSTER}
    for force in (["kubectl .spec.replicas"], []):
        done, output = kube_endpoint.ran(f"APPLY apps/v1/Deployment/{space}/web {json.dumps({**body, 'force': force})}")
        assert not done
        assert "kube-controller-manager" in output
    assert kube.get(path)["spec"]["replicas"] == 7


def test_an_equal_object_is_adopted(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    kube.call("POST", f"{APPS}/{space}/deployments", dict(web(space).manifest), manager="kubectl-create")
    found = applied(kube_endpoint, web(space))
    assert said(found) == {f"Deployment {space}/web owner": (None, "unterbau")}
    assert not found.error
    assert nothing(applied(kube_endpoint, web(space)))


@pytest.mark.parametrize("extra", [{"a": "2"}, {"a": "1", "b": "2"}])
def test_one_that_differs_is_never_touched(
    kube: Server, kube_endpoint: Endpoint, space: str, extra: dict[str, str]
) -> None:
    kube.call("POST", f"{CORE}/{space}/configmaps", dict(text(space, **extra).manifest), manager="kubectl-create")
    found = applied(kube_endpoint, text(space))
    assert "found one that is not ours, which differs in .data." in found.refused
    assert kube.get(f"{CORE}/{space}/configmaps/text")["data"] == extra


def test_what_has_the_mark_of_another_cluster_is_not_ours(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    assert not ran(kube_endpoint, kubernetes_object.applied, [text(space)], cluster="other").error
    assert "found one of the cluster other" in applied(kube_endpoint, text(space)).refused
    assert (
        "found one that is not ours meanwhile"
        in kube_endpoint.ran(
            f"APPLY v1/ConfigMap/{space}/text " + json.dumps({"object": text(space).manifest, "cluster": CLUSTER})
        )[1]
    )


def test_a_secret_shows_nothing_and_its_drift_is_seen(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    made = applied(kube_endpoint, secret(space, SECRET))
    shown = repr(made.said) + repr(made.commands)
    assert SECRET not in shown
    path = f"{CORE}/{space}/secrets/key"
    assert kube.get(path)["data"]["key"] == "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"
    assert nothing(applied(kube_endpoint, secret(space, SECRET)))
    kube.call("PATCH", path, {"data": {"key": "b3RoZXI=", "added": "eA=="}}, manager="kubectl-edit")
    found = applied(kube_endpoint, secret(space, SECRET))
    subject = f"Secret {space}/key .data."
    assert said(found) == {
        f"{subject}key": ("(sensitive value) (set by kubectl-edit)", "(sensitive value), another one"),
        f"{subject}added": ("(sensitive value) (set by kubectl-edit)", None),
    }
    assert kube.get(path)["data"] == {"key": "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "host": "ZGI="}
    assert set(said(applied(kube_endpoint, secret(space, "another")))) == {f"{subject}key"}


def test_a_login_to_a_registry_is_made_and_rotated(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    declared = KubernetesSecret(
        name="registry", namespace=space, type="kubernetes.io/dockerconfigjson",
        fields={".dockerconfigjson": SecretRef("demo/registry")},
    )  # fmt: skip
    for value in ('{"auths": {}}', '{"auths": {"registry.example.com": {"auth": "eA=="}}}'):
        values = {".dockerconfigjson": HiddenValue(value)}
        one = kubernetes_render.secret(declared, CLUSTER, values, keyed_hash)
        found = applied(kube_endpoint, one)
        assert not found.refused
        assert not found.error
        assert nothing(applied(kube_endpoint, one))
    assert (
        "registry.example.com"
        in b64decode(kube.get(f"{CORE}/{space}/secrets/registry")["data"][".dockerconfigjson"]).decode()
    )


def test_no_command_answers_with_a_secret(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, secret(space, SECRET))
    for command in (
        f"GET v1/Secret/{space}/key", f"LIST v1/Secret/{space}", f"OURS {CLUSTER}",
        f'WITHIN {space} {{"cluster": "x"}}',
        f"COMPARE {CLUSTER} " + json.dumps([secret(space, SECRET).comparable]),
    ):  # fmt: skip
        done, output = kube_endpoint.ran(command)
        assert done, output
        assert SECRET not in output
        assert "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5" not in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"metadata": {"name": "text", "namespace": "nowhere"}},
            "found no namespace nowhere; declare a KubernetesNames",
        ),
        ({"apiVersion": "example.com/v1", "kind": "Thing"}, "the API has no kind example.com/v1/Thing"),
        (
            {"metadata": {"name": "text", "labels": {"a b": "x"}}},
            "an object of this kind has a namespace, and has none",
        ),
        ({"metadata": {"name": "../../nodes/x", "namespace": "default"}}, "'../../nodes/x', which no object has"),
        ({"metadata": {"name": "x; reboot", "namespace": "default"}}, "'x; reboot', which no object has"),
        ({"data": {"a": 1}}, "cannot apply ConfigMap"),
    ],
)
def test_what_the_api_would_refuse_is_said_in_the_plan(
    kube_endpoint: Endpoint, space: str, change: dict[str, Any], words: str
) -> None:
    found = applied(kube_endpoint, Object({**text(space).manifest, **change}))
    assert words in found.refused
    assert not found.commands


def test_an_immutable_field_is_refused_with_what_to_do(kube_endpoint: Endpoint, space: str) -> None:
    applied(kube_endpoint, web(space))
    manifest = json.loads(json.dumps(web(space).manifest))
    manifest["spec"]["selector"]["matchLabels"] = {"other": "x"}
    manifest["spec"]["template"]["metadata"]["labels"] = {"other": "x"}
    assert (
        "this field never changes: declare the object under another name"
        in applied(kube_endpoint, Object(manifest)).refused
    )


def test_admission_is_asked_in_the_plan(kube_endpoint: Endpoint, space: str) -> None:
    spec = {"containers": [{"name": "it", "image": IMAGE, "securityContext": {"privileged": True}}]}
    pod = Object(kubernetes_render.manifest("v1", "Pod", "it", space, spec=spec))
    assert 'violates PodSecurity "restricted' in applied(kube_endpoint, pod).refused


def test_objects_in_a_namespace_of_the_same_plan_are_known_to_come(kube_endpoint: Endpoint) -> None:
    found = ran(
        kube_endpoint, kubernetes_object.applied, [text("later")], cluster=CLUSTER, namespaces=["later"], until=0
    )
    assert not found.refused
    assert set(diffs(found)) == {"ConfigMap later/text"}


def test_what_people_set_over_a_default_is_named_and_comes_back(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    applied(kube_endpoint, web(space))
    path = f"{APPS}/{space}/deployments/web"
    changed = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}, "revisionHistoryLimit": 3}}
    kube.call("PATCH", path, changed, manager="kubectl-patch")
    found = applied(kube_endpoint, web(space))
    subject = f"Deployment {space}/web .spec"
    assert said(found)[f"{subject}.strategy.type"] == ("Recreate (set by kubectl-patch)", "RollingUpdate")
    assert said(found)[f"{subject}.revisionHistoryLimit"] == ("3 (set by kubectl-patch)", "10")
    assert not found.error
    assert kube.get(path)["spec"]["strategy"]["type"] == "RollingUpdate"
    assert nothing(applied(kube_endpoint, web(space)))


def test_one_that_is_not_ours_and_differs_from_a_default_is_not_equal(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    manifest = json.loads(json.dumps(web(space).manifest))
    manifest["spec"]["strategy"] = {"type": "Recreate"}
    kube.call("POST", f"{APPS}/{space}/deployments", manifest, manager="kubectl-create")
    assert "found one that is not ours, which differs in .spec.strategy" in applied(kube_endpoint, web(space)).refused


def test_a_value_that_people_made_a_reference_comes_back(kube: Server, kube_endpoint: Endpoint, space: str) -> None:
    """Theirs goes first: beside it, the API refuses ours."""
    applied(kube_endpoint, web(space))
    path = f"{APPS}/{space}/deployments/web"
    reference = {"name": "A", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    pod = {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [reference]}]}}}}
    kube.call("PATCH", path, pod, manager="kubectl-edit", content_type="application/strategic-merge-patch+json")
    found = applied(kube_endpoint, web(space))
    assert not found.refused
    assert not found.error
    assert any("valueFrom" in subject and "kubectl-edit" in str(old) for subject, (old, _new) in said(found).items())
    assert nothing(applied(kube_endpoint, web(space)))
    env = kube.get(path)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_a_probe_that_people_made_another_one_is_theirs_to_take_off(
    kube: Server, kube_endpoint: Endpoint, space: str
) -> None:
    """Without their part it is no probe: the API takes neither that nor both."""
    applied(kube_endpoint, web(space))
    probe = {"httpGet": None, "exec": {"command": ["true"]}}
    pod = {"spec": {"template": {"spec": {"containers": [{"name": "web", "readinessProbe": probe}]}}}}
    path = f"{APPS}/{space}/deployments/web"
    kube.call("PATCH", path, pod, manager="kubectl-edit", content_type="application/strategic-merge-patch+json")
    found = applied(kube_endpoint, web(space))
    assert ".readinessProbe.exec" in found.refused
    assert "(set by kubectl-edit); take them off by hand" in found.refused
    assert not found.commands
