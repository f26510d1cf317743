"""Declared objects as tests of a Kubernetes API want them, and what an operation said of them."""

from __future__ import annotations

import re
from typing import Any

from pyinfra.api import HiddenValue

from operations import kubernetes_object, kubernetes_render, kubernetes_render_pod
from operations.kubernetes_object import Object
from tests.unit.kube_server import Endpoint, keyed_hash
from tests.unit.s3_host import Ran, ran
from unterbau.changes import AttributeChange, TextChange
from unterbau.declaration.kubernetes import (
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

CLUSTER = "demo"
IMAGE = "registry.example.com/web:1.4.2"
SECRET = "correct-horse-battery"
APPS, CORE, BATCH = "/apis/apps/v1/namespaces", "/api/v1/namespaces", "/apis/batch/v1/namespaces"


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


def new_space(endpoint: Endpoint, test: str) -> str:
    """A namespace of a test's own."""
    name = re.sub("[^a-z0-9]+", "-", test.lower())[:60].rstrip("-")
    made = applied(endpoint, kubernetes_render.namespace(KubernetesNamespace(name=name)))
    assert not made.error
    return name
