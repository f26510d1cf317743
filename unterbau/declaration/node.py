"""The machines: who they are and how they are reached."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from pydantic import Field, model_validator

from unterbau.declaration.base import Declaration
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Address, Cidr, DomainName, FilePath, HostName, Port, Some, UserName
from unterbau.declaration.problems import Inert


class Network(Declaration):
    """The private network that the nodes share, and where operators and CI come from."""

    cidr: Cidr = Field(description="the nodes' network, for example 10.77.0.0/24")
    domain: DomainName = Field(description="what follows a node's name, for example lab.internal")
    controllers: Some[Cidr] = Field(description="where operators and CI come from, for example 10.77.0.1/32")

    @model_validator(mode="after")
    def _ranges_apart(self) -> Network:
        """Controllers are some of the network, or outside of it; else every node would have a controller's rights."""
        wide = [str(controller) for controller in self.controllers if self.cidr.subnet_of(controller)]
        if wide:
            raise rule(
                "controllers", wide[0], f"ranges within {self.cidr} and smaller, or outside of it, not around it"
            )
        for one, other in combinations(self.controllers, 2):
            if one.overlaps(other):
                raise rule("controllers", f"{one} and {other}", "ranges that do not overlap")
        return self


class Node(Declaration):
    """One machine. `known_hosts` pins its host key: nothing is ever accepted on first sight."""

    name: HostName = Field(description="host name, one RFC 1123 label")
    address: Address = Field(description="IPv4 address inside `network.cidr`, for example 10.77.0.11")
    ssh_user: UserName = Field("root", description="who logs in; anyone but root needs sudo without a password")
    ssh_port: Port = Field(22, description="the port that is connected to: where sshd listens, `ssh_server.port`")
    ssh_key: FilePath | None = Field(None, description="path of the private key; None asks the SSH agent")
    known_hosts: FilePath = Field(description="path of the OpenSSH known_hosts file with the node's key")


Host = tuple[str, dict[str, Any]]
CONNECTION = frozenset({"node", "ssh_hostname", "ssh_user", "ssh_port", "ssh_key", "ssh_known_hosts_file", "_sudo"})


def hosts(*nodes: Node) -> list[Host]:
    """A group of an inventory: entries as pyinfra wants them, with the node itself as the data `node`."""
    return [_host(node) for node in nodes]


def _host(node: Any) -> Any:
    if isinstance(node, Inert):
        return node
    if not isinstance(node, Node):
        raise TypeError(f"hosts() takes Node(…), Node(…), …, not {type(node).__name__}")
    return f"@node/{node.name}", _data(node)


def _data(node: Node) -> dict[str, Any]:
    connection = {
        "ssh_hostname": str(node.address), "ssh_user": node.ssh_user, "ssh_port": node.ssh_port,
        "ssh_known_hosts_file": node.known_hosts,
    }  # fmt: skip
    key = {"ssh_key": node.ssh_key} if node.ssh_key else {}  # pyinfra refuses None where it wants text
    root = {} if node.ssh_user == "root" else {"_sudo": True}  # pyinfra's own argument, for facts and operations alike
    return {"node": node, **connection, **key, **root}
