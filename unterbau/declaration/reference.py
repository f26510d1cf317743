"""The tables of docs/declarations.md, from the types themselves: `python -m unterbau.declaration.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from unterbau.declaration.base import Declaration
from unterbau.declaration.cloud import (
    CloudFloatingIp,
    CloudNetwork,
    CloudPrimaryIp,
    CloudProject,
    CloudRoute,
    CloudSshKey,
    CloudSubnet,
    CloudVolume,
)
from unterbau.declaration.cloud_firewall import CloudFirewall, FirewallRule
from unterbau.declaration.cloud_load_balancer import HealthCheck, LoadBalancer, LoadBalancerService
from unterbau.declaration.cloud_pool import NodePool, PoolVolume
from unterbau.declaration.endpoint import KubernetesEndpoint, SecretStore, VaultEndpoint
from unterbau.declaration.explain import unit_of
from unterbau.declaration.flow import Flow
from unterbau.declaration.k3s import K3s, K3sDatastore, NodeLabel, NodeTaint, RegistryMirror
from unterbau.declaration.kubernetes import (
    KubernetesConfigMap,
    KubernetesManifest,
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
from unterbau.declaration.node import Network, Node
from unterbau.declaration.postgresql import PostgresqlLogin, PostgresqlServer
from unterbau.declaration.s3 import (
    Bucket,
    BucketStatement,
    CorsRule,
    LifecycleRule,
    S3Group,
    S3Policy,
    S3ServiceAccount,
    S3Statement,
    S3User,
)
from unterbau.declaration.secret import CertificateAuthority, Password, Pki, RandomKey, Secret
from unterbau.declaration.ssh import Operator, SshServer
from unterbau.declaration.storage import ObjectStorage, S3Endpoint, StoragePool
from unterbau.declaration.system import Journal, Kernel, SecurityUpgrades, TimeSync
from unterbau.declaration.vault import (
    AppRole,
    KubernetesAuth,
    KubernetesRole,
    KvEntry,
    VaultDatabase,
    VaultDatabaseRole,
    VaultMount,
    VaultPolicy,
    VaultServer,
    VaultStaticRole,
)

PAGE = Path("docs/declarations.md")
BEGIN, END = "<!-- types: begin -->\n", "<!-- types: end -->\n"
TYPES: tuple[tuple[str, type[Declaration]], ...] = (
    ("in `hosts(…)` of an inventory", Node),
    ("`network`", Network),
    ("a tuple under `flows` or `flows_…`", Flow),
    ("a tuple under `operators`", Operator),
    ("`ssh_server`", SshServer),
    ("`kernel`", Kernel),
    ("`time_sync`", TimeSync),
    ("`security_upgrades`", SecurityUpgrades),
    ("`journal`", Journal),
    ("in `endpoints(…)` of an inventory", SecretStore),
    ("a tuple under `secrets` or `secrets_…`", Secret),
    ("`kind` of a Secret", Password),
    ("`kind` of a Secret", RandomKey),
    ("`kind` of a Secret", CertificateAuthority),
    ("`pki`", Pki),
    ("in `endpoints(…)` of an inventory", VaultEndpoint),
    ("`vault_server`", VaultServer),
    ("a tuple under `vault_policies`", VaultPolicy),
    ("a tuple under `vault_mounts`", VaultMount),
    ("a tuple under `vault_kv`", KvEntry),
    ("a tuple under `vault_approles`", AppRole),
    ("`vault_kubernetes`", KubernetesAuth),
    ("`roles` of a KubernetesAuth", KubernetesRole),
    ("a tuple under `vault_databases`", VaultDatabase),
    ("a tuple under `vault_database_roles`", VaultDatabaseRole),
    ("a tuple under `vault_static_roles`", VaultStaticRole),
    ("`postgresql_server`", PostgresqlServer),
    ("`logins` of a PostgresqlServer", PostgresqlLogin),
    ("`object_storage`", ObjectStorage),
    ("`pools` of an ObjectStorage", StoragePool),
    ("in `endpoints(…)` of an inventory", S3Endpoint),
    ("a tuple under `buckets` or `buckets_…`", Bucket),
    ("`lifecycle` of a Bucket", LifecycleRule),
    ("`policy` of a Bucket", BucketStatement),
    ("`cors` of a Bucket", CorsRule),
    ("a tuple under `s3_policies`", S3Policy),
    ("`statements` of a S3Policy", S3Statement),
    ("a tuple under `s3_groups`", S3Group),
    ("a tuple under `s3_users`", S3User),
    ("a tuple under `s3_service_accounts`", S3ServiceAccount),
    ("`k3s`", K3s),
    ("`labels` of a K3s", NodeLabel),
    ("`taints` of a K3s", NodeTaint),
    ("`registries` of a K3s", RegistryMirror),
    ("`datastore` of a K3s", K3sDatastore),
    ("in `endpoints(…)` of an inventory", KubernetesEndpoint),
    ("a tuple under `kubernetes_namespaces`", KubernetesNamespace),
    ("a tuple under `kubernetes_service_accounts`", KubernetesServiceAccount),
    ("a tuple under `kubernetes_config_maps`", KubernetesConfigMap),
    ("a tuple under `kubernetes_secrets`", KubernetesSecret),
    ("a tuple under `kubernetes_deployments`", KubernetesDeployment),
    ("a tuple under `kubernetes_cron_jobs`", KubernetesCronJob),
    ("`containers` of a KubernetesDeployment or KubernetesCronJob", Container),
    ("`ports` of a Container", ContainerPort),
    ("`volumes` of a Container", Volume),
    ("`readiness` and `liveness` of a Container", Probe),
    ("a tuple under `kubernetes_services`", KubernetesService),
    ("`ports` of a KubernetesService", ServicePort),
    ("a tuple under `kubernetes_network_policies`", KubernetesNetworkPolicy),
    ("`ingress` and `egress` of a KubernetesNetworkPolicy", PolicyRule),
    ("`ports` of a PolicyRule", PolicyPort),
    ("a tuple under `kubernetes_manifests`", KubernetesManifest),
    ("in `endpoints(…)` of an inventory", CloudProject),
    ("a tuple under `cloud_networks`", CloudNetwork),
    ("`subnets` of a CloudNetwork", CloudSubnet),
    ("`routes` of a CloudNetwork", CloudRoute),
    ("a tuple under `cloud_ssh_keys`", CloudSshKey),
    ("a tuple under `cloud_firewalls`", CloudFirewall),
    ("`rules` of a CloudFirewall", FirewallRule),
    ("a tuple under `node_pools`", NodePool),
    ("`volumes` of a NodePool", PoolVolume),
    ("a tuple under `cloud_load_balancers`", LoadBalancer),
    ("`services` of a LoadBalancer", LoadBalancerService),
    ("`health_check` of a LoadBalancerService", HealthCheck),
    ("a tuple under `cloud_volumes`", CloudVolume),
    ("a tuple under `cloud_primary_ips`", CloudPrimaryIp),
    ("a tuple under `cloud_floating_ips`", CloudFloatingIp),
)
_WORDS = {
    "HostName": "host name", "DomainName": "domain name", "Address": "IPv4 address", "Cidr": "IPv4 CIDR",
    "Port": "port", "Some[Cidr]": "CIDRs", "UserName": "user name", "Account": "user name", "FilePath": "path",
    "FilePath | None": "path", "Slug": "short name", "Group": "group", "Group | None": "group", "PortList": "ports",
    "Source": "group or CIDR", "Transport": "text", "Keys": "public keys", "Algorithms": "names", "Modules": "names",
    "dict[SysctlName, SysctlValue]": "dict", "Many[DomainName]": "names or addresses", "ClockTime": "time HH:MM",
    "int": "whole number", "bool": "True or False", "str": "text", "SecretName": "secret's name",
    "SecretName | None": "secret's name", "Generator | None": "a generator", "CommonName": "text", "Alphabet": "text",
    "int | None": "whole number", "Annotated[Some[NodePath], AfterValidator(different)]": "paths",
    "dict[PolicyPath, Annotated[Some[Capability], AfterValidator(different)]]": "dict", "MountPath": "path",
    "MountKind": "text", "EntryPath": "path", "dict[FieldName, Ref]": "dict", "Ref": "SecretRef",
    "Annotated[Some[Slug], AfterValidator(different)]": "short names", "Some[HostName]": "names",
    "Many[Role]": "roles", "Identifier": "SQL name", "Some[Statement]": "SQL statements",
    "Annotated[Many[Identifier], AfterValidator(different)]": "SQL names", "Many[Login]": "logins",
    "Pools": "pools", "MountPoints": "paths", "S3Url | None": "URL", "Engine": "text", "AccessKey": "access key",
    "UserKey": "access key",
    "BucketName": "bucket name", "LockMode": "text", "Expiries": "rules", "BucketStatements": "statements",
    "CorsRules": "rules", "dict[Tag, Tag]": "dict", "Users": "access keys", "Buckets": "bucket names",
    "Prefix": "text", "Effect": "text",
    "Actions": "actions", "Prefixes": "texts", "Some[str]": "texts", "ConditionMap": "dict", "Origins": "origins",
    "Methods": "methods", "Headers": "names", "S3Statements": "statements", "Resources": "resources",
    "Names": "short names", "Slug | None": "short name",
    "GroupOrNone": "group", "Flannel": "text", "PackagedMany": "names", "AltNames": "names",
    "Many[Label]": "labels", "Many[Taint]": "taints", "ArtifactNames": "artifacts", "Many[Mirror]": "mirrors",
    "Schedule": "cron schedule", "DateOrNever": "day", "Bucketed": "bucket name", "UserOrNone": "access key",
    "Folder": "text",
    "Datastore | None": "a datastore", "PackageNames": "Debian packages", "Arguments": "texts",
    "LabelKey": "label's key", "LabelValue": "label's value", "TaintEffect": "text", "RegistryHost": "host",
    "RegistryUrls": "URLs", "Ref | None": "SecretRef", "DatastoreUrls": "URLs",
    "ObjectName": "name", "ObjectName | None": "name", "DottedName": "name", "DottedName | None": "name",
    "CronJobName": "name", "PodSecurity": "text", "Labels": "dict", "LabelKeys": "keys", "FreeLabels": "dict",
    "dict[DataKey, Text]": "dict", "dict[DataKey, Ref]": "dict", "SecretType": "text", "Containers": "containers",
    "TimeZone": "time zone", "Concurrency": "text", "Image": "image", "Many[Text]": "texts",
    "dict[EnvName, Text]": "dict", "SecretNames": "names", "ContainerPorts": "ports", "Volumes": "volumes",
    "MaybeProbe": "a probe", "PortName": "port's name", "PortName | None": "port's name", "Protocol": "text",
    "HttpPath": "path", "ServicePorts": "ports", "PolicyRules": "rules", "Cidr | None": "IPv4 CIDR",
    "PolicyPorts": "ports", "Text | None": "text",
    "dict[ValueName, Plain]": "dict",
    "CloudName": "name", "CloudNameOrNone": "name", "CloudNames": "names", "ApiUrl": "URL", "Limits": "dict",
    "NetworkCidr": "IPv4 CIDR", "SubnetCidr": "IPv4 CIDR", "Destination": "IPv4 CIDR", "Zone": "text",
    "SubnetKind": "text", "Subnets": "subnets", "Routes": "routes", "CloudLabels": "dict",
    "PublicKey": "public key", "Location": "text", "Locations": "locations", "FileSystem": "text", "IpVersion": "text",
    "ReverseDns": "domain name",
    "PoolGroup": "short name", "PoolGroups": "groups", "ServerGroups": "dict of groups",
    "ServerTypes": "server types", "ImageName": "image",
    "Placement": "text", "PoolVolumes": "volumes", "Direction": "text", "FirewallProtocol": "text",
    "RulePorts": "ports", "AnyCidrs": "CIDRs", "Description": "text", "FirewallRules": "rules", "Balanced": "text",
    "CheckPath": "path", "StatusCodes": "texts", "Port | None": "port", "MaybeCheck": "a check",
    "BalancerType": "text", "PoolNames": "names", "BalancerServices": "services", "Algorithm": "text",
}  # fmt: skip


def tables() -> str:
    """One section a type, one row a field."""
    return "\n".join(line for data_name, kind in TYPES for line in _section(data_name, kind)) + "\n"


def page(text: str) -> str:
    """The page with its generated part renewed."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _section(data_name: str, kind: type[Declaration]) -> Iterator[str]:
    yield from (f"### {kind.__name__}", "", f"{data_name[0].upper()}{data_name[1:]}. {kind.__doc__}", "")
    yield from ("| Field | Kind | Default | Meaning |", "|---|---|---|---|")
    for name, field in kind.model_fields.items():
        cells = (f"`{field.alias or name}`", _kind(kind, name, field), _default(field), field.description or "")
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""


def _kind(kind: type[Declaration], name: str, field: FieldInfo) -> str:
    bounds = {key: getattr(part, key) for part in field.metadata for key in ("ge", "le") if hasattr(part, key)}
    limits = f", {bounds['ge']} to {bounds['le']}" if {"ge", "le"} <= bounds.keys() else ""
    unit = unit_of(name)
    return _WORDS[kind.__annotations__[name]] + (f" of {unit}" if unit else "") + limits


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    lines = value if isinstance(value, tuple) and value else (value,)
    return "<br>".join(f"`{one!r}`" if not isinstance(one, str) else f"`{one}`" for one in lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
