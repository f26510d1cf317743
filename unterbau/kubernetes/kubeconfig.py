"""A kubeconfig of somebody's own: a key made here, a certificate that the cluster signs for a few hours.

Who it is for is the certificate's name, what it may do its group: see deploys/kubernetes.py, which binds the groups.
"""

from __future__ import annotations

import os
import re
import secrets
from base64 import b64encode
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from unterbau.domain.kubernetes_object import ADMIN_GROUP, VIEW_GROUP
from unterbau.kubernetes.connection import Cluster, KubernetesError
from unterbau.secrets.hidden import Hidden

USER = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def made(cluster: Cluster, user: str, *, admin: bool, life_s: int, server: str | None = None) -> Hidden:
    """The kubeconfig's text. `server`: another URL than the one of the server that answers, verified as that one."""
    if not USER.fullmatch(user):
        raise KubernetesError(f"cannot make a kubeconfig for {user!r}: use up to 63 of a-z, 0-9, '._-'")
    key, request = _request(user, ADMIN_GROUP if admin else VIEW_GROUP)
    certificate = cluster.signed(f"unterbau-{user}-{secrets.token_hex(4)}", request, life_s)
    url, roots = cluster.server()
    return Hidden(_text(cluster.name, user, _cluster(url, server, roots), certificate, key))


def _request(user: str, group: str) -> tuple[str, str]:
    """(key, request), PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, user)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(who)).sign(key, hashes.SHA256())
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = key.private_bytes(encoding, shape, serialization.NoEncryption()).decode()
    return text, request.public_bytes(encoding).decode()


def _cluster(url: str, server: str | None, roots: str) -> dict[str, str]:
    """Through a forwarded port another name is spoken to than the one that the server's certificate has."""
    found = {"server": server or url, "certificate-authority-data": _base64(roots)}
    return found | ({"tls-server-name": url.removeprefix("https://").rpartition(":")[0]} if server else {})


def _text(name: str, user: str, cluster: dict[str, str], certificate: str, key: str) -> str:
    login = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    context = {"cluster": name, "user": user}
    return yaml.safe_dump(
        {
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": user, "user": login}],
            "contexts": [{"name": name, "context": context}],
        },
        sort_keys=False,
    )  # fmt: skip


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def write(path: Path, text: Hidden) -> None:
    """A new file with mode 0600; KubernetesError if there is one."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KubernetesError(f"cannot write {path}: it is there already; name another file") from error
    with os.fdopen(opened, "w") as file:
        file.write(text.unmask())
