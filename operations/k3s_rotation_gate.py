"""Gates around a secret that is made anew: nobody goes on before the whole cluster has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.k3s_rotation import Encryption, Token, TokenState
from operations import k3s_gate
from operations.k3s_config import Node
from unterbau.domain.unknown import Unknown

GO_ON = "k3s secrets-encrypt reencrypt --force --skip"  # encrypts again whatever the stage. Source: K3s docs


def acts(host: Host, node: Node) -> bool:
    """Whether it is this server that asks K3s: the first of this run whose etcd answers, and whose token is in use.

    One that a killed run left with an earlier token would not be believed.
    """
    return _can_ask(host, node) and not any(_can_ask(other, node) for other in _others(host, node, before=True))


def anybody_acts(host: Host, node: Node, digest: str) -> bool:
    """Whether there is such a server, or it has just brought the cluster to the token with this hash.

    After a rotation there is none until one of them was restarted.
    """
    servers = (host, *_others(host, node))
    return any(_can_ask(one, node) or digest in (_keys(one, node) or ()) for one in servers)


def _can_ask(server: Host, node: Node) -> bool:
    found = _token(server, node)
    return found is not None and found["own"] in (found["cluster"] or ()) and found["believed"] is not False


def makes_key(host: Host, node: Node) -> bool:
    """Whether it is this server, which runs, that makes a new key of Secrets: the first of this run that runs."""
    return not any(_runs(other) for other in _others(host, node, before=True))


def left_out(host: Host, node: Node) -> list[str]:
    """Other servers that this run has no connection to, or has been told to leave alone."""
    there = {one.data.node.name for one in host.state.inventory if one.data.get("node")}
    reached = {one.data.node.name for one in _others(host, node)}
    return [name for name in node.others if name in there - reached]


def _runs(server: Host) -> bool:
    try:
        found = server.get_fact(Encryption)
    except (PyinfraError, OSError):
        return False
    return found is not None and not isinstance(found, (str, Unknown))


def told(host: Host, node: Node) -> list[str] | None:
    """Hashes of the tokens that the cluster is under, as the first other server tells whose etcd answers."""
    return next(filter(None, (_keys(other, node) for other in _others(host, node))), None)


def _others(host: Host, node: Node, *, before: bool = False) -> Iterator[Host]:
    """Hosts of the other servers in this run, in their order; `before`: only of those that come before this one."""
    by_name = {one.data.node.name: one for one in host.state.inventory if one.data.get("node")}
    for name in node.cluster.servers:
        if name == node.node:
            if before:
                return
        elif name in by_name and by_name[name] in host.state.active_hosts:
            yield by_name[name]


def _keys(server: Host, node: Node) -> list[str] | None:
    found = _token(server, node)
    return None if found is None else found["cluster"]


def _token(server: Host, node: Node) -> TokenState | None:
    try:
        found: TokenState | Unknown = server.get_fact(Token, port=node.cluster.port)
    except (PyinfraError, OSError):
        return None
    return None if isinstance(found, Unknown) else found


def until_known(node: Node, digest: str, version: int) -> FunctionCommand:
    """Wait until the cluster is under the token with this hash, as this server tells, or another if it is down."""

    def wait_for_the_token(state: State, host: Host, number: int) -> bool:  # noqa: ARG001  # pyinfra wants both
        def reason() -> str | None:
            found = _keys(host, node) or told(host, node)
            if found is None:
                return "no etcd could be asked"
            return None if digest in found else "the cluster is under another one"

        return k3s_gate.awaited(host, reason, f"cannot tell servers of version {number} of the token")

    return _command(wait_for_the_token, version)


def until_encrypted(node: Node) -> FunctionCommand:
    """Wait until every Secret is encrypted with the newest key."""

    def wait_for_the_last_secret(state: State, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        def reason() -> str | None:
            found = host.get_fact(Encryption)
            if isinstance(found, (str, Unknown)) or found is None:
                return "it could not be asked how Secrets are encrypted"
            if found["stage"] in ("start", "reencrypt_finished"):
                return None
            return f"the stage is {found['stage']}; if it stands still: `{GO_ON}`"

        return k3s_gate.awaited(host, reason, f"cannot restart K3s on {name}")

    return _command(wait_for_the_last_secret, node.node)


def _command(gate: Callable[..., bool], shown: object) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, (shown,), {})
