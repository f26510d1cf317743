"""OpenBao: its servers, and everything that is kept in it. Values never stand here, only names of secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import DomainName, HostName, Many, Slug, Some, different, matching
from unterbau.declaration.secret import Ref, SecretName

OURS = ("deploy", "snapshot", "unterbau")  # policies and mounts that the platform itself lives by

NodePath = Annotated[str, matching(r"(/[A-Za-z0-9._-]+)+", "an absolute path on the node, of letters, digits, '._-'")]
MountPath = Annotated[
    str, matching(r"[a-z][a-z0-9-]*(/[a-z0-9-]+)*", "a mount's path: a-z, 0-9, '-' and '/', without '/' at either end")
]
EntryPath = Annotated[
    str, matching(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", "a path of letters, digits, '._-', with '/' between")
]
PolicyPath = Annotated[str, matching(r"[A-Za-z0-9._+*{}/-]+", "a path of the API such as kv/data/app/*")]
FieldName = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", "a field's name: letters, digits, '_.-'")]
Identifier = Annotated[
    str, matching(r"[a-z_][a-z0-9_]{0,62}", "a PostgreSQL name: a-z, 0-9 and '_', 63 at most, no digit first")
]
Capability = Literal["create", "read", "update", "patch", "delete", "list", "scan", "sudo", "deny"]
MountKind = Literal["kv", "database", "transit"]
Statement = Annotated[str, matching(r"[^;\x00-\x1f]+", "one SQL statement on one line, without ';'")]


class VaultServer(Declaration):
    """The OpenBao servers: how they are sealed, who may deploy, where they audit."""

    cluster_name: Slug = Field(description="the cluster's name")
    audit_paths: Annotated[Some[NodePath], AfterValidator(different)] = Field(
        description="two or more files, on different file systems: when one is full, another still writes"
    )
    seal_key: SecretName = Field("vault/seal-key", description="the secret that unseals the servers")
    deployers: SecretName = Field("vault/deployers", description="the authority that signs a run's login")
    snapshot_every_hours: int = Field(6, ge=1, le=168, description="how often the leader takes a snapshot")
    snapshots_kept: int = Field(28, ge=1, le=1000, description="snapshots kept on each server")

    @model_validator(mode="after")
    def _two_audit_devices(self) -> VaultServer:
        """A single device that cannot write stops every request. Source: OpenBao, audit devices."""
        if len(self.audit_paths) < 2:
            raise rule("audit_paths", f"{len(self.audit_paths)} path", "two or more, on different file systems")
        return self


class VaultPolicy(Declaration):
    """What a token may do. `paths` maps API paths to capabilities; what is not named is denied."""

    name: Slug = Field(description="unique; `deploy` is the platform's own")
    paths: dict[PolicyPath, Annotated[Some[Capability], AfterValidator(different)]] = Field(
        min_length=1, description="API path -> capabilities"
    )


class VaultMount(Declaration):
    """A secrets engine."""

    path: MountPath = Field(description="where it is mounted, for example kv")
    kind: MountKind = Field(description='"kv" (version 2), "database" or "transit"')
    description: str = Field("", description="shown by the API")


class KvEntry(Declaration):
    """A KV entry whose fields are secrets of the store; written when they differ, with check-and-set."""

    mount: MountPath = Field(description="a mount of the kind kv")
    path: EntryPath = Field(description="the entry's path in it")
    fields: dict[FieldName, Ref] = Field(min_length=1, description="field -> SecretRef")


class AppRole(Declaration):
    """A role for machines that log in with a role id and a short-lived secret id."""

    name: Slug = Field(description="unique")
    policies: Annotated[Some[Slug], AfterValidator(different)] = Field(description="names of policies")
    token_ttl_minutes: int = Field(60, ge=1, le=1440, description="life of a token")
    secret_id_ttl_hours: int = Field(24, ge=1, le=24, description="life of a secret id")


class KubernetesRole(Declaration):
    """Which service accounts get which policies."""

    name: Slug = Field(description="unique")
    service_accounts: Some[HostName] = Field(description="names of service accounts")
    namespaces: Some[HostName] = Field(description="namespaces they are in")
    policies: Annotated[Some[Slug], AfterValidator(different)] = Field(description="names of policies")
    token_ttl_minutes: int = Field(60, ge=1, le=1440, description="life of a token")


Role = Annotated[KubernetesRole, made_of(KubernetesRole)]


class KubernetesAuth(Declaration):
    """The auth method for pods of a Kubernetes cluster."""

    host: DomainName = Field(description="name or address of its API as the servers reach it")
    api_port: int = Field(6443, ge=1, le=65535, description="port of its API")
    ca: SecretName | None = Field(None, description="the secret with the API's CA certificate; None: the internal root")
    roles: Many[Role] = Field((), description="KubernetesRole(…), …")


class VaultDatabase(Declaration):
    """A connection of the database engine to a PostgreSQL database."""

    name: Slug = Field(description="unique")
    mount: MountPath = Field("database", description="a mount of the kind database")
    host: HostName = Field(description="the node that PostgreSQL runs on")
    port: int = Field(5432, ge=1, le=65535, description="its port")
    database: Identifier = Field(description="the database")
    username: Identifier = Field("openbao", description="whom the engine logs in as; never under a static role")
    password: Ref = Field(description="SecretRef to that user's password")


class VaultDatabaseRole(Declaration):
    """Credentials that are made on request and dropped when their lease ends."""

    name: Slug = Field(description="unique")
    connection: Slug = Field(description="a VaultDatabase")
    grants: Some[Statement] = Field(description='SQL with {{name}} for the new role: GRANT SELECT ON … TO "{{name}}"')
    ttl_minutes: int = Field(60, ge=1, le=1440, description="life of a lease")
    max_ttl_hours: int = Field(24, ge=1, le=24, description="how long it can be renewed")


class VaultStaticRole(Declaration):
    """An existing PostgreSQL user whose password OpenBao changes."""

    name: Slug = Field(description="unique")
    connection: Slug = Field(description="a VaultDatabase")
    username: Identifier = Field(description="the user; not the one of the connection, which would be locked out")
    rotate_after_days: int = Field(30, ge=1, le=365, description="period of its password")
