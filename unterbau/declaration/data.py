"""The names that group data may set, and what belongs under each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.cloud import CloudFloatingIp, CloudNetwork, CloudPrimaryIp, CloudSshKey, CloudVolume
from unterbau.declaration.cloud_firewall import CloudFirewall
from unterbau.declaration.cloud_load_balancer import LoadBalancer
from unterbau.declaration.cloud_pool import NodePool
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.flow import Flow, is_flows
from unterbau.declaration.k3s import K3s
from unterbau.declaration.kubernetes import (
    KubernetesConfigMap,
    KubernetesManifest,
    KubernetesNamespace,
    KubernetesNetworkPolicy,
    KubernetesSecret,
    KubernetesService,
    KubernetesServiceAccount,
)
from unterbau.declaration.kubernetes_pod import KubernetesCronJob, KubernetesDeployment
from unterbau.declaration.masking import shown
from unterbau.declaration.node import Network
from unterbau.declaration.postgresql import PostgresqlServer
from unterbau.declaration.problems import Inert, Problem
from unterbau.declaration.s3 import Bucket, S3Group, S3Policy, S3ServiceAccount, S3User, is_buckets
from unterbau.declaration.secret import Pki, Secret, is_secrets
from unterbau.declaration.source import Source
from unterbau.declaration.ssh import Operator, SshServer
from unterbau.declaration.storage import ObjectStorage
from unterbau.declaration.system import Journal, Kernel, SecurityUpgrades, TimeSync, is_kernel
from unterbau.declaration.vault import (
    AppRole,
    KubernetesAuth,
    KvEntry,
    VaultDatabase,
    VaultDatabaseRole,
    VaultMount,
    VaultPolicy,
    VaultServer,
    VaultStaticRole,
)

ONE: dict[str, type[Declaration]] = {
    "network": Network,
    "time_sync": TimeSync,
    "kernel": Kernel,
    "ssh_server": SshServer,
    "security_upgrades": SecurityUpgrades,
    "journal": Journal,
}
SEVERAL: dict[str, type[Declaration]] = {"operators": Operator}
PACKAGES = "base_packages"
REQUIRED = (*ONE, *SEVERAL, PACKAGES)
# Of layers that an environment may do without; what such a layer needs, its rules ask for.
OPTIONAL_ONE: dict[str, type[Declaration]] = {
    "pki": Pki,
    "vault_server": VaultServer,
    "vault_kubernetes": KubernetesAuth,
    "postgresql_server": PostgresqlServer,
    "object_storage": ObjectStorage,
    "k3s": K3s,
}
OPTIONAL_SEVERAL: dict[str, type[Declaration]] = {
    "vault_policies": VaultPolicy,
    "vault_mounts": VaultMount,
    "vault_kv": KvEntry,
    "vault_approles": AppRole,
    "vault_databases": VaultDatabase,
    "vault_database_roles": VaultDatabaseRole,
    "vault_static_roles": VaultStaticRole,
    "s3_policies": S3Policy,
    "s3_groups": S3Group,
    "s3_users": S3User,
    "s3_service_accounts": S3ServiceAccount,
    "kubernetes_namespaces": KubernetesNamespace,
    "kubernetes_service_accounts": KubernetesServiceAccount,
    "kubernetes_config_maps": KubernetesConfigMap,
    "kubernetes_secrets": KubernetesSecret,
    "kubernetes_services": KubernetesService,
    "kubernetes_network_policies": KubernetesNetworkPolicy,
    "kubernetes_deployments": KubernetesDeployment,
    "kubernetes_cron_jobs": KubernetesCronJob,
    "kubernetes_manifests": KubernetesManifest,
}
# Only cloud projects read these.
CLOUD: dict[str, type[Declaration]] = {
    "cloud_networks": CloudNetwork,
    "cloud_ssh_keys": CloudSshKey,
    "cloud_firewalls": CloudFirewall,
    "node_pools": NodePool,
    "cloud_load_balancers": LoadBalancer,
    "cloud_volumes": CloudVolume,
    "cloud_primary_ips": CloudPrimaryIp,
    "cloud_floating_ips": CloudFloatingIp,
}
# Names that several layers add to, each under a name of its own.
UNITED: dict[Callable[[str], bool], type[Declaration]] = {is_flows: Flow, is_secrets: Secret, is_buckets: Bucket}
DELETIONS, S3_DELETIONS = "vault_deletions", "s3_deletions"
KUBERNETES_DELETIONS, K3S_REMOVED = "kubernetes_deletions", "k3s_removed"
CLOUD_DELETIONS = "cloud_deletions"
KNOWN = (
    *REQUIRED, *OPTIONAL_ONE, *OPTIONAL_SEVERAL, *CLOUD, DELETIONS, S3_DELETIONS, KUBERNETES_DELETIONS, K3S_REMOVED,
    CLOUD_DELETIONS, "flows", "secrets", "buckets",
)  # fmt: skip
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_DELETION = re.compile(r"[a-z-]+/[A-Za-z0-9._/-]+")
_NODE = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
# A namespace is left out where the kind has none: Namespace/old.
_KUBERNETES_DELETION = re.compile(r"[A-Z][A-Za-z0-9]*(/[a-z0-9-]+)?/[a-z0-9][a-z0-9.:-]*")
_CLOUD_DELETION = re.compile(
    r"(data|server|network|ssh-key|placement-group|firewall|load-balancer|volume|primary-ip|floating-ip)/[a-z0-9-]+"
    r"|(subnet|route)/[a-z0-9-]+/[0-9.]+/[0-9]+"
)
_S3_DELETION = re.compile(r"(bucket|policy|group|user|service-account)/[A-Za-z0-9._-]+")


def check(source: Source) -> Iterator[Problem]:
    """What is wrong with a file's public names: unknown ones, and values of another type."""
    for name, value in source.names.items():
        for field, found, allowed in wrong(name, value):
            file, line = source.place(name)
            yield Problem(file, line, source.label, field, found, allowed)


