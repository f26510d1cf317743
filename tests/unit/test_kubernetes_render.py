"""What declarations become: what is declared is in the object, and pods of different kinds are told apart."""

from __future__ import annotations

from operations import kubernetes_render, kubernetes_render_pod
from unterbau.declaration.kubernetes import KubernetesNamespace, KubernetesService, ServicePort
from unterbau.declaration.kubernetes_pod import Container, KubernetesCronJob, KubernetesDeployment

CONTAINER = Container(name="it", image="registry.example.com/it:1", memory_request_mib=8, memory_limit_mib=16)


def deployment(tolerates: tuple[str, ...] = ()) -> KubernetesDeployment:
    return KubernetesDeployment(
        name="it", namespace="a", containers=(CONTAINER,), max_unavailable=1, tolerates=tolerates
    )


def job(tolerates: tuple[str, ...] = ()) -> KubernetesCronJob:
    return KubernetesCronJob(
        name="it", namespace="a", schedule="0 3 * * *", containers=(CONTAINER,), tolerates=tolerates
    )


def test_pods_tolerate_what_is_declared() -> None:
    expected = [{"key": "example.com/batch", "operator": "Exists"}]
    made, _budget = kubernetes_render_pod.deployment(deployment(("example.com/batch",)))
    assert made.manifest["spec"]["template"]["spec"]["tolerations"] == expected
    cron = kubernetes_render_pod.cron_job(job(("example.com/batch",))).manifest
    assert cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["tolerations"] == expected
    without, _budget = kubernetes_render_pod.deployment(deployment())
    assert "tolerations" not in without.manifest["spec"]["template"]["spec"]


def test_neither_service_nor_budget_selects_pods_of_a_cron_job_of_the_same_name() -> None:
    cron = kubernetes_render_pod.cron_job(job()).manifest
    labels = cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    _made, budget = kubernetes_render_pod.deployment(deployment())
    ports = (ServicePort(name="http", port=80),)
    service = kubernetes_render.service(KubernetesService(name="it", namespace="a", deployment="it", ports=ports))
    for selector in (budget.manifest["spec"]["selector"]["matchLabels"], service.manifest["spec"]["selector"]):
        assert not selector.items() <= labels.items()
    assert labels


def test_pod_security_is_that_of_the_version_that_runs() -> None:
    labels = kubernetes_render.namespace(KubernetesNamespace(name="a")).manifest["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"] == "latest"
