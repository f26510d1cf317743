"""Objects of a real Kubernetes API: made, corrected, adopted, refused, deleted; what is not ours is never touched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pyinfra.api import HiddenValue

from operations import kubernetes_object, kubernetes_render, kubernetes_render_pod, kubernetes_template
from operations import kubernetes_withdrawal as withdrawal
from operations.kubernetes_object import Object
from tests.unit.kube_server import Endpoint, Server, keyed_hash, kubernetes
from tests.unit.s3_host import Ran, ran
from unterbau.changes import AttributeChange, TextChange
from unterbau.declaration.kubernetes import (
    KubernetesManifest,
    KubernetesNamespace,
    KubernetesNetworkPolicy,
    KubernetesSecret,
    KubernetesService,
    KubernetesServiceAccount,
    PolicyPort,
    PolicyRule,
    ServicePort,
)
from unterbau.declaration.kubernetes_pod import (
    Container,
    ContainerPort,
    KubernetesCronJob,
    KubernetesDeployment,
    Probe,
    Volume,
)
from unterbau.declaration.secret import SecretRef
from unterbau.domain.kubernetes_object import Ref

CLUSTER = "demo"
IMAGE = "registry.example.com/web:1.4.2"
SECRET = "correct-horse-battery"
APPS, CORE, BATCH = "/apis/apps/v1/namespaces", "/api/v1/namespaces", "/apis/batch/v1/namespaces"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with kubernetes(tmp_path_factory.mktemp("kube")) as one:
        yield one


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Endpoint:
    return Endpoint(server)


@pytest.fixture
def space(server: Server, endpoint: Endpoint, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].rstrip("-")
    made = applied(endpoint, kubernetes_render.namespace(KubernetesNamespace(name=name)))
    assert not made.error
    return name


def applied(endpoint: Endpoint, *objects: Object, **more: Any) -> Ran:
    return ran(endpoint, kubernetes_object.applied, list(objects), cluster=CLUSTER, **more)


def web(space: str, **more: Any) -> Object:
    container = Container(
        name="web", image=IMAGE, memory_request_mib=16, memory_limit_mib=32, env={"A": "1", "B": "2"},
        ports=(ContainerPort(name="http", port=8080),), readiness=Probe(port="http", path="/ready"),
        volumes=(Volume(path="/etc/web", config_map="web"), Volume(path="/run/web", empty_mib=8)),
    )  # fmt: skip
    return next(
        kubernetes_render_pod.deployment(
            KubernetesDeployment(
                **{"name": "web", "namespace": space, "containers": (container,), "replicas": 2, **more}
            )
        )
    )


def job(space: str) -> Object:
    container = Container(name="job", image=IMAGE, memory_request_mib=16, memory_limit_mib=32, command=("true",))
    return kubernetes_render_pod.cron_job(
        KubernetesCronJob(name="nightly", namespace=space, schedule="30 2 * * *", containers=(container,))
    )


def text(space: str, **data: str) -> Object:
    return Object(kubernetes_render.manifest("v1", "ConfigMap", "text", space, data=data or {"a": "1"}))


def secret(space: str, value: str) -> Object:
    declared = KubernetesSecret(
        name="key", namespace=space, fields={"key": SecretRef("demo/key")}, open_fields={"host": "db"}
    )
    return kubernetes_render.secret(declared, CLUSTER, {"key": HiddenValue(value)}, keyed_hash)


def said(one: Ran) -> dict[str, tuple[Any, Any]]:
    return {
        change.subject: (change.old, change.new) for change in one.said.changes if isinstance(change, AttributeChange)
    }


def diffs(one: Ran) -> dict[str, str]:
    return {change.subject: change.diff for change in one.said.changes if isinstance(change, TextChange)}


def nothing(one: Ran) -> bool:
    return not (one.said.changes or one.commands or one.refused or one.error)


def everything(space: str) -> list[Object]:
    service = KubernetesService(
        name="web", namespace=space, deployment="web", ports=(ServicePort(name="http", port=80),)
    )
    policy = KubernetesNetworkPolicy(
        name="web", namespace=space, pods={"app.kubernetes.io/name": "web"},
        ingress=(PolicyRule(cidr="10.0.0.0/8", ports=(PolicyPort(port=8080),)),),
        egress=(PolicyRule(namespace="kube-system"), PolicyRule(pods={"a": "b"})),
    )  # fmt: skip
    account = KubernetesServiceAccount(name="web", namespace=space)
    return [
        *kubernetes_render.namespace_policies(KubernetesNamespace(name=space)),
        kubernetes_render.service_account(account), text(space), secret(space, SECRET),
        kubernetes_render.service(service), kubernetes_render.network_policy(policy), web(space), job(space),
    ]  # fmt: skip


def test_everything_is_made_once_and_then_as_declared(endpoint: Endpoint, space: str) -> None:
    made = applied(endpoint, *everything(space))
    assert not made.error
    assert not made.refused
    assert len(made.commands) == len(made.said.changes) == 9
    assert "image: " + IMAGE in diffs(made)[f"Deployment {space}/web"]
    assert nothing(applied(endpoint, *everything(space)))


def test_pods_are_restricted(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, *everything(space))
    exists = {"until": {".metadata.name": "default"}, "within_s": 60}
    assert endpoint.ran(f"AWAIT v1/ServiceAccount/{space}/default {json.dumps(exists)}")[0]
    for path in (f"{APPS}/{space}/deployments/web", f"{BATCH}/{space}/cronjobs/nightly"):
        spec = server.get(path)["spec"]
        template = spec.get("template") or spec["jobTemplate"]["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": template["spec"]}
        server.call("POST", f"{CORE}/{space}/pods", pod, dryRun="All")  # enforced there


def test_what_was_scaled_by_hand_comes_back_and_the_plan_names_exactly_it(
    server: Server, endpoint: Endpoint, space: str
) -> None:
    applied(endpoint, web(space))
    scale = {"spec": {"replicas": 5}}
    server.call("PATCH", f"{APPS}/{space}/deployments/web/scale", scale, manager="kubectl")
    found = applied(endpoint, web(space))
    assert said(found) == {f"Deployment {space}/web .spec.replicas": ("5 (set by kubectl)", "2")}
    assert '"force": ["kubectl .spec.replicas"]' in found.commands[0]
    assert not found.error
    assert server.get(f"{APPS}/{space}/deployments/web")["spec"]["replicas"] == 2
    assert nothing(applied(endpoint, web(space)))


def test_a_foreign_label_is_named_and_taken_off(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, web(space))
    labels = {"metadata": {"labels": {"team": "somebody"}, "annotations": {"example.com/note": "hi"}}}
    server.call("PATCH", f"{APPS}/{space}/deployments/web", labels, manager="kubectl-label")
    found = applied(endpoint, web(space))
    subject = f"Deployment {space}/web .metadata"
    assert said(found) == {
        f"{subject}.annotations.example.com/note": ("hi (set by kubectl-label)", None),
        f"{subject}.labels.team": ("somebody (set by kubectl-label)", None),
    }
    assert not found.error
    assert "team" not in server.get(f"{APPS}/{space}/deployments/web")["metadata"]["labels"]
    assert nothing(applied(endpoint, web(space)))


def test_what_was_edited_inside_comes_back(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, web(space))
    live = server.get(f"{APPS}/{space}/deployments/web")
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "other"}, {"name": "C", "value": "3"}]
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": IMAGE})
    live["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}
    server.call("PUT", f"{APPS}/{space}/deployments/web", live)
    found = applied(endpoint, web(space))
    env = f'Deployment {space}/web .spec.template.spec.containers[name="web"].env[name='
    assert said(found)[f'{env}"A"].value'] == ("other (set by kubectl-edit)", "1")
    assert said(found)[f'{env}"C"].value'] == ("3 (set by kubectl-edit)", None)
    assert said(found)[f'{env}"B"].value'] == (None, "2")
    assert not found.error
    pod = server.get(f"{APPS}/{space}/deployments/web")["spec"]["template"]
    assert [one["name"] for one in pod["spec"]["containers"]] == ["web"]
    assert [one["name"] for one in pod["spec"]["containers"][0]["env"]] == ["A", "B"]
    assert "kubectl.kubernetes.io/restartedAt" in pod["metadata"]["annotations"]  # whoever asked for a restart got it
    assert nothing(applied(endpoint, web(space)))


def test_a_cron_job_that_was_deleted_by_hand_is_made_again(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, job(space))
    server.call("DELETE", f"{BATCH}/{space}/cronjobs/nightly")
    found = applied(endpoint, job(space), text(space))
    assert set(diffs(found)) == {f"CronJob {space}/nightly", f"ConfigMap {space}/text"}
    assert server.get(f"{BATCH}/{space}/cronjobs/nightly")


def test_our_mark_that_was_taken_off_comes_back(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, text(space))
    gone = {
        "metadata": {"labels": {"app.kubernetes.io/managed-by": None}, "annotations": {"unterbau.io/cluster": None}}
    }
    server.call("PATCH", f"{CORE}/{space}/configmaps/text", gone, manager="kubectl-label")
    found = applied(endpoint, text(space))
    assert len(said(found)) == 2
    assert nothing(applied(endpoint, text(space)))


@pytest.mark.parametrize(("method", "manager"), [("PATCH", "kube-controller-manager"), ("APPLY", "argocd")])
def test_what_another_manager_set_is_shown_and_not_forced(
    server: Server, endpoint: Endpoint, space: str, method: str, manager: str
) -> None:
    applied(endpoint, web(space))
    path, scaled = f"{APPS}/{space}/deployments/web", {"spec": {"replicas": 7}}
    named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, **scaled}
    force = {"force": "true"} if method == "APPLY" else {}
    server.call(method, path, named if method == "APPLY" else scaled, manager=manager, **force)
    found = applied(endpoint, web(space))
    assert f".spec.replicas (set by {manager})" in found.refused
    assert server.get(path)["spec"]["replicas"] == 7


def test_a_field_that_another_takes_between_plan_and_apply_is_not_forced(
    server: Server, endpoint: Endpoint, space: str
) -> None:
    applied(endpoint, web(space))
    path = f"{APPS}/{space}/deployments/web"
    server.call("PATCH", path, {"spec": {"replicas": 7}}, manager="kube-controller-manager")
    body = {"object": kubernetes_object.marked(web(space).manifest, CLUSTER), "cluster": CLUSTER}
    for force in (["kubectl .spec.replicas"], []):
        done, output = endpoint.ran(f"APPLY apps/v1/Deployment/{space}/web {json.dumps({**body, 'force': force})}")
        assert not done
        assert "kube-controller-manager" in output
    assert server.get(path)["spec"]["replicas"] == 7


def test_an_equal_object_is_adopted(server: Server, endpoint: Endpoint, space: str) -> None:
    server.call("POST", f"{APPS}/{space}/deployments", dict(web(space).manifest), manager="kubectl-create")
    found = applied(endpoint, web(space))
    assert said(found) == {f"Deployment {space}/web owner": (None, "unterbau")}
    assert not found.error
    assert nothing(applied(endpoint, web(space)))


@pytest.mark.parametrize("extra", [{"a": "2"}, {"a": "1", "b": "2"}])
def test_one_that_differs_is_never_touched(
    server: Server, endpoint: Endpoint, space: str, extra: dict[str, str]
) -> None:
    server.call("POST", f"{CORE}/{space}/configmaps", dict(text(space, **extra).manifest), manager="kubectl-create")
    found = applied(endpoint, text(space))
    assert "found one that is not ours, which differs in .data." in found.refused
    assert server.get(f"{CORE}/{space}/configmaps/text")["data"] == extra


def test_what_has_the_mark_of_another_cluster_is_not_ours(server: Server, endpoint: Endpoint, space: str) -> None:
    assert not ran(endpoint, kubernetes_object.applied, [text(space)], cluster="other").error
    assert "found one of the cluster other" in applied(endpoint, text(space)).refused
    assert (
        "found one that is not ours meanwhile"
        in endpoint.ran(
            f"APPLY v1/ConfigMap/{space}/text " + json.dumps({"object": text(space).manifest, "cluster": CLUSTER})
        )[1]
    )


def test_a_secret_shows_nothing_and_its_drift_is_seen(server: Server, endpoint: Endpoint, space: str) -> None:
    made = applied(endpoint, secret(space, SECRET))
    shown = repr(made.said) + repr(made.commands)
    assert SECRET not in shown
    path = f"{CORE}/{space}/secrets/key"
    assert server.get(path)["data"]["key"] == "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"
    assert nothing(applied(endpoint, secret(space, SECRET)))
    server.call("PATCH", path, {"data": {"key": "b3RoZXI=", "added": "eA=="}}, manager="kubectl-edit")
    found = applied(endpoint, secret(space, SECRET))
    subject = f"Secret {space}/key .data."
    assert said(found) == {
        f"{subject}key": ("(sensitive value) (set by kubectl-edit)", "(sensitive value), another one"),
        f"{subject}added": ("(sensitive value) (set by kubectl-edit)", None),
    }
    assert server.get(path)["data"] == {"key": "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "host": "ZGI="}
    assert set(said(applied(endpoint, secret(space, "another")))) == {f"{subject}key"}


def test_no_command_answers_with_a_secret(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, secret(space, SECRET))
    for command in (
        f"GET v1/Secret/{space}/key", f"LIST v1/Secret/{space}", f"OURS {CLUSTER}",
        f'WITHIN {space} {{"cluster": "x"}}',
        f"COMPARE {CLUSTER} " + json.dumps([secret(space, SECRET).comparable]),
    ):  # fmt: skip
        done, output = endpoint.ran(command)
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
    endpoint: Endpoint, space: str, change: dict[str, Any], words: str
) -> None:
    found = applied(endpoint, Object({**text(space).manifest, **change}))
    assert words in found.refused
    assert not found.commands


def test_an_immutable_field_is_refused_with_what_to_do(endpoint: Endpoint, space: str) -> None:
    applied(endpoint, web(space))
    manifest = json.loads(json.dumps(web(space).manifest))
    manifest["spec"]["selector"]["matchLabels"] = {"other": "x"}
    manifest["spec"]["template"]["metadata"]["labels"] = {"other": "x"}
    assert (
        "this field never changes: declare the object under another name" in applied(endpoint, Object(manifest)).refused
    )


def test_admission_is_asked_in_the_plan(endpoint: Endpoint, space: str) -> None:
    spec = {"containers": [{"name": "it", "image": IMAGE, "securityContext": {"privileged": True}}]}
    pod = Object(kubernetes_render.manifest("v1", "Pod", "it", space, spec=spec))
    assert 'violates PodSecurity "restricted' in applied(endpoint, pod).refused


def test_objects_in_a_namespace_of_the_same_plan_are_known_to_come(endpoint: Endpoint) -> None:
    found = ran(endpoint, kubernetes_object.applied, [text("later")], cluster=CLUSTER, namespaces=["later"], until=0)
    assert not found.refused
    assert set(diffs(found)) == {"ConfigMap later/text"}


def test_a_custom_kind_and_its_objects_come_in_one_run(server: Server, endpoint: Endpoint, space: str) -> None:
    made = kubernetes_template.rendered([_things(space)])
    assert not made.problems
    found = applied(endpoint, *made.objects)
    assert not found.refused
    assert not found.error
    assert nothing(applied(endpoint, *made.objects))
    server.call("POST", f"/apis/example.com/v1/namespaces/{space}/things", _thing("foreign"))
    gone = withdrawn(endpoint, [], ["CustomResourceDefinition/things.example.com", f"Thing/{space}/one"], space)
    assert "cannot delete CustomResourceDefinition things.example.com: 1 objects that are not ours" in gone.refused


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
    kept = [ref for ref in others if space not in (ref.namespace, ref.name) and ref.kind != "CustomResourceDefinition"]
    return ran(endpoint, withdrawal.exactly, [*declared, *kept], cluster=CLUSTER, deletions=deletions)


def test_what_is_no_longer_declared_goes_if_it_is_allowed_by_name(
    server: Server, endpoint: Endpoint, space: str
) -> None:
    applied(endpoint, text(space), web(space))
    here = Ref("v1", "Namespace", "", space)
    kept = [here, text(space).ref]
    found = withdrawn(endpoint, kept, [], space)
    assert f"ours and no longer declared: Deployment/{space}/web; declare them, or name them in" in found.refused
    assert server.get(f"{APPS}/{space}/deployments/web")
    found = withdrawn(endpoint, kept, [f"Deployment/{space}/web"], space)
    assert said(found) == {f"Deployment {space}/web": ("present", None)}
    assert not found.error
    assert server.get(f"{APPS}/{space}/deployments/web") is None
    assert nothing(withdrawn(endpoint, kept, [], space))


def test_what_was_copied_or_is_not_ours_is_never_deleted(server: Server, endpoint: Endpoint, space: str) -> None:
    labels = {"app.kubernetes.io/managed-by": "unterbau"}
    foreign = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "foreign", "labels": labels}}
    server.call("POST", f"{CORE}/{space}/configmaps", foreign)
    assert nothing(withdrawn(endpoint, [Ref("v1", "Namespace", "", space)], [], space))


def test_a_namespace_goes_with_what_is_ours_and_never_with_anything_else(
    server: Server, endpoint: Endpoint, space: str
) -> None:
    applied(endpoint, text(space))
    foreign = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "foreign"}}
    server.call("POST", f"{CORE}/{space}/configmaps", foreign)
    found = withdrawn(endpoint, [], [f"Namespace/{space}"], space)
    assert "1 objects that are not ours would go with it (ConfigMap foreign)" in found.refused
    server.call("DELETE", f"{CORE}/{space}/configmaps/foreign")
    found = withdrawn(endpoint, [], [f"Namespace/{space}"], space)
    assert not found.error
    assert [command.split()[:2] for command in found.commands] == [["DELETE", f"v1/Namespace/-/{space}"]]
    assert server.get(f"{CORE}/{space}") is None


def test_an_object_that_was_replaced_meanwhile_is_not_deleted(server: Server, endpoint: Endpoint, space: str) -> None:
    applied(endpoint, text(space))
    done, output = endpoint.ran(f'DELETE v1/ConfigMap/{space}/text {{"uid": "00000000-0000-0000-0000-000000000000"}}')
    assert not done
    assert "it was changed or replaced meanwhile; plan again" in output
    assert server.get(f"{CORE}/{space}/configmaps/text")


def test_unknown_is_not_empty(server: Server) -> None:
    away = Endpoint(server)
    away.there = False
    away.connector.patience_s = lambda: 0.0  # type: ignore[method-assign]
    assert "could not be read" in applied(away, text("default")).refused
    assert "could not be read" in ran(away, withdrawal.exactly, [], cluster=CLUSTER, deletions=[]).refused
