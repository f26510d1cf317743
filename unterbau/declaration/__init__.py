"""The typed values that inventories and group data are made of."""

from unterbau.declaration.endpoint import Endpoint, SecretStore, VaultEndpoint, endpoints
from unterbau.declaration.flow import Flow, flows_of
from unterbau.declaration.keys import PublicKeyFile, public_key_file
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
    "AppRole", "Bucket", "BucketStatement", "CertificateAuthority", "CorsRule", "DeclarationError", "Endpoint",
    "Environment", "Flow", "Journal", "Kernel", "KubernetesAuth", "KubernetesRole", "KvEntry", "LifecycleRule",
    "Network", "Node", "ObjectStorage", "Operator", "Password", "Pki", "PostgresqlLogin", "PostgresqlServer",
    "Problem", "PublicKeyFile", "RandomKey", "S3Endpoint", "S3Group", "S3Policy", "S3ServiceAccount", "S3Statement",
    "S3User", "Secret", "SecretRef", "SecretStore", "SecurityUpgrades", "SshServer", "StoragePool", "TimeSync",
    "VaultDatabase", "VaultDatabaseRole", "VaultEndpoint", "VaultMount", "VaultPolicy", "VaultServer",
    "VaultStaticRole", "buckets_of", "collecting", "endpoints", "flows_of", "hosts", "kernel_of", "load",
    "public_key_file", "secrets_of",
]  # fmt: skip
