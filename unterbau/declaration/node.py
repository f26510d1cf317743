"""The machines: who they are and how they are reached."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from unterbau.declaration.base import Declaration
from unterbau.declaration.fields import Address, Cidr, DomainName, FilePath, HostName, Port, Some, UserName


class Network(Declaration):
    """The private network that the nodes share, and where operators and CI come from."""

    cidr: Cidr = Field(description="the nodes' network, for example 10.77.0.0/24")
    domain: DomainName = Field(description="what follows a node's name, for example lab.internal")
    controllers: Some[Cidr] = Field(description="where operators and CI come from, for example 10.77.0.1/32")


class Node(Declaration):
    """One machine. `known_hosts` pins its host key: nothing is ever accepted on first sight."""

    name: HostName = Field(description="host name, one RFC 1123 label")
    address: Address = Field(description="IPv4 address inside `network.cidr`, for example 10.77.0.11")
    ssh_user: UserName = Field("root", description="who logs in")
    ssh_port: Port = Field(22, description="the port that is connected to")
    ssh_key: FilePath | None = Field(None, description="path of the private key; None asks the SSH agent")
    known_hosts: FilePath = Field(description="path of the OpenSSH known_hosts file with the node's key")


Host = tuple[str, dict[str, Any]]


def hosts(*nodes: Node) -> list[Host]:
    """A group of an inventory: entries as pyinfra wants them, with the node itself as the data `node`."""
    return [(f"@node/{node.name}", _data(node)) for node in nodes]


def _data(node: Node) -> dict[str, Any]:
    connection = {
        "ssh_hostname": str(node.address), "ssh_user": node.ssh_user, "ssh_port": node.ssh_port,
        "ssh_known_hosts_file": node.known_hosts,
    }  # fmt: skip
    key = {"ssh_key": node.ssh_key} if node.ssh_key else {}  # pyinfra refuses None where it wants text
    return {"node": node, **connection, **key}
