"""Object storage: MinIO on the nodes of its pools, one of them changed at a time."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from deploys import pki
from deploys.base import addresses
from deploys.secrets import keyring
from facts.minio import USER
from operations import artifact as pinned
from operations import minio, minio_drive, package, service_account
from operations.minio_config import Pool, Server
from unterbau.artifacts import Artifact, artifact
from unterbau.declaration import ObjectStorage, S3Endpoint


@deploy("object storage")
def object_storage(roots_change: bool = False) -> None:
    """On each node of a pool. What all of them do at once, and what one at a time, the operations know.

    `roots_change`: an earlier operation of this plan changes which roots this node trusts.
    """
    declared: ObjectStorage = host.data.object_storage
    binary = artifact("minio")
    package.installed(names=["curl", "openssl", "xfsprogs"], name="packages")
    service_account.present(account=USER, home="/nonexistent", name="account")
    # Nobody may read it: a server that can read itself refuses members with another binary, so upgrades could not roll.
    pinned.installed(artifact=binary, mode="0711", name="binary")
    pinned.installed(artifact=artifact("mc"), name="client for operators")
    server = this_server(declared, binary)
    roots(server=server, roots_change=roots_change)
    certificate = pki.leaf(service="minio", user=USER, group=USER)
    servers(server=server, certificate_changes=certificate.will_change)


def this_server(declared: ObjectStorage, binary: Artifact) -> Server:
    """The server on this node, as it should be."""
    return Server(
        node=host.data.node.name,
        members={name: address for one in declared.pools for name, address in addresses(one.nodes).items()},
        pools=[Pool(list(addresses(one.nodes)), list(one.drives), one.drives_per_set) for one in declared.pools],
        parity=declared.parity,
        survives=declared.survives,
        port=endpoint().port,
        binary=pinned.path_of(binary),
        access_key=endpoint().access_key,
    )


@deploy("servers")
def roots(server: Server, roots_change: bool) -> None:
    declared: ObjectStorage = host.data.object_storage
    minio.trusting(
        server=server,
        root=keyring().value(declared.root),
        kms_key=keyring().value(declared.kms_key),
        restart_together=declared.restart_together,
        roots_change=roots_change,
        name="trusted roots",
        _serial=True,
    )


@deploy("servers")
def servers(server: Server, certificate_changes: bool) -> None:
    declared: ObjectStorage = host.data.object_storage
    root, kms_key = keyring().value(declared.root), keyring().value(declared.kms_key)
    minio_drive.present(server=server, name="drives")
    minio.founded(
        server=server,
        root=root,
        kms_key=kms_key,
        restart_together=declared.restart_together,
        name="all together",
    )
    minio.member(
        server=server,
        root=root,
        kms_key=kms_key,
        restart_together=declared.restart_together,
        certificate_changes=certificate_changes,
        name="one after the other",
        _serial=True,
    )


def is_member() -> bool:
    """Whether this node is in a pool."""
    declared = host.data.get("object_storage")
    return declared is not None and any(pool.nodes in host.groups for pool in declared.pools)


def endpoint() -> S3Endpoint:
    """How the cluster is known: the port of its API, and whose secret the root credential's is."""
    found = [one.data.get("s3") for one in inventory]
    return next((one for one in found if isinstance(one, S3Endpoint) and one.members), S3Endpoint(members="storage"))
