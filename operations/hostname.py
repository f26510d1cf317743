"""A node's name, and the names and addresses of all others without any name server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hostname import State
from operations import config_file
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

LOCAL = (
    "127.0.0.1 localhost",
    "::1 localhost ip6-localhost ip6-loopback",
    "ff02::1 ip6-allnodes",
    "ff02::2 ip6-allrouters",
)


def hosts_file(addresses: Mapping[str, str], domain: str, services: Mapping[str, str]) -> str:
    """The full name comes first: `hostname --fqdn` says it. No 127.0.1.1: a node is known by its real address."""
    nodes = [f"{address} {name}.{domain} {name}" for name, address in sorted(addresses.items())]
    nodes += [f"{address} {name}.{domain}" for name, address in sorted(services.items())]
    return "\n".join(["# Every node of the inventory; changes made here are undone.", *LOCAL, "", *nodes, ""])


@operation()
def known(
    node: str, addresses: Mapping[str, str], domain: str, *, services: Mapping[str, str] | None = None
) -> Commands:
    """The node is called `node`, now and after a boot, and knows every node by short and by full name.

    Args:
        node: short host name.
        addresses: {name: address} of all nodes, this one too.
        domain: what full names end in, without the leading dot.
        services: {name: address} of what this node reaches by a name of its own, such as its S3 gateway.
    """
    state = host.get_fact(State)
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot name {host.name}: its names could not be read; see above")
        return
    if sentence := config_file.obstacle(state["files"]):
        yield from changes.refuse(sentence)
        return
    wanted = {"/etc/hostname": f"{node}\n", "/etc/hosts": hosts_file(addresses, domain, services or {})}
    _, commands = config_file.converge_texts(state["files"], wanted)
    if state["running"] != node:
        changes.attribute("kernel.hostname", state["running"], node)
        commands.append(StringCommand(f"hostname {shlex.quote(node)}"))
    if not commands:
        host.noop(f"the node is called {node} and knows {len(addresses)} nodes")
    yield from commands
