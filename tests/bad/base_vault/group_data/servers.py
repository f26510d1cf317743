from __future__ import annotations

from unterbau.declaration import (
    AppRole,
    CertificateAuthority,
    KubernetesAuth,
    KubernetesRole,
    KvEntry,
    Password,
    Pki,
    PostgresqlLogin,
    PostgresqlServer,
    RandomKey,
    Secret,
    SecretRef,
    VaultDatabase,
    VaultDatabaseRole,
    VaultMount,
    VaultPolicy,
    VaultServer,
    VaultStaticRole,
)

pki = Pki()
secrets_platform = (
    Secret(name="pki/root", kind=CertificateAuthority(common_name="demo root"), rotate_after_days=1825),
    Secret(name="vault/deployers", kind=CertificateAuthority(common_name="demo deployers")),
    Secret(name="vault/seal-key", kind=RandomKey()),
)
secrets = (
    Secret(name="app/token"),
    Secret(name="app/password", kind=Password(length=40), rotate_after_days=90),
)
vault_server = VaultServer(cluster_name="demo", audit_paths=("/var/log/a/audit.log", "/srv/b/audit.log"))
vault_mounts = (
    VaultMount(path="kv", kind="kv"),
    VaultMount(path="database", kind="database"),
)
vault_policies = (VaultPolicy(name="app", paths={"kv/data/app/*": ("read",)}),)
vault_kv = (KvEntry(mount="kv", path="app/main", fields={"token": SecretRef("app/token")}),)
vault_approles = (AppRole(name="app", policies=("app",)),)
vault_kubernetes = KubernetesAuth(
    host="srv-1",
    roles=(KubernetesRole(name="app", service_accounts=("app",), namespaces=("default",), policies=("app",)),),
)
postgresql_server = PostgresqlServer(
    logins=(PostgresqlLogin(name="openbao", password=SecretRef("app/password"), create_roles=True),),
    databases=("app",),
)
vault_databases = (VaultDatabase(name="app", host="wrk-1", database="app", password=SecretRef("app/password")),)
vault_database_roles = (
    VaultDatabaseRole(name="app", connection="app", grants=('GRANT CONNECT ON DATABASE app TO "{{name}}"',)),
)
vault_static_roles = (VaultStaticRole(name="batch", connection="app", username="batch"),)
vault_deletions = ("policy/old",)
