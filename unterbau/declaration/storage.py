"""Object storage: the servers' layout and what it is for, and the S3 endpoint that all buckets are declared on."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import FilePath, Group, Port, Slug, Some, different, matching
from unterbau.declaration.secret import SecretName


def _url(text: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?", text):
        told = {"found": "another one (not shown)", "allowed": "https://HOST or https://HOST:PORT, without credentials"}
        raise PydanticCustomError("url", "{allowed}", told)
    return text


MountPoint = Annotated[
    str, matching(r"(/[A-Za-z0-9._-]+)+", "a mount point: an absolute path of letters, digits, '._-'")
]
MountPoints = Annotated[Some[MountPoint], AfterValidator(different)]
S3Url = Annotated[str, AfterValidator(_url)]
AccessKey = Annotated[str, matching(r"[A-Za-z0-9._-]{3,64}", "an access key: 3 to 64 letters, digits, '._-'")]
Engine = Literal["minio", "seaweedfs", "aws"]


class StoragePool(Declaration):
    """Nodes with as many drives each. An object lies in one erasure set of one pool."""

    nodes: Group = Field("storage", description="the group of its nodes; a node is in one pool")
    drives: MountPoints = Field(description="where each node's drives are mounted: XFS, one file system a drive")
    drives_per_set: int | None = Field(
        None, ge=2, le=16, description="drives an erasure set; by itself the largest that divides the pool's drives"
    )


Pools = Some[Annotated[StoragePool, made_of(StoragePool)]]


class ObjectStorage(Declaration):
    """The layout of MinIO's servers, and how many nodes may fail. A promise that it cannot keep is refused."""

    pools: Pools = Field(description="to grow, append one; a pool that is there never changes")
    parity: int = Field(2, ge=0, le=8, description="parity shards of every object (EC:2)")
    survives: int = Field(2, ge=0, le=8, description="nodes, whichever, that may fail: all is still read and written")
    root: SecretName = Field("storage/root", description="the secret that the servers and deploys live by")
    kms_key: SecretName = Field("storage/kms-key", description="the secret that encrypts identities on the drives")
    gateway_port: Port = Field(9443, description="where each node's own gateway listens; applications use it")
    restart_together: bool = Field(
        default=False,
        description="allow what all servers must change at once (pools, parity, root): an outage of seconds",
    )

    @model_validator(mode="after")
    def _pools_apart(self) -> ObjectStorage:
        groups = [pool.nodes for pool in self.pools]
        if len(set(groups)) < len(groups):
            raise rule("pools", f"{len(groups)} pools of {len(set(groups))} groups", "a group of its own for each pool")
        return self


class S3Endpoint(Declaration):
    """An S3 service: our servers, through the SSH connections of their nodes (`members`), or another one (`url`)."""

    name: Slug = Field("s3", description="how the plan names it")
    members: Group | None = Field(None, description="the group of nodes that serve it")
    port: Port = Field(9000, description="where the members' API listens")
    url: S3Url | None = Field(None, description="an S3 service that is not ours, instead of members")
    engine: Engine = Field("minio", description='who answers: "minio", "seaweedfs" or "aws"')
    region: Slug = Field("us-east-1", description="the region that requests are signed for")
    access_key: AccessKey = Field("unterbau", description="whose requests deploys send")
    secret: SecretName = Field("storage/root", description="the secret to that access key")
    roots: FilePath | None = Field(None, description="PEM file of the authorities that `url` is verified against")

    @model_validator(mode="after")
    def _one_way(self) -> S3Endpoint:
        if (self.members is None) == (self.url is None):
            found = "neither members nor url" if self.url is None else "members and url"
            raise rule("members", found, 'members="GROUP" or url="https://…", one of them')
        if self.engine == "aws" and self.members:
            raise rule("engine", "'aws' with members", '"minio" or "seaweedfs" for members')
        if self.roots and self.members:
            raise rule("roots", "roots with members", "no roots: members are verified against the internal root")
        return self
