"""The Vault layer: OpenBao on the members of the inventory's Vault endpoint, one of them changed at a time."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from deploys import pki
from deploys.base import addresses
from deploys.secrets import keyring
from facts.openbao import DATA_FOLDER, USER
from operations import artifact as pinned
from operations import openbao, openbao_audit, openbao_folder, openbao_snapshot, package, service_account
from operations.openbao_config import Server
from unterbau.artifacts import artifact
from unterbau.declaration import VaultEndpoint
from unterbau.domain.vault_policy import DEPLOY, render
from unterbau.secrets.hidden import Hidden

SEAL_KEYS_KNOWN = 5


@deploy("vault")
def vault() -> None:
    """On each member. What only one of them does, the operations know."""
    declared = host.data.vault_server
    binary = artifact("bao")
    package.installed(names=["curl", "logrotate", "python3"], name="packages")
    service_account.present(account=USER, home=DATA_FOLDER, name="account")
    pinned.installed(artifact=binary, name="binary")
    certificate = pki.leaf(service="openbao", user=USER, group=USER, dns_names=["localhost"], addresses=["127.0.0.1"])
    openbao_folder.present(audit_paths=declared.audit_paths, name="folders")
    openbao_audit.rotated(audit_paths=declared.audit_paths, name="audit log rotation")
    server = Server(
        node=host.data.node.name,
        members=addresses(endpoint().members),
        cluster_name=declared.cluster_name,
        port=endpoint().port,
        cluster_port=endpoint().cluster_port,
        binary=pinned.path_of(binary),
        audit_paths=tuple(declared.audit_paths),
    )
    servers(server=server, certificate_changes=certificate.will_change)
    openbao_snapshot.scheduled(
        endpoint=f"{server.address}:{server.port}",
        every_hours=declared.snapshot_every_hours,
        kept=declared.snapshots_kept,
        name="snapshots",
    )


@deploy("servers")
def servers(server: Server, certificate_changes: bool) -> None:
    openbao.founded(
        server=server,
        seal_keys=seal_keys(),
        policy=render(DEPLOY),
        deployers=keyring().value(host.data.vault_server.deployers),
        name="first start",
    )
    openbao.member(
        server=server,
        seal_keys=seal_keys(),
        turn="followers",
        certificate_changes=certificate_changes,
        name="followers",
        _serial=True,
    )
    openbao.member(
        server=server,
        seal_keys=seal_keys(),
        turn="leader",
        certificate_changes=certificate_changes,
        name="leader",
        _serial=True,
    )


def endpoint() -> VaultEndpoint:
    """The cluster that this node is a member of."""
    found = (one.data.get("vault") for one in inventory)
    return next(one for one in found if isinstance(one, VaultEndpoint) and one.members in host.groups)


def seal_keys() -> dict[str, Hidden]:
    """{id: key}, newest first: enough for a server that has missed a few rotations."""
    secret = host.data.vault_server.seal_key
    newest = keyring().version(secret)
    return {f"seal-{newest - age}": key for age, key in enumerate(keyring().versions(secret, SEAL_KEYS_KNOWN))}
