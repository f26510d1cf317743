# The lab: five machines on one host, with no way out but to Debian's packages.
from __future__ import annotations

from unterbau.declaration import (
    AppRole,
    Bucket,
    Container,
    ContainerPort,
    Flow,
    K3s,
    Kernel,
    KubernetesConfigMap,
    KubernetesCronJob,
    KubernetesDeployment,
    KubernetesNamespace,
    KubernetesNetworkPolicy,
    KubernetesSecret,
    KubernetesService,
    KvEntry,
    LifecycleRule,
    Network,
    ObjectStorage,
    Operator,
    Password,
    PolicyRule,
    PostgresqlLogin,
    PostgresqlServer,
    Probe,
    S3Policy,
    S3Statement,
    S3User,
    Secret,
    SecretRef,
    ServicePort,
    StoragePool,
    TimeSync,
    VaultDatabase,
    VaultDatabaseRole,
    VaultMount,
    VaultPolicy,
    VaultServer,
    VaultStaticRole,
    Volume,
    public_key_file,
)

network = Network(cidr="10.77.0.0/24", domain="lab.internal", controllers=("10.77.0.1/32",))

# Nothing outside to ask, and one clock for all machines, the host's, which is not theirs to set.
time_sync = TimeSync(servers=(), island="servers", control_clock=False)

# The machines share the host's kernel and can load no modules. Of the platform's other values, the lab gives each
# machine a copy of its own where they are not per network namespace, so the host's stay as they are.
kernel_modules = Kernel()

operators = (
    Operator(
        name="operator",
        authorized_keys=(
            public_key_file("/var/lib/unterbau/lab/ssh/id_ed25519.pub", made_by="run `unterbau lab cloud up`"),
        ),
    ),
)

# Two small file systems a machine, so that a full one can be tried.
vault_server = VaultServer(
    cluster_name="lab",
    audit_paths=("/mnt/audit-1/openbao/audit.log", "/mnt/audit-2/openbao/audit.log"),
)

# An application as an example: its password in KV, a database of its own, a policy for both.
secrets = (
    Secret(name="demo/api-key", kind=Password(length=40), rotate_after_days=90),
    Secret(name="postgresql/openbao", kind=Password(length=40), rotate_after_days=90),
    Secret(name="s3/backup-writer", kind=Password(length=40), rotate_after_days=90),
    Secret(name="s3/demo", kind=Password(length=40), rotate_after_days=90),
    Secret(name="s3/etcd", kind=Password(length=40), rotate_after_days=90),
)

flows_postgresql = (
    Flow(name="postgresql", source="servers", target="postgresql", protocol="tcp", ports=(5432,)),
    Flow(name="postgresql-workers", source="workers", target="postgresql", protocol="tcp", ports=(5432,)),
)

postgresql_server = PostgresqlServer(
    logins=(PostgresqlLogin(name="openbao", password=SecretRef("postgresql/openbao"), create_roles=True),),
    databases=("demo",),
    static_users=("demo_batch",),
)

vault_mounts = (
    VaultMount(path="kv", kind="kv", description="values of applications"),
    VaultMount(path="database", kind="database", description="credentials for PostgreSQL"),
)
vault_policies = (
    VaultPolicy(
        name="demo",
        paths={
            "kv/data/demo/*": ("read",),
            "kv/metadata/demo/*": ("list", "read"),
            "database/creds/demo": ("read",),
            "database/static-creds/demo-batch": ("read",),
        },
    ),
)
vault_kv = (KvEntry(mount="kv", path="demo/api", fields={"key": SecretRef("demo/api-key")}),)
vault_approles = (AppRole(name="demo", policies=("demo",)),)
vault_databases = (VaultDatabase(name="demo", host="wrk-1", database="demo", password=SecretRef("postgresql/openbao")),)
vault_database_roles = (
    VaultDatabaseRole(name="demo", connection="demo", grants=('GRANT CONNECT ON DATABASE demo TO "{{name}}"',)),
)
vault_static_roles = (VaultStaticRole(name="demo-batch", connection="demo", username="demo_batch"),)

# Every node's gateway speaks with the members, which speak among themselves; applications use the gateway of the node
# that they are on. A member that is stopped asks all gateways whether they have done with it.
flows_storage = (
    Flow(name="storage", source="all", target="storage", protocol="tcp", ports=(9000,)),
    Flow(name="storage-gateway", source="storage", target="all", protocol="tcp", ports=(9443,)),
    Flow(name="storage-pods", source="pods", target="all", protocol="tcp", ports=(9443,)),
)

