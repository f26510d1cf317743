"""A node's own SSH host key in place of the one that came with its user data.

Whoever can ask the metadata service on the node knows the first one. So the node makes a key that never leaves it,
which is pinned through the connection that the first one vouches for; then the first one is gone on the node, and is
forgotten here. A run that ends in between leaves both pinned, of two types, and the next one goes on.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.ssh_host_key import FOLDER, HostKeys
from operations.config_file import Commands
from operations.guard import proof_failure
from unterbau import changes
from unterbau.domain.unknown import Unknown
from unterbau.secrets.known_hosts import Pin, first_keys, forget, pin

OWN_TYPE = "ssh-ed25519"
OWN_FILE = f"{FOLDER}/ssh_host_ed25519_key"
RESTART = "systemctl restart ssh"  # which returns once it listens again, and ends no session


@operation()
def own(node: str, address: str, known_hosts: str, first: Sequence[str]) -> Commands:
    """The node shows a key that it has made itself, and no other is pinned for it; call it before secrets go there.

    Args:
        node: its name.
        address: under which it is entered.
        known_hosts: path of the OpenSSH known_hosts file where its key is pinned.
        first: the keys pinned there that came with its user data, "type base64" each; none of a node that has its own.
    """
    if not first:
        host.noop(f"{node} shows its own key")
        return
    found = host.get_fact(HostKeys)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot change host keys of {node}: they could not be read; see the error above")
        return
    changes.attribute(f"host key of {node}", "as in its user data", "made by itself")
    if not any(key.startswith(f"{OWN_TYPE} ") for key in found.values()):
        yield StringCommand(f"ssh-keygen -q -t ed25519 -N '' -f {OWN_FILE} && {RESTART}")
    yield FunctionCommand(pin_own, (node, address, known_hosts), {})
    for file_of_first in [f"{FOLDER}/{one}" for one, key in found.items() if key in first]:
        yield StringCommand(f"rm -f {shlex.quote(file_of_first)} {shlex.quote(file_of_first)}.pub && {RESTART}")
    yield FunctionCommand(forget_first, (node, address, known_hosts), {})


def pin_own(state: State, host: Host, name: str, address: str, known_hosts: str) -> bool:  # noqa: ARG001  # pyinfra wants both
    """Pin the key that the node made, read through a connection that the pinned first one vouches for."""
    found = host.get_fact(HostKeys)
    keys = [] if isinstance(found, Unknown) else [key for key in found.values() if key.startswith(f"{OWN_TYPE} ")]
    if not keys:
        logger.error(f"{host.print_prefix}cannot pin the host key of {name}: found none of the type {OWN_TYPE}")
        return False
    pin(Path(known_hosts).expanduser(), Pin((name, address), keys[0]))
    return True


def forget_first(state: State, host: Host, name: str, address: str, known_hosts: str) -> bool:  # noqa: ARG001  # as above
    """Pin the first key no longer, once a new connection gets in by the node's own."""
    if found := proof_failure(host):
        logger.error(f"{host.print_prefix}cannot forget the first host key of {name}: {found}; apply again")
        return False
    for key in first_keys(known_hosts, address):
        forget(Path(known_hosts).expanduser(), address, key)
    return True
