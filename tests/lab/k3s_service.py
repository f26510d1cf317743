"""A service on a K3s cluster, and pods on every node that ask it twice a second and write down what they got."""

from __future__ import annotations

from itertools import pairwise

from tests.lab.k3s import KUBECTL, Cluster

SPACE = "shop"
START_S = 20  # that a pod takes to come: if all of them went at once, it would be noticed
# Two pods, one of which may be away; and one on each node that stays where it is and asks their service all the time.
OBJECTS = f"""
from unterbau.declaration import (
    Container, ContainerPort, KubernetesDeployment, KubernetesManifest, KubernetesNamespace, KubernetesService, Probe,
    ServicePort,
)

kubernetes_namespaces = (KubernetesNamespace(name="shop", default_deny=False),)
kubernetes_deployments = (
    KubernetesDeployment(
        name="web", namespace="shop", replicas=2, max_unavailable=1, containers=(
            Container(
                name="web", image="unterbau.lab/tools:1",
                command=("sh", "-c", "trap 'sleep 3; exit 0' TERM; sleep {START_S} & wait $!; httpd -f -p 8080 & wait"),
                memory_request_mib=8, memory_limit_mib=32, ports=(ContainerPort(name="http", port=8080),),
                readiness=Probe(port="http", path="/etc/passwd", period_s=1),
            ),
        ),
    ),
)
kubernetes_services = (
    KubernetesService(
        name="web", namespace="shop", deployment="web", ports=(ServicePort(name="http", port=80),)
    ),
)
kubernetes_manifests = (KubernetesManifest(name="sampler", text='''
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: sampler
  namespace: shop
spec:
  selector:
    matchLabels:
      app: sampler
  template:
    metadata:
      labels:
        app: sampler
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      tolerations:
        - operator: Exists
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: sampler
          image: unterbau.lab/tools:1
          command:
            - sh
            - -c
            - |
              while sleep 0.5; do
                timeout 2 wget -qO /dev/null http://$WEB_SERVICE_HOST/etc/passwd 2>/dev/null && said=ok || said=no
                echo $(date +%s) $said
              done
          resources:
            requests:
              cpu: 10m
              memory: 8Mi
            limits:
              memory: 32Mi
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop: [ALL]
'''),)
"""


def available(cluster: Cluster) -> int:
    """How many pods of the Deployment answer."""
    [found] = cluster.objects("deployments", SPACE)
    return int(found["status"].get("availableReplicas", 0))


def pods(cluster: Cluster) -> set[str]:
    """Of the Deployment, by their uid."""
    return {one["metadata"]["uid"] for one in cluster.objects("pods -l app.kubernetes.io/name=web", SPACE)}


def samples(cluster: Cluster) -> dict[str, list[tuple[int, bool]]]:
    """{node: [(second, whether the service answered)]} by the pods that ask it, of their whole life."""
    found = {}
    for pod in cluster.objects("pods -l app=sampler", SPACE):
        [container] = pod["status"]["containerStatuses"]
        assert container["restartCount"] == 0  # a restart of K3s leaves pods running
        log = cluster.on("srv-1", f"{KUBECTL} -n {SPACE} logs {pod['metadata']['name']} --tail=-1").splitlines()
        found[pod["spec"]["nodeName"]] = [(int(line.split()[0]), line.endswith(" ok")) for line in log]
    return found


def during(asked: list[tuple[int, bool]], began_s: float, ended_s: float) -> list[tuple[int, bool]]:
    """Those samples that are of this time."""
    return [(second, answered) for second, answered in asked if began_s <= second <= ended_s]


def longest_silence_s(found: dict[str, list[tuple[int, bool]]], began_s: float, ended_s: float) -> int:
    """The longest time in which no node got an answer."""
    answered = {second for asked in found.values() for second, was in during(asked, began_s, ended_s) if was}
    return max(later - earlier for earlier, later in pairwise([int(began_s), *sorted(answered), int(ended_s)]))
