"""The typed values that inventories and group data are made of."""

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
from unterbau.declaration.cloud_nodes import nodes_of
from unterbau.declaration.cloud_pool import NodePool, PoolVolume
from unterbau.declaration.endpoint import Endpoint, KubernetesEndpoint, SecretStore, VaultEndpoint, endpoints
from unterbau.declaration.flow import Flow, flows_of
from unterbau.declaration.k3s import K3s, K3sDatastore, NodeLabel, NodeTaint, RegistryMirror
from unterbau.declaration.keys import PublicKeyFile, public_key_file
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
from unterbau.declaration.load import Environment, load
from unterbau.declaration.node import Network, Node, hosts
from unterbau.declaration.postgresql import PostgresqlLogin, PostgresqlServer
from unterbau.declaration.problems import DeclarationError, Problem, collecting
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
    buckets_of,
)
from unterbau.declaration.secret import (
    CertificateAuthority,
    Password,
    Pki,
    RandomKey,
    Secret,
    SecretRef,
    secrets_of,
)
from unterbau.declaration.ssh import Operator, SshServer
from unterbau.declaration.storage import ObjectStorage, S3Endpoint, StoragePool
from unterbau.declaration.system import Journal, Kernel, SecurityUpgrades, TimeSync, kernel_of
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

__all__ = [
    "AppRole", "Bucket", "BucketStatement", "CertificateAuthority", "CloudFirewall", "CloudFloatingIp", "CloudNetwork",
    "CloudPrimaryIp", "CloudProject", "CloudRoute", "CloudSshKey", "CloudSubnet", "CloudVolume", "Container",
    "ContainerPort", "CorsRule", "DeclarationError", "Endpoint", "Environment", "FirewallRule", "Flow", "HealthCheck",
    "Journal", "K3s", "K3sDatastore", "Kernel", "KubernetesAuth", "KubernetesConfigMap", "KubernetesCronJob",
    "KubernetesDeployment", "KubernetesEndpoint", "KubernetesManifest", "KubernetesNamespace",
    "KubernetesNetworkPolicy", "KubernetesRole", "KubernetesSecret", "KubernetesService", "KubernetesServiceAccount",
    "KvEntry", "LifecycleRule", "LoadBalancer", "LoadBalancerService", "Network", "Node", "NodeLabel", "NodePool",
    "NodeTaint", "ObjectStorage", "Operator", "Password", "Pki", "PolicyPort", "PolicyRule", "PoolVolume",
    "PostgresqlLogin", "PostgresqlServer", "Probe", "Problem", "PublicKeyFile", "RandomKey", "RegistryMirror",
    "S3Endpoint", "S3Group", "S3Policy", "S3ServiceAccount", "S3Statement", "S3User", "Secret", "SecretRef",
    "SecretStore", "SecurityUpgrades", "ServicePort", "SshServer", "StoragePool", "TimeSync", "VaultDatabase",
    "VaultDatabaseRole", "VaultEndpoint", "VaultMount", "VaultPolicy", "VaultServer", "VaultStaticRole", "Volume",
    "buckets_of", "collecting", "endpoints", "flows_of", "hosts", "kernel_of", "load", "nodes_of",
    "public_key_file", "secrets_of",
]  # fmt: skip
