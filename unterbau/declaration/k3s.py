"""K3s: the cluster's servers and agents, and what its nodes have in common. Values never stand here, only names."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import (
    Address,
    Cidr,
    DomainName,
    Group,
    Many,
    Port,
    Slug,
    Some,
    different,
    matching,
    repeated,
)
from unterbau.declaration.kubernetes_names import LabelKey, LabelValue, Schedule
from unterbau.declaration.secret import Ref, SecretName

SERVER_TAINT = "node-role.kubernetes.io/control-plane"


def _url(text: str) -> str:
    """Without credentials, which belong into secrets; so what was found is not shown."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?", text):
        told = {"found": "another one (not shown)", "allowed": "https://HOST:PORT/PATH, without credentials"}
        raise PydanticCustomError("url", "{allowed}", told)
    return text


def _day(text: str) -> str:
    if text:
        date.fromisoformat(text)
    return text


DateOrNever = Annotated[
    str, matching(r"([0-9]{4}-[0-9]{2}-[0-9]{2})?", "a day, \"2026-11-22\", or ''"), AfterValidator(_day)
]
GroupOrNone = Annotated[str, matching(r"([a-z][a-z0-9_-]*)?", "a group's name, or '' if there is none")]
Flannel = Literal["vxlan", "host-gw", "wireguard-native"]
Packaged = Literal["coredns", "local-storage", "metrics-server", "servicelb", "traefik"]
PackagedMany = Annotated[Many[Packaged], AfterValidator(different)]
TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
AltNames = Annotated[Many[DomainName], AfterValidator(different)]
RegistryUrl = Annotated[str, AfterValidator(_url)]
RegistryUrls = Annotated[Some[RegistryUrl], AfterValidator(different)]
RegistryHost = Annotated[
    str, matching(r"\*|[A-Za-z0-9.-]+(:[0-9]{1,5})?", "a registry's host, with its port if it has one, or '*'")
]
DatastoreUrl = Annotated[
    str, matching(r"https://[A-Za-z0-9.-]+:[0-9]{1,5}", "https://HOST:PORT of a member of the etcd cluster")
]
DatastoreUrls = Annotated[Some[DatastoreUrl], AfterValidator(different)]
ArtifactNames = Annotated[Many[Slug], AfterValidator(different)]
PackageName = Annotated[str, matching(r"[a-z0-9][a-z0-9+.-]+", "a Debian package's name")]
PackageNames = Annotated[Many[PackageName], AfterValidator(different)]
# One argument a component, as K3s' own `…-arg` keys take it: a list item "name=value".
Argument = Annotated[str, matching(r"[a-z][a-z0-9-]*=[^\x00-\x1f]*", 'an argument without dashes, "max-pods=60"')]
Folder = Annotated[
    str,
    matching(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", "a folder, without '/' at either end"),
]
Bucketed = Annotated[str, matching(r"[a-z0-9-]*", "a Bucket's name, or '' for snapshots on the servers only")]
UserOrNone = Annotated[str, matching(r"([A-Za-z0-9._-]{3,20})?", "a S3User's name, or '' without a bucket")]


def _argument_names_once(values: tuple[str, ...]) -> tuple[str, ...]:
    again = repeated(values, lambda one: one.partition("=")[0])
    if again:
        raise ValueError(f"each argument once ({again[0].partition('=')[0]} is there twice)")
    return values


Arguments = Annotated[Many[Argument], AfterValidator(_argument_names_once)]


class NodeLabel(Declaration):
    """A label that nodes register with."""

    nodes: Group = Field(description="the group of nodes that have it")
    key: LabelKey = Field(description="for example example.com/disk; none that kubelets may not give themselves")
    value: LabelValue = Field("", description="63 characters at most")


class NodeTaint(Declaration):
    """A taint that nodes register with: what does not tolerate it stays away."""

    nodes: Group = Field(description="the group of nodes that have it")
    key: LabelKey = Field(description="for example example.com/database")
    value: LabelValue = Field("", description="63 characters at most")
    effect: TaintEffect = Field("NoSchedule", description='"NoSchedule", "PreferNoSchedule" or "NoExecute"')


class RegistryMirror(Declaration):
    """Where images of a registry are fetched instead."""

    registry: RegistryHost = Field(description='the registry in images\' names, "docker.io"; "*" for all others')
    endpoints: RegistryUrls = Field(description="URLs, tried in order")
    ca: SecretName | None = Field(None, description="the secret with its CA certificate; None: the node's own trust")
    username: str = Field("", description="whom nodes log in as; '' without a login")
    password: Ref | None = Field(None, description="SecretRef to that user's password")

    @model_validator(mode="after")
    def _whole_login(self) -> RegistryMirror:
        if bool(self.username) != (self.password is not None):
            found = "a username alone" if self.username else "a password alone"
            raise rule("username", found, "username and password, or neither")
        return self


class K3sDatastore(Declaration):
    """An etcd cluster outside of K3s, instead of the servers' own."""

    endpoints: DatastoreUrls = Field(description="https://HOST:PORT of its members")
    ca: SecretName = Field(description="the secret with the certificate of its authority")
    certificate: SecretName = Field(description="the secret with the client certificate")
    key: SecretName = Field(description="the secret with that certificate's key")


Label = Annotated[NodeLabel, made_of(NodeLabel)]
Taint = Annotated[NodeTaint, made_of(NodeTaint)]
Mirror = Annotated[RegistryMirror, made_of(RegistryMirror)]
Datastore = Annotated[K3sDatastore, made_of(K3sDatastore)]


class K3s(Declaration):
    """One cluster: who is in it, its networks, its snapshots. What all servers must share is said once, here."""

    name: Slug = Field("platform", description="the cluster's name")
    servers: Group = Field("servers", description="the group of its servers; an odd number")
    agents: GroupOrNone = Field("workers", description="the group of its agents; '' if there is none")
    artifact: Slug = Field("k3s", description="the entry of locks/artifacts.yaml that its nodes run")
    token: SecretName = Field("k3s/token", description="the secret that servers join with")
    agent_token: SecretName = Field("k3s/agent-token", description="the secret that agents join with")
    api_port: Port = Field(6443, description="where each server's API listens")
    cluster_cidr: Cidr = Field("10.42.0.0/16", validate_default=True, description="the pods' network, a /24 a node")
    service_cidr: Cidr = Field("10.43.0.0/16", validate_default=True, description="the services' addresses")
    cluster_dns: Address = Field("10.43.0.10", validate_default=True, description="the DNS service, in service_cidr")
    cluster_domain: DomainName = Field("cluster.local", description="what follows a service's name")
    flannel_backend: Flannel = Field(
        "vxlan", description='how pods\' packets cross nodes: "vxlan", "host-gw" or "wireguard-native"'
    )
    disable: PackagedMany = Field(
        ("local-storage", "metrics-server", "servicelb", "traefik"), description="components of K3s that stay out"
    )
    server_taint: bool = Field(default=True, description="servers run no pods but those that tolerate it")
    tls_san: AltNames = Field((), description="names and addresses of the API besides the servers' own")
    labels: Many[Label] = Field((), description="NodeLabel(…), …")
    taints: Many[Taint] = Field((), description="NodeTaint(…), …")
    images: ArtifactNames = Field((), description="artifacts with images that nodes import")
    registries: Many[Mirror] = Field((), description="RegistryMirror(…), …")
    snapshot_cron: Schedule = Field("0 */6 * * *", description="when every server takes a snapshot of etcd, cron, UTC")
    snapshots_kept: int = Field(8, ge=1, le=1000, description="scheduled snapshots kept, on each server and in S3")
    snapshot_bucket: Bucketed = Field("", description="the Bucket that snapshots go to; '' for the servers only")
    snapshot_user: UserOrNone = Field("", description="the S3User that writes them; its secret is used")
    snapshot_folder: Folder = Field("k3s", description="the folder in the bucket")
    datastore: Datastore | None = Field(None, description="K3sDatastore(…); by itself the servers' own etcd")
    drain_timeout_s: int = Field(300, ge=1, le=86400, description="how long a node's pods may take to leave it")
    reboots_when_required: bool = Field(
        default=False,
        description="apply reboots nodes that need it, one at a time; their nightly slots do anyway",
    )
    encryption_key_not_before: DateOrNever = Field(
        "", description="a key of Secrets that was made before this day (UTC) is made anew; '' for never"
    )
    certificates_renewed_days: int = Field(
        60, ge=1, le=119, description="days before its end at which a certificate of K3s is made anew"
    )
    packages: PackageNames = Field((), description="Debian packages for a K3s that does not bring its own containerd")
    apiserver_args: Arguments = Field((), description="more arguments of kube-apiserver")
    kubelet_args: Arguments = Field((), description="more arguments of the kubelet")
    kube_proxy_args: Arguments = Field((), description="more arguments of kube-proxy")
    etcd_args: Arguments = Field((), description='more arguments of etcd, "quota-backend-bytes=4294967296"')

    @model_validator(mode="after")
    def _snapshots_have_a_writer(self) -> K3s:
        if bool(self.snapshot_bucket) != bool(self.snapshot_user):
            found = "a bucket without a user" if self.snapshot_bucket else "a user without a bucket"
            raise rule("snapshot_bucket", found, "snapshot_bucket and snapshot_user, or neither")
        if self.datastore and self.snapshot_bucket:
            raise rule("snapshot_bucket", "a bucket with a datastore", "neither: K3s takes snapshots of its own etcd")
        return self
