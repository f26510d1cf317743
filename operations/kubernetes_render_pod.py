"""From declarations to objects that make pods. Every pod is as Pod Security's profile "restricted" wants it.

Source: Kubernetes, "Pod Security Standards", restricted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from operations.kubernetes_object import Object
from operations.kubernetes_render import manifest, present
from unterbau.declaration.kubernetes import CRON_JOB, NAME
from unterbau.declaration.kubernetes_pod import Container, KubernetesCronJob, KubernetesDeployment, Probe, Volume

HOSTNAME = "kubernetes.io/hostname"


def deployment(one: KubernetesDeployment) -> Iterator[Object]:
    """The pods, and how many of them a drain may take."""
    selector = {"matchLabels": {NAME: one.name}}
    spread = {
        "maxSkew": 1, "topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector,
    }  # fmt: skip
    pod = {
        **_pod(one),
        **present(topologySpreadConstraints=[spread] if one.spread else None),
        "terminationGracePeriodSeconds": one.termination_grace_s,
    }
    template = {"metadata": {"labels": {**one.labels, NAME: one.name}}, "spec": pod}
    spec = {"replicas": one.replicas, "selector": selector, "template": template}
    yield Object(manifest("apps/v1", "Deployment", one.name, one.namespace, spec=spec))
    if one.max_unavailable is not None:
        budget = {
            "maxUnavailable": one.max_unavailable,
            "selector": selector,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",  # a pod that does not run holds up no drain
        }
        yield Object(manifest("policy/v1", "PodDisruptionBudget", one.name, one.namespace, spec=budget))


def cron_job(one: KubernetesCronJob) -> Object:
    """A failed run is tried again as a new pod: the log of the failed one stays."""
    template = {"metadata": {"labels": {CRON_JOB: one.name}}, "spec": {**_pod(one), "restartPolicy": "Never"}}
    job = present(
        backoffLimit=one.backoff_limit,
        activeDeadlineSeconds=one.active_deadline_s,
        ttlSecondsAfterFinished=one.ttl_after_finished_s,
        template=template,
    )
    spec = {
        "schedule": one.schedule,
        "timeZone": one.time_zone,
        "concurrencyPolicy": one.concurrency_policy,
        "startingDeadlineSeconds": one.starting_deadline_s,
        "successfulJobsHistoryLimit": one.successful_history,
        "failedJobsHistoryLimit": one.failed_history,
        "suspend": one.suspend,
        "jobTemplate": {"spec": job},
    }
    return Object(manifest("batch/v1", "CronJob", one.name, one.namespace, spec=spec))


def _pod(one: KubernetesDeployment | KubernetesCronJob) -> dict[str, Any]:
    volumes = [volume for container in one.containers for volume in _volumes(container)]
    return present(
        automountServiceAccountToken=one.service_account is not None,
        serviceAccountName=one.service_account,
        enableServiceLinks=False,
        nodeSelector=dict(one.node_selector) or None,
        tolerations=[{"key": key, "operator": "Exists"} for key in one.tolerates] or None,
        securityContext={
            "runAsNonRoot": True,
            "runAsUser": one.user_id,
            "runAsGroup": one.user_id,
            "fsGroup": one.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        containers=[_container(container) for container in one.containers],
        volumes=volumes or None,
    )


def _container(one: Container) -> dict[str, Any]:
    return present(
        name=one.name,
        image=one.image,
        command=list(one.command) or None,
        args=list(one.args) or None,
        env=[{"name": name, "value": text} for name, text in sorted(one.env.items())] or None,
        envFrom=[{"secretRef": {"name": name}} for name in one.env_from_secrets] or None,
        ports=[{"name": p.name, "containerPort": p.port, "protocol": p.protocol} for p in one.ports] or None,
        readinessProbe=_probe(one.readiness),
        livenessProbe=_probe(one.liveness),
        resources=_resources(one),
        securityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        volumeMounts=_mounts(one.name, one.volumes) or None,
    )


def _resources(one: Container) -> dict[str, Any]:
    limit = one.cpu_limit_millicores
    return {
        "requests": {"cpu": f"{one.cpu_request_millicores}m", "memory": f"{one.memory_request_mib}Mi"},
        "limits": present(cpu=f"{limit}m" if limit else None, memory=f"{one.memory_limit_mib}Mi"),
    }


def _probe(one: Probe | None) -> dict[str, Any] | None:
    if one is None:
        return None
    way = {"exec": {"command": list(one.command)}} if one.command else {"httpGet": {"path": one.path, "port": one.port}}
    return {**way, "periodSeconds": one.period_s, "timeoutSeconds": one.timeout_s, "failureThreshold": one.failures}


def _volume_name(container: str, number: int) -> str:
    return f"{container[:50].rstrip('-')}-{number}"


def _mounts(container: str, volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    return [
        {
            "name": _volume_name(container, number),
            "mountPath": one.path,
            **({} if one.empty_mib else {"readOnly": True}),
        }
        for number, one in enumerate(volumes)
    ]


def _volumes(container: Container) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(container.volumes):
        yield {
            "name": _volume_name(container.name, number),
            **present(
                configMap={"name": one.config_map} if one.config_map else None,
                secret={"secretName": one.secret} if one.secret else None,
                emptyDir={"sizeLimit": f"{one.empty_mib}Mi"} if one.empty_mib else None,
            ),
        }
