"""The etcd layers: K3s' own etcd tidied up one member at a time, and snapshots of it that can be restored."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from deploys.pki import roots
from deploys.secrets import keyring
from operations import etcd as tidy
from operations import etcd_snapshot
from unterbau.declaration import K3s, KubernetesSecret
from unterbau.declaration.s3 import S3User
from unterbau.domain.etcd import token_hash
from unterbau.secrets.pki import root_certificate

TOKENS_KNOWN = 100  # versions of the server token that are looked at: snapshots are not kept that long
WITHIN_HOURS = 24
S3_CONFIG_SECRET = "k3s-etcd-snapshot-s3"  # noqa: S105  # what config.yaml names it by
S3_CONFIG_TYPE = "etcd.k3s.cattle.io/s3-config-secret"


@deploy("etcd care")
def care() -> None:
    """On each server, before all that writes into the cluster: out of space it could not be changed otherwise.

    An etcd outside of K3s is somebody else's to tidy up.
    """
    if host.data.k3s.datastore is not None:
        return
    tidy.compacted(name="history")
    tidy.defragmented(turn="followers", name="followers", _serial=True)
    tidy.defragmented(turn="leader", name="leader", _serial=True)
    tidy.disarmed(name="alarms", _serial=True)


@deploy("etcd")
def snapshots() -> None:
    """On each server, after the layer k3s."""
    if host.data.k3s.datastore is not None:
        return
    etcd_snapshot.taken(token_hashes=token_hashes(), within_hours=WITHIN_HOURS, name="snapshot")


def token_hashes() -> list[str]:
    """Of every server token that the store keeps: it never forgets one, and so every snapshot stays restorable."""
    kept = keyring().versions(host.data.k3s.token, TOKENS_KNOWN)
    return sorted({found for token in kept if (found := token_hash(token.unmask()))})


def snapshot_secret(cluster: K3s) -> KubernetesSecret | None:
    """Where K3s puts its snapshots besides the servers' disks, as the Secret that `etcd-s3-config-secret` names.

    For the layer kubernetes. None where snapshots stay on the servers. A Secret, because keys in a configuration or
    on a command line are read by whoever is on the host. Source: K3s, etcd-snapshot, S3 configuration secret.
    """
    if not cluster.snapshot_bucket:
        return None
    user = _user(cluster.snapshot_user)
    server = next(one for one in inventory if one.data.get("node") and cluster.servers in one.groups)
    domain, port = server.data.network.domain, server.data.object_storage.gateway_port
    return secret_of(cluster, user, f"s3.{domain}:{port}", "".join(map(root_certificate, roots().values())))


def secret_of(cluster: K3s, user: S3User, endpoint: str, authorities: str) -> KubernetesSecret:
    """The Secret; `endpoint` is HOST:PORT, `authorities` the certificates (PEM) that it shows a chain to."""
    return KubernetesSecret(
        name=S3_CONFIG_SECRET,
        namespace="kube-system",
        type=S3_CONFIG_TYPE,
        fields={"etcd-s3-secret-key": user.secret},
        open_fields={
            "etcd-s3-access-key": user.name,
            "etcd-s3-bucket": cluster.snapshot_bucket,
            "etcd-s3-endpoint": endpoint,
            "etcd-s3-endpoint-ca": authorities,
            "etcd-s3-folder": cluster.snapshot_folder,
            "etcd-s3-region": "us-east-1",
            "etcd-s3-retention": str(cluster.snapshots_kept),
        },
    )


def _user(name: str) -> S3User:
    users: list[S3User] = [user for one in inventory for user in one.data.get("s3_users") or ()]
    return next(user for user in users if user.name == name)
