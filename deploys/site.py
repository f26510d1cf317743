"""The whole platform, layer by layer. Nodes and endpoints are hosts alike; each layer is for some of them."""

from __future__ import annotations

from pyinfra import host, inventory

from deploys import etcd, k3s, k3s_removal, k3s_rotation
from deploys import object_storage as storage
from deploys.base import base
from deploys.cloud import cloud, withdrawals
from deploys.kubernetes import kubernetes
from deploys.leaving import departure
from deploys.object_storage_config import object_storage_config
from deploys.object_storage_gateway import gateway, gateway_roots
from deploys.pki import trust
from deploys.postgresql import engine_logins, postgresql
from deploys.secrets import secrets
from deploys.vault import vault
from deploys.vault_config import vault_config
from deploys.vault_database import connections_and_roles
from operations import layer

kinds = ("store", "cloud", "node", "vault", "s3", "kubernetes")
is_store, is_cloud, is_node, is_vault, is_s3, is_kubernetes = (bool(host.data.get(kind)) for kind in kinds)
vaults = [one.data.vault for one in inventory if one.data.get("vault")]
has_store = any(one.data.get("store") for one in inventory)  # without one there are no secrets, and so no root
is_member = any(one.members in host.groups for one in vaults)
is_postgresql = "postgresql" in host.groups
uses_storage = is_node and bool(host.data.get("object_storage"))

layer.reached(name="layer secrets")
if is_store:
    secrets()

# Nodes are made before anything is said to them.
layer.reached(name="layer cloud")
if is_cloud:
    cloud()

layer.reached(name="layer base")
if is_node:
    base()

layer.reached(name="layer pki")
roots_change = is_node and has_store and bool(host.data.get("pki")) and trust().will_change

# Whoever speaks with a member knows a new root before a member shows a certificate of it.
layer.reached(name="layer object storage")
if uses_storage:
    gateway_roots(roots_change)
if uses_storage and storage.is_member():
    storage.object_storage(roots_change)
if uses_storage:
    gateway()

layer.reached(name="layer object storage config")
if is_s3:
    object_storage_config()

layer.reached(name="layer postgresql")
if is_postgresql:
    postgresql()

layer.reached(name="layer vault")
if is_member:
    vault()

layer.reached(name="layer vault config")
if is_vault:
    vault_config()

# The user of the database engine changes in PostgreSQL right before its connections in Vault do; without Vault in
# the run (--limit) it stays: a password that somebody rotated would lock the engine out until the next whole run.
layer.reached(name="layer postgresql engine")
if is_postgresql and any(host.state.is_host_in_limit(one) for one in inventory if one.data.get("vault")):
    engine_logins()

layer.reached(name="layer vault database")
if is_vault:
    connections_and_roles()

# Out of space etcd takes no writes, and whatever follows writes: it makes room first, where it runs already.
layer.reached(name="layer etcd care")
if k3s.is_server():
    etcd.care()

layer.reached(name="layer departure")
if is_node and host.data.get("leaving"):
    departure()

# Who leaves is out before anybody joins: a replacement under an old name would meet its own stale member.
leaves = is_node and bool(host.data.get("k3s")) and k3s_removal.leaves()
layer.reached(name="layer k3s departure")
if leaves:
    k3s_removal.hold()
layer.reached(name="layer k3s departures")
if k3s.is_server():
    k3s_removal.departures()
layer.reached(name="layer k3s wipe")
if leaves:
    k3s_removal.wipe()

# The cluster takes a new token before any server is told of it.
layer.reached(name="layer k3s")
if k3s.is_server():
    k3s_rotation.token()
    k3s.k3s_servers()
layer.reached(name="layer k3s agents")
if k3s.is_agent():
    k3s.k3s_agents()
layer.reached(name="layer k3s rotation")
if k3s.is_server() or k3s.is_agent():
    k3s_rotation.certificates_and_keys()

layer.reached(name="layer etcd")
if k3s.is_server():
    etcd.snapshots()

layer.reached(name="layer kubernetes")
if is_kubernetes:
    kubernetes()

# Who is deleted has left its clusters in the layers before.
layer.reached(name="layer cloud withdrawal")
if is_cloud:
    withdrawals()
