"""The typed values that inventories and group data are made of."""

from unterbau.declaration.endpoint import Endpoint, SecretStore, VaultEndpoint, endpoints
from unterbau.declaration.flow import Flow, flows_of
from unterbau.declaration.keys import PublicKeyFile, public_key_file
from unterbau.declaration.load import Environment, load
from unterbau.declaration.node import Network, Node, hosts
from unterbau.declaration.postgresql import PostgresqlLogin, PostgresqlServer
from unterbau.declaration.problems import DeclarationError, Problem, collecting
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
    "AppRole", "CertificateAuthority", "DeclarationError", "Endpoint", "Environment", "Flow", "Journal", "Kernel",
    "KubernetesAuth", "KubernetesRole", "KvEntry", "Network", "Node", "Operator", "Password", "Pki", "PostgresqlLogin",
    "PostgresqlServer", "Problem", "PublicKeyFile", "RandomKey", "Secret", "SecretRef", "SecretStore",
    "SecurityUpgrades", "SshServer", "TimeSync", "VaultDatabase", "VaultDatabaseRole", "VaultEndpoint", "VaultMount",
    "VaultPolicy", "VaultServer", "VaultStaticRole", "collecting", "endpoints", "flows_of", "hosts", "kernel_of",
    "load", "public_key_file", "secrets_of",
]  # fmt: skip
