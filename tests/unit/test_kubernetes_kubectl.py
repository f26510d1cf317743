"""What people do with a real kubectl: the plan names exactly that and who did it, an apply undoes it, once."""

from __future__ import annotations

import pytest

from tests.unit.kube_objects import applied, diffs, job, new_space, nothing, said, text, web
from tests.unit.kube_server import Endpoint, Server

WEB, TEXT, JOB = "Deployment SPACE/web", "ConfigMap SPACE/text", "CronJob SPACE/nightly"
CONTAINER = f'{WEB} .spec.template.spec.containers[name="web"]'


@pytest.fixture
def space(kube_endpoint: Endpoint, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    return new_space(kube_endpoint, f"kubectl-{request.node.callspec.id}")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("scale deployment/web --replicas=5", {f"{WEB} .spec.replicas": ("5 (set by kubectl)", "2")}),
        ("label deployment/web team=x", {f"{WEB} .metadata.labels.team": ("x (set by kubectl-label)", None)}),
        ("annotate configmap/text example.com/n=1",
         {f"{TEXT} .metadata.annotations.example.com/n": ("1 (set by kubectl-annotate)", None)}),
        ("set image deployment/web web=registry.example.com/web:9",
         {f"{CONTAINER}.image": ("registry.example.com/web:9 (set by kubectl-set)", "registry.example.com/web:1.4.2")}),
        ("patch configmap/text -p {\"data\":{\"a\":\"9\",\"z\":\"1\"}}",
         {f"{TEXT} .data.a": ("9 (set by kubectl-patch)", "1"), f"{TEXT} .data.z": ("1 (set by kubectl-patch)", None)}),
        ("label configmap/text app.kubernetes.io/managed-by-",
         {f"{TEXT} .metadata.labels.app.kubernetes.io/managed-by": (None, "unterbau")}),
        ("delete cronjob/nightly --wait=true", {JOB: "created"}),
        ("rollout restart deployment/web", {}),
        ("autoscale deployment/web --min=1 --max=3", {}),
        ("create configmap foreign --from-literal=a=1", {}),
    ],
    ids=["scale", "label", "annotate", "image", "patch", "mark", "delete", "restart", "autoscale", "create"],
)  # fmt: skip
def test_what_people_type(  # fixtures
    kube: Server, kube_endpoint: Endpoint, space: str, typed: str, found: dict[str, object]
) -> None:
    declared = [web(space), text(space), job(space)]
    assert not applied(kube_endpoint, *declared).error
    kube.kubectl("-n", space, *typed.split())
    planned = applied(kube_endpoint, *declared)
    shown = {**said(planned), **dict.fromkeys(diffs(planned), "created")}
    assert {subject.replace(space, "SPACE"): change for subject, change in shown.items()} == found
    assert not planned.error
    assert nothing(applied(kube_endpoint, *declared))


@pytest.mark.parametrize("typed", [["apply", "--server-side", "--force-conflicts", "-f"]], ids=["apply"])
def test_what_is_declared_elsewhere_is_left_there(
    kube: Server, kube_endpoint: Endpoint, space: str, typed: list[str]
) -> None:
    applied(kube_endpoint, text(space))
    file = kube.folder / "text.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\ndata: {a: '77'}\n")
    kube.kubectl("-n", space, *typed, str(file))
    assert ".data.a (set by kubectl)" in applied(kube_endpoint, text(space)).refused
    assert kube.get(f"/api/v1/namespaces/{space}/configmaps/text")["data"] == {"a": "77"}
