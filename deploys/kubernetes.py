"""What a Kubernetes cluster holds: namespaces first, workloads last, and what is not declared goes. On the endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploys.etcd import snapshot_secret
from deploys.secrets import keyring
from operations import kubernetes_object, kubernetes_render, kubernetes_render_pod, kubernetes_template
from operations import kubernetes_withdrawal as withdrawal
from operations.kubernetes_object import Object
from unterbau.declaration.kubernetes import KubernetesSecret


@deploy("kubernetes")
def kubernetes() -> None:
    """On the endpoint's host."""
    cluster, manifests = _cluster(), kubernetes_template.rendered(_declared("kubernetes_manifests"))
    steps = {**_ground(), **_workloads()}
    declared = _declared("kubernetes_namespaces")
    made = [one.name for one in declared] + [one.ref.name for one in manifests.objects if one.ref.kind == "Namespace"]
    everything = [one.ref for objects in (*steps.values(), manifests.objects) for one in objects]
    again = kubernetes_object.twice(everything)  # in two steps: nothing is applied, as each would undo the other
    problems = [*again, *manifests.problems]
    for name, objects in steps.items():
        kubernetes_object.applied(objects=objects, cluster=cluster, namespaces=made, problems=again, name=name)
    kubernetes_object.applied(
        objects=manifests.objects, cluster=cluster, namespaces=made, problems=problems, name="manifests"
    )
    withdrawal.exactly(
        declared=everything,
        cluster=cluster,
        deletions=_declared("kubernetes_deletions"),
        problems=problems,
        name="no longer declared",
    )


def _ground() -> dict[str, list[Object]]:
    """{step: objects} of what workloads need."""
    render, namespaces = kubernetes_render, _declared("kubernetes_namespaces")
    return {
        "operators": list(render.operator_roles()),
        "namespaces": [render.namespace(one) for one in namespaces],
        "namespace policies": [policy for one in namespaces for policy in render.namespace_policies(one)],
        "service accounts": [render.service_account(one) for one in _declared("kubernetes_service_accounts")],
        "config maps": [render.config_map(one) for one in _declared("kubernetes_config_maps")],
        "secrets": [_secret(one) for one in _secrets()],
        "services": [render.service(one) for one in _declared("kubernetes_services")],
        "network policies": [render.network_policy(one) for one in _declared("kubernetes_network_policies")],
    }


def _workloads() -> dict[str, list[Object]]:
    render = kubernetes_render_pod
    return {
        "deployments": [each for one in _declared("kubernetes_deployments") for each in render.deployment(one)],
        "cron jobs": [render.cron_job(one) for one in _declared("kubernetes_cron_jobs")],
    }


def _secrets() -> list[KubernetesSecret]:
    """The declared ones, and what K3s takes its snapshots to S3 with."""
    cluster = host.data.get("k3s")
    snapshots = snapshot_secret(cluster) if cluster is not None else None
    return [*_declared("kubernetes_secrets"), *([snapshots] if snapshots is not None else [])]


def _secret(one: KubernetesSecret) -> Object:
    values = {field: keyring().value(ref.name) for field, ref in sorted(one.fields.items())}
    return kubernetes_render.secret(one, _cluster(), values, keyring().keyed_hash)


def _cluster() -> str:
    """The name in our mark: the cluster's, which outlives names of endpoints."""
    declared = host.data.get("k3s")
    return str(declared.name if declared is not None else host.name)


def _declared(name: str) -> Sequence[Any]:
    return host.data.get(name) or ()