# One drive on each of the five machines: any two of them may die, and all is still read and written.
object_storage = ObjectStorage(pools=(StoragePool(nodes="storage", drives=("/mnt/drive-1",)),), parity=2, survives=2)

# What is backed up stays for the days of its lock, whoever has the writer's key.
buckets = (
    Bucket(
        name="backups",
        versioning=True,
        lock_days=1,  # no lab keeps for a month what a test wrote
        lock_mode="COMPLIANCE",
        lifecycle=(LifecycleRule(name="past-the-lock", expire_noncurrent_days=60),),
        writers=("backup-writer",),
    ),
    Bucket(name="demo", quota_gib=1, tags={"team": "demo"}),
    # K3s deletes its snapshots in turn; whoever has its key deletes no version.
    Bucket(name="etcd", versioning=True, lifecycle=(LifecycleRule(name="deleted", expire_noncurrent_days=30),)),
)
s3_policies = (
    S3Policy(name="backup-writer", appends_to=("backups",)),
    S3Policy(
        name="demo",
        statements=(S3Statement(actions=("s3:*",), resources=("demo", "demo/*")),),
    ),
    S3Policy(
        name="etcd",
        statements=(
            S3Statement(actions=("s3:GetBucketLocation", "s3:ListBucket"), resources=("etcd",)),
            S3Statement(actions=("s3:DeleteObject", "s3:GetObject", "s3:PutObject"), resources=("etcd/*",)),
        ),
    ),
)
s3_users = (
    S3User(name="backup-writer", secret=SecretRef("s3/backup-writer"), policies=("backup-writer",)),
    S3User(name="demo", secret=SecretRef("s3/demo"), policies=("demo",)),
    S3User(name="etcd", secret=SecretRef("s3/etcd"), policies=("etcd",)),
)

# What stands in for K3s here brings no container runtime: Debian's, and images without a registry (docs/lab.md).
k3s = K3s(
    name="lab",
    flannel_backend="host-gw",  # the machines are on one bridge
    disable=("coredns", "local-storage", "metrics-server", "servicelb", "traefik"),
    packages=("containerd", "runc", "containernetworking-plugins", "iptables", "ipset", "socat"),
    images=("lab-images",),
    snapshot_bucket="etcd",
    snapshot_user="etcd",
    reboots_when_required=True,
)

# An application as an example: a page that two pods serve, and a job that reads it with a key of its own.
_image = "unterbau.lab/tools:1"
_page = Volume(path="/page", config_map="page")

kubernetes_namespaces = (KubernetesNamespace(name="demo"),)
kubernetes_config_maps = (KubernetesConfigMap(name="page", namespace="demo", data={"index.html": "It works.\n"}),)
kubernetes_secrets = (KubernetesSecret(name="api", namespace="demo", fields={"KEY": SecretRef("demo/api-key")}),)
kubernetes_deployments = (
    KubernetesDeployment(
        name="web",
        namespace="demo",
        replicas=2,
        max_unavailable=1,
        containers=(
            Container(
                name="web",
                image=_image,
                command=("sh", "-c", "trap 'sleep 2; exit 0' TERM; httpd -f -p 8080 -h /page & wait"),
                memory_request_mib=8,
                memory_limit_mib=32,
                ports=(ContainerPort(name="http", port=8080),),
                volumes=(_page,),
                readiness=Probe(port="http", path="/index.html"),
            ),
        ),
    ),
)
kubernetes_services = (
    KubernetesService(name="web", namespace="demo", deployment="web", ports=(ServicePort(name="http", port=80),)),
)
# From the nodes: with their own addresses, and from the pods' bridges on them.
kubernetes_network_policies = (
    KubernetesNetworkPolicy(
        name="nodes", namespace="demo", ingress=(PolicyRule(cidr="10.77.0.0/24"), PolicyRule(cidr="10.42.0.0/16"))
    ),
)
kubernetes_cron_jobs = (
    KubernetesCronJob(
        name="report",
        namespace="demo",
        schedule="17 * * * *",
        containers=(
            Container(
                name="report",
                image=_image,
                command=("sh", "-c", 'cat /page/index.html; printf %s "$KEY" | wc -c'),
                memory_request_mib=8,
                memory_limit_mib=32,
                env_from_secrets=("api",),
                volumes=(_page,),
            ),
        ),
    ),
)
