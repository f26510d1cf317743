from __future__ import annotations

from unterbau.declaration import (
    Bucket,
    CertificateAuthority,
    Container,
    ContainerPort,
    Flow,
    K3s,
    KubernetesConfigMap,
    KubernetesCronJob,
    KubernetesDeployment,
    KubernetesManifest,
    KubernetesNamespace,
    KubernetesNetworkPolicy,
    KubernetesSecret,
    KubernetesService,
    KubernetesServiceAccount,
    NodeLabel,
    NodeTaint,
    Password,
    PolicyPort,
    PolicyRule,
    Probe,
    RegistryMirror,
    S3Policy,
    S3User,
    Secret,
    SecretRef,
    ServicePort,
    Volume,
)

secrets = (
    Secret(name="pki/root", kind=CertificateAuthority(common_name="demo root"), rotate_after_days=1825),
    Secret(name="k3s/token", kind=Password(length=48)),
    Secret(name="k3s/agent-token", kind=Password(length=48)),
    Secret(name="s3/writer", kind=Password(length=40)),
    Secret(name="app/key", kind=Password(length=40)),
)
flows_k3s = (
    Flow(name="k3s-api", source="all", target="servers", protocol="tcp", ports=(6443,)),
    Flow(name="k3s-api-pods", source="pods", target="servers", protocol="tcp", ports=(6443,)),
    Flow(name="k3s-etcd", source="servers", target="servers", protocol="tcp", ports=("2379-2380",)),
    Flow(name="k3s-kubelet", source="cluster", target="cluster", protocol="tcp", ports=(10250,)),
    Flow(name="k3s-vxlan", source="cluster", target="cluster", protocol="udp", ports=(8472,)),
)
buckets = (Bucket(name="snapshots"),)
s3_policies = (S3Policy(name="write", appends_to=("snapshots",)), S3Policy(name="other", appends_to=("other",)))
buckets_other = (Bucket(name="other"),)
s3_users = (
    S3User(name="writer", secret=SecretRef("s3/writer"), policies=("write",)),
    S3User(name="stranger", secret=SecretRef("s3/writer"), policies=("other",)),
)
k3s = K3s(
    name="demo",
    labels=(NodeLabel(nodes="workers", key="example.com/disk", value="fast"),),
    taints=(NodeTaint(nodes="workers", key="example.com/batch"),),
    registries=(RegistryMirror(registry="docker.io", endpoints=("https://mirror.example.com",)),),
    snapshot_bucket="snapshots",
    snapshot_user="writer",
)
k3s_removed = ("wrk-9",)
kubernetes_deletions = ("CronJob/team/old", "Namespace/old")
kubernetes_namespaces = (KubernetesNamespace(name="team", labels={"example.com/team": "a"}),)
kubernetes_service_accounts = (KubernetesServiceAccount(name="app", namespace="team"),)
kubernetes_config_maps = (KubernetesConfigMap(name="app", namespace="team", data={"app.conf": "debug = no\n"}),)
kubernetes_secrets = (KubernetesSecret(name="app", namespace="team", fields={"KEY": SecretRef("app/key")}),)
kubernetes_deployments = (
    KubernetesDeployment(
        name="web",
        namespace="team",
        containers=(
            Container(
                name="web",
                image="registry.example.com/team/web:1.4.2",
                memory_request_mib=32,
                memory_limit_mib=64,
                ports=(ContainerPort(name="http", port=8080),),
                volumes=(Volume(path="/etc/app", config_map="app"), Volume(path="/tmp", empty_mib=16)),
                readiness=Probe(port="http", path="/ready"),
            ),
        ),
        replicas=2,
        max_unavailable=1,
        service_account="app",
        node_selector={"example.com/disk": "fast", "kubernetes.io/os": "linux"},
        tolerates=("example.com/batch",),
    ),
)
kubernetes_services = (
    KubernetesService(name="web", namespace="team", deployment="web", ports=(ServicePort(name="http", port=80),)),
)
kubernetes_cron_jobs = (
    KubernetesCronJob(
        name="report",
        namespace="team",
        schedule="30 2 * * 1-5",
        time_zone="Europe/Berlin",
        tolerates=("example.com/batch",),
        containers=(
            Container(
                name="report",
                image="registry.example.com/team/report:2",
                env_from_secrets=("app",),
                memory_request_mib=32,
                memory_limit_mib=64,
            ),
        ),
    ),
)
kubernetes_network_policies = (
    KubernetesNetworkPolicy(
        name="web",
        namespace="team",
        ingress=(PolicyRule(namespace="kube-system", ports=(PolicyPort(port=8080),)),),
        egress=(PolicyRule(cidr="10.9.0.0/24"),),
    ),
)
kubernetes_manifests = (
    KubernetesManifest(
        name="classes",
        text="""
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: {{ value }}
""",
        values={"value": 1000},
    ),
)
