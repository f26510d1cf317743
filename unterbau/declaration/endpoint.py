"""What is no node but a host of the inventory all the same: the bootstrap store, and APIs reached through nodes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from unterbau.declaration.base import Declaration
from unterbau.declaration.cloud import CloudProject
from unterbau.declaration.fields import FilePath, Group, Port, Slug
from unterbau.declaration.problems import Inert
from unterbau.declaration.storage import S3Endpoint


class SecretStore(Declaration):
    """The age-encrypted file with the environment's secrets, on the operator's machine. One an environment."""

    name: Slug = Field("secrets", description="how the plan names it")
    path: FilePath = Field(description="the age file; it may be committed")
    identity: FilePath = Field(description="the file with your age identity; it must not be committed")


class VaultEndpoint(Declaration):
    """The API of a cluster of OpenBao servers. It is reached through the SSH connections of its members."""

    name: Slug = Field("vault", description="how the plan names it")
    members: Group = Field("servers", description="the group of nodes that are its members; an odd number")
    port: Port = Field(8200, description="where the members' API listens")
    cluster_port: Port = Field(8201, description="where members speak with each other")


class KubernetesEndpoint(Declaration):
    """The API of a K3s cluster. It is reached through the SSH connections of its servers."""

    name: Slug = Field("kubernetes", description="how the plan names it")
    members: Group = Field("servers", description="the group of nodes that serve it: those of `k3s`")
    port: Port = Field(6443, description="where their API listens")


Endpoint = SecretStore | VaultEndpoint | S3Endpoint | KubernetesEndpoint | CloudProject
CONNECTORS: dict[type[Declaration], str] = {
    SecretStore: "store", VaultEndpoint: "vault", S3Endpoint: "s3", KubernetesEndpoint: "kubernetes",
    CloudProject: "hcloud",
}  # fmt: skip
# What a host's declaration is called in its data: its connector's name, but where several clouds may share it.
DATA_NAMES: dict[type[Declaration], str] = {**CONNECTORS, CloudProject: "cloud"}


_KINDS = " or ".join(f"{kind.__name__}(…)" for kind in CONNECTORS)


def endpoints(*declared: Endpoint) -> list[tuple[str, dict[str, Any]]]:
    """A group of an inventory whose hosts are no nodes; each has its declaration as the data
    `store`, `vault`, `s3`, `kubernetes` or `cloud`."""
    return [_host(one) for one in declared]


def _host(one: Any) -> Any:
    if isinstance(one, Inert):
        return one
    if type(one) not in CONNECTORS:
        raise TypeError(f"endpoints() takes {_KINDS}, not {type(one).__name__}")
    return f"@{CONNECTORS[type(one)]}/{one.name}", {DATA_NAMES[type(one)]: one}
