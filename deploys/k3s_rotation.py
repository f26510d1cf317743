"""What a K3s cluster is kept secret with, made anew. The token first: no server may be told of one that is not in use.

`token` goes before the layer k3s, which writes the configuration; `certificates_and_keys` after it.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys import k3s
from deploys.secrets import keyring
from operations import k3s_rotation
from operations.k3s_config import Node
from unterbau.artifacts import artifact

TOKENS_KNOWN = 5


@deploy("k3s rotation")
def token() -> None:
    """On every server, all at once: one asks for it, the others wait for it."""
    name = host.data.k3s.token
    k3s_rotation.token(
        node=_node(),
        tokens=keyring().versions(name, TOKENS_KNOWN),
        version=keyring().version(name),
        secret=name,
        name="token of the cluster",
    )


@deploy("k3s rotation")
def certificates_and_keys() -> None:
    """On every node, one after the other."""
    node, declared = _node(), host.data.k3s
    within_days = declared.certificates_renewed_days
    k3s_rotation.certificates(node=node, within_days=within_days, name="certificates of K3s", _serial=True)
    if node.role == "server":
        not_before = declared.encryption_key_not_before
        tokens = k3s.tokens_of(server=True)
        k3s_rotation.encryption_key(
            node=node, not_before=not_before, tokens=tokens, name="key of Secrets", _serial=True
        )


def _node() -> Node:
    role = "server" if k3s.is_server() else "agent"
    return k3s.node_of(host.data.k3s, role, artifact(host.data.k3s.artifact))
