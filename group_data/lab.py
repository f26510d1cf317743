# The lab: five machines on one host, with no way out but to Debian's packages.
from __future__ import annotations

from unterbau.declaration import (
    AppRole,
    Bucket,
    Flow,
    Kernel,
    KvEntry,
    LifecycleRule,
    Network,
    ObjectStorage,
    Operator,
    Password,
    PostgresqlLogin,
    PostgresqlServer,
    S3Policy,
    S3Statement,
    S3User,
    Secret,
    SecretRef,
    StoragePool,
    TimeSync,
    VaultDatabase,
    VaultDatabaseRole,
    VaultMount,
    VaultPolicy,
    VaultServer,
    VaultStaticRole,
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
        authorized_keys=(public_key_file("/var/lib/unterbau/lab/ssh/id_ed25519.pub", made_by="run `unterbau lab up`"),),
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
)
s3_policies = (
    S3Policy(name="backup-writer", appends_to=("backups",)),
    S3Policy(
        name="demo",
        statements=(S3Statement(actions=("s3:*",), resources=("demo", "demo/*")),),
    ),
)
s3_users = (
    S3User(name="backup-writer", secret=SecretRef("s3/backup-writer"), policies=("backup-writer",)),
    S3User(name="demo", secret=SecretRef("s3/demo"), policies=("demo",)),
)
