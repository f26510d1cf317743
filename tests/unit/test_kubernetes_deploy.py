"""The layer `kubernetes` from group data to a real API, by pyinfra itself; a second run has nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyinfra
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from deploys import kubernetes as layer
from tests.unit.kube_server import Endpoint, Server, keyed_hash
from unterbau import changes
from unterbau.connectors.kubernetes import KubernetesConnector
from unterbau.declaration import (
    Container,
    KubernetesConfigMap,
    KubernetesCronJob,
    KubernetesDeployment,
    KubernetesEndpoint,
    KubernetesManifest,
    KubernetesNamespace,
    KubernetesSecret,
    SecretRef,
)
from unterbau.secrets.hidden import Hidden

VALUE = "a-value-of-the-store"
SPACE = "layer"


@pytest.fixture
def run(
    kube: Server, kube_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[str], bool]]:
    """What changed, and whether it was done."""
    monkeypatch.setattr(pyinfra, "is_cli", False)
    monkeypatch.setattr(KubernetesConnector, "_way", lambda _self: kube_endpoint)
    ring = SimpleNamespace(keyed_hash=keyed_hash, value=lambda _name: Hidden(VALUE))
    monkeypatch.setattr(KubernetesConnector, "_keyring", lambda _self: ring)
    monkeypatch.setattr(layer, "keyring", lambda: ring)

    def once(**declared: Any) -> tuple[list[str], bool]:
        endpoint = KubernetesEndpoint(name="kubernetes")
        data = {"kubernetes": endpoint, "k3s": SimpleNamespace(name="layer-test", snapshot_bucket=""), **declared}
        state = State(Inventory((["@kubernetes/kubernetes"], data), servers=([], {})), Config(), check_for_changes=True)
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        host = next(iter(state.inventory))
        try:
            add_deploy(state, layer.kubernetes)
            with ctx_state.use(state), ctx_host.use(host):
                named = [(state.op_meta[op].names, meta) for op, meta in state.ops[host].items()]
                changing = [min(names) for names, meta in named if meta.operation_meta.will_change]
            state.set_stage(StateStage.Execute)
            with suppress(PyinfraError):
                run_ops(state)
            return changing, host not in state.failed_hosts
        finally:
            disconnect_all(state)

    return once


def declared(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "role.yaml.j2").write_text(
        "kind: ClusterRole\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: {{ name | tojson }}}\n"
        "rules: [{apiGroups: [''], resources: [pods], verbs: {{ verbs | tojson }}}]\n"
    )
    container = Container(
        name="it",
        image="registry.example.com/it:1",
        memory_request_mib=8,
        memory_limit_mib=16,
        env_from_secrets=("it",),
    )
    return {
        "kubernetes_namespaces": (KubernetesNamespace(name=SPACE),),
        "kubernetes_config_maps": (KubernetesConfigMap(name="it", namespace=SPACE, data={"a": "x\ny\n"}),),
        "kubernetes_secrets": (KubernetesSecret(name="it", namespace=SPACE, fields={"key": SecretRef("it/key")}),),
        "kubernetes_deployments": (
            KubernetesDeployment(name="it", namespace=SPACE, containers=(container,), replicas=2, max_unavailable=1),
        ),
        "kubernetes_cron_jobs": (
            KubernetesCronJob(name="it", namespace=SPACE, schedule="0 3 * * *", containers=(container,)),
        ),
        "kubernetes_manifests": (
            KubernetesManifest(
                name="role",
                template=str(tmp_path / "role.yaml.j2"),
                values={"name": "layer-it", "verbs": ("get", "list")},
            ),
        ),
    }


def test_everything_comes_in_one_run_and_the_next_one_changes_nothing(
    run: Callable[..., tuple[list[str], bool]], kube: Server, tmp_path: Path
) -> None:
    data = declared(tmp_path)
    steps = ["operators", "namespaces", "namespace policies", "config maps", "secrets", "deployments", "cron jobs"]
    assert run(**data) == ([f"kubernetes | {step}" for step in (*steps, "manifests")], True)
    assert run(**data) == ([], True)
    assert kube.get(f"/apis/policy/v1/namespaces/{SPACE}/poddisruptionbudgets/it")["spec"]["maxUnavailable"] == 1
    role = kube.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/layer-it")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    kube.call("DELETE", f"/apis/batch/v1/namespaces/{SPACE}/cronjobs/it")
    assert run(**data) == (["kubernetes | cron jobs"], True)
    less = {**data, "kubernetes_cron_jobs": ()}
    changing, done = run(**less)
    assert (changing, done) == (["kubernetes | no longer declared"], False)
    assert run(**less, kubernetes_deletions=(f"CronJob/{SPACE}/it",)) == (["kubernetes | no longer declared"], True)
    assert kube.get(f"/apis/batch/v1/namespaces/{SPACE}/cronjobs/it") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: ConfigMap\napiVersion: v1\nmetadata: {name: it, namespace: layer}", "ConfigMap layer/it"),
        (
            "kind: ClusterRoleBinding\napiVersion: rbac.authorization.k8s.io/v1beta1\n"
            "metadata: {name: 'unterbau:view'}",
            "ClusterRoleBinding unterbau:view",
        ),
        ("kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {name: allow-dns, namespace: layer}",
         "NetworkPolicy layer/allow-dns"),
    ],
)  # fmt: skip
def test_an_object_that_two_declarations_make_is_changed_by_neither(
    run: Callable[..., tuple[list[str], bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: str,
) -> None:
    refused: list[str] = []
    refuse = changes.refuse
    monkeypatch.setattr(changes, "refuse", lambda sentence: refused.append(sentence) or refuse(sentence))
    again = KubernetesManifest(name="again", text=text)
    changing, done = run(**{**declared(tmp_path), "kubernetes_manifests": (again,)})
    assert not done
    assert "kubernetes | manifests" in changing
    assert "kubernetes | config maps" in changing  # it refuses, as every step does
    assert f"cannot apply {words}: found it declared twice; declare it once" in refused


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("kind: ConfigMap\nmetadata: {name: {{ nam }}}", {}, "'nam' is undefined"),
        (
            "{{ ().__class__.__base__.__subclasses__() }}",
            {},
            "access to attribute '__class__' of 'tuple' object is unsafe",
        ),
        ("{% include '/etc/passwd' %}", {}, "no loader"),
        ("a: [", {}, "cannot render the manifest it: found while parsing"),
        ("- a", {}, "a document that is no object, but list"),
        ("kind: ConfigMap", {}, "no apiVersion, kind and metadata.name"),
        ("# nothing", {}, "no object in it"),
        ("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x, labels: [a]}", {}, "labels that are no mapping"),
        ("kind: ConfigMap\napiVersion: v1\nmetadata: [x]", {}, "metadata that is no mapping"),
        ("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndata: {a: b, 1: c}", {}, "the key 1, which is no text"),
        ("!!python/object/apply:os.system ['true']", {}, "could not determine a constructor"),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: {{ n | tojson }}}",
            {"n": "x\nkind: Pod"},
            "which no object has",
        ),
    ],
)
def test_a_template_that_gives_no_objects_is_refused_and_nothing_is_deleted(
    run: Callable[..., tuple[list[str], bool]], text: str, values: dict[str, Any], words: str
) -> None:
    made = layer.kubernetes_template.rendered([KubernetesManifest(name="it", text=text, values=values)])
    assert words in made.problems[0]
    assert not made.objects
    changing, done = run(kubernetes_manifests=(KubernetesManifest(name="it", text=text, values=values),))
    assert changing[-2:] == ["kubernetes | manifests", "kubernetes | no longer declared"]
    assert not done
