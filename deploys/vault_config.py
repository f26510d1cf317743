"""What a Vault cluster holds: engines, policies, logins, values. On the endpoint, after the servers' own layer."""

from __future__ import annotations

import json
from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploys import pki
from deploys.secrets import keyring
from operations import (
    vault_approle,
    vault_cluster,
    vault_kubernetes,
    vault_kv,
    vault_mount,
    vault_node_login,
    vault_policy,
)
from unterbau.declaration.vault import AppRole, KubernetesAuth, KvEntry
from unterbau.domain.vault_policy import DEPLOY, SNAPSHOT
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.pki import root_certificate

AUTHORITIES = 2  # of deployers: the current one, and the one before until the next rotation


@deploy("vault config")
def vault_config() -> None:
    """On the endpoint's host."""
    members = [member.name for member in host.state.inventory.get_group(host.data.vault.members)]
    vault_cluster.voting(members=members, name="voting members")
    vault_mount.marks(name="marks")
    vault_cluster.deployers(authorities=_authorities(), name="deployers")
    _engines()
    _logins()
    vault_kv.exactly(
        entries=[_entry(entry) for entry in _declared("vault_kv")],
        mounts=[mount.path for mount in _declared("vault_mounts") if mount.kind == "kv"],
        deletions=_declared("vault_deletions"),
        name="values",
    )


def _engines() -> None:
    deletions = _declared("vault_deletions")
    mounts = {mount.path: (mount.kind, mount.description) for mount in _declared("vault_mounts")}
    vault_mount.exactly(mounts=mounts, deletions=deletions, name="engines")
    policies = {policy.name: policy.paths for policy in _declared("vault_policies")}
    vault_policy.exactly(
        policies={**policies, "deploy": DEPLOY, "snapshot": SNAPSHOT}, deletions=deletions, name="policies"
    )


def _logins() -> None:
    deletions, kubernetes = _declared("vault_deletions"), host.data.get("vault_kubernetes")
    methods = {"nodes": "cert"} | ({"approle": "approle"} if _declared("vault_approles") else {})
    if kubernetes is not None:
        methods["kubernetes"] = "kubernetes"
    vault_mount.auth_methods(methods=methods, deletions=deletions, name="logins")
    _nodes()
    vault_approle.exactly(
        roles=[_role(role) for role in _declared("vault_approles")], deletions=deletions, name="AppRole roles"
    )
    if kubernetes is not None:
        _kubernetes(kubernetes)


def _nodes() -> None:
    """A run that leaves nodes out retires no root: theirs may be what the left-out nodes still show."""
    trusted = _certificates(pki.roots())
    older = {} if pki.covers_every_node() else _certificates(pki.all_roots())
    vault_node_login.snapshots(authorities=trusted, kept=older, name="logins of nodes")


def _certificates(roots: dict[str, Hidden]) -> dict[str, Hidden]:
    return {name: Hidden(root_certificate(root)) for name, root in roots.items()}


def _kubernetes(declared: KubernetesAuth) -> None:
    root = keyring().value(declared.ca or str(host.data.pki.root))
    ca = root.unmask() if declared.ca else root_certificate(root)
    vault_kubernetes.configured(api=f"https://{declared.host}:{declared.api_port}", ca=ca, name="Kubernetes API")
    roles = [
        vault_kubernetes.Role(
            role.name, role.service_accounts, role.namespaces, role.policies, role.token_ttl_minutes * 60
        )
        for role in declared.roles
    ]
    vault_kubernetes.roles(roles=roles, deletions=_declared("vault_deletions"), name="Kubernetes roles")


def _declared(name: str) -> Any:
    return host.data.get(name) or ()


def _role(role: AppRole) -> vault_approle.Role:
    return vault_approle.Role(role.name, role.policies, role.token_ttl_minutes * 60, role.secret_id_ttl_hours * 3600)


def _entry(entry: KvEntry) -> vault_kv.Entry:
    fields = {field: keyring().value(ref.name) for field, ref in sorted(entry.fields.items())}
    text = json.dumps({field: value.unmask() for field, value in fields.items()})
    keyed_hash = keyring().keyed_hash(f"kv/{entry.mount}/{entry.path}", text)
    return vault_kv.Entry(entry.mount, entry.path, fields, keyed_hash)


def _authorities() -> dict[str, Hidden]:
    """{how the plan names it: certificate} of who may sign the logins of deploys."""
    name = host.data.vault_server.deployers
    newest = keyring().version(name)
    versions = keyring().versions(name, AUTHORITIES)
    return {f"version {newest - age}": Hidden(root_certificate(secret)) for age, secret in enumerate(versions)}
