"""Gates around a secret that is made anew: nobody goes on before the whole cluster has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.k3s_rotation import Encryption, Token
from operations import k3s_gate
from operations.k3s_config import Node
from unterbau.domain.unknown import Unknown


def acts(host: Host, node: Node) -> bool:
    """Whether it is this server that asks K3s: the first of this run that is a member and has a part of it."""
    by_name = {one.data.node.name: one for one in host.state.inventory if one.data.get("node")}
    for name in node.cluster.servers:
        if name == node.node:
            return True
        other = by_name.get(name)
        if other is not None and other in host.state.active_hosts and _is_member(other):
            return False
    return True


def _is_member(other: Host) -> bool:
    try:
        found = other.get_fact(Token)
    except (PyinfraError, OSError):
        return False
    return not isinstance(found, Unknown) and found["own"] is not None and bool(found["cluster"])


def until_known(digest: str, version: int) -> FunctionCommand:
    """Wait until the cluster is under the token with this hash."""

    def wait_for_the_token(state: State, host: Host, number: int) -> bool:  # noqa: ARG001  # pyinfra wants both
        def reason() -> str | None:
            found = host.get_fact(Token)
            if isinstance(found, Unknown) or found["cluster"] is None:
                return "its etcd could not be asked"
            return None if digest in found["cluster"] else "the cluster is under another one"

        return k3s_gate.awaited(host, reason, f"cannot tell servers of version {number} of the token")

    return _command(wait_for_the_token, version)


def until_encrypted(node: Node) -> FunctionCommand:
    """Wait until every Secret is encrypted with the newest key."""

    def wait_for_the_last_secret(state: State, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        def reason() -> str | None:
            found = host.get_fact(Encryption)
            if isinstance(found, Unknown) or found is None:
                return "it could not be asked how Secrets are encrypted"
            return None if found["stage"] in ("start", "reencrypt_finished") else f"the stage is {found['stage']}"

        return k3s_gate.awaited(host, reason, f"cannot restart K3s on {name}")

    return _command(wait_for_the_last_secret, node.node)


def _command(gate: Callable[..., bool], shown: object) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, (shown,), {})