def wrong(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """(field, found, allowed) of a name's value."""
    one, several = _one(name), _several(name)
    if isinstance(value, Inert):
        return
    if one:
        yield from _of(name, value, one)
    elif several:
        yield from _tuple(name, value, several)
    elif name in _TEXTS:
        yield from _texts(name, value)
    else:
        yield name, "an unknown name", f"a name of docs/declarations.md{near(name, KNOWN)}"


def _one(name: str) -> type[Declaration] | None:
    return (ONE | OPTIONAL_ONE).get(name) or (Kernel if is_kernel(name) else None)


def _several(name: str) -> type[Declaration] | None:
    united = (kind for is_one, kind in UNITED.items() if is_one(name))
    return next(united, (SEVERAL | OPTIONAL_SEVERAL | CLOUD).get(name))


def _of(field: str, value: Any, kind: type[Declaration]) -> Iterator[tuple[str, str, str]]:
    if not isinstance(value, kind | Inert):
        yield field, shown(value, field), f"{kind.__name__}(…)"


def _tuple(name: str, value: Any, kind: type[Declaration]) -> Iterator[tuple[str, str, str]]:
    if not isinstance(value, tuple):
        yield name, shown(value, name), f"a tuple, ({kind.__name__}(…),)"
        return
    for index, one in enumerate(value):
        yield from _of(f"{name}[{index}]", one, kind)


def _texts(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    pattern, item, allowed = _TEXTS[name]
    if not isinstance(value, tuple):
        yield name, shown(value, name), f'a tuple, ("{item}",)'
        return
    for index, one in enumerate(value):
        if not isinstance(one, Inert) and not (isinstance(one, str) and pattern.fullmatch(one)):
            yield f"{name}[{index}]", shown(one, name), allowed
    yield from (
        (name, f"{shown(again)} twice", f"each {item.rpartition('-')[2]} once") for again in repeated(value, repr)
    )


def known(name: str) -> bool:
    """Whether group data may set this name."""
    return bool(_one(name) or _several(name) or name in _TEXTS)


# Source of the first: Debian policy 5.6.1 (names of packages).
_TEXTS = {
    PACKAGES: (_PACKAGE, "a-package", "a Debian package's name: a-z, 0-9, '+', '-' and '.', two at least"),
    DELETIONS: (_DELETION, "policy/an-object", "kind and name of what may be deleted, for example policy/old-app"),
    S3_DELETIONS: (_S3_DELETION, "bucket/an-object", "kind and name of what may be deleted, for example bucket/old"),
    KUBERNETES_DELETIONS: (
        _KUBERNETES_DELETION,
        "Kind/namespace/an-object",
        "kind, namespace and name of what may be deleted: CronJob/team/old, or Namespace/old",
    ),
    CLOUD_DELETIONS: (
        _CLOUD_DELETION,
        "kind/an-object",
        "kind and name of what may be deleted: server/prod-servers-3, subnet/main/10.0.1.0/24",
    ),
    K3S_REMOVED: (_NODE, "a-node", "the name of a node that leaves the cluster, or has left it"),
}
