"""The K3s layer: servers with their own etcd, one of them changed at a time, then agents."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import HiddenValue, deploy

from deploys import object_storage as storage
from deploys.base import addresses
from deploys.leaving import leaving
from deploys.secrets import keyring
from facts.k3s import DATA
from operations import artifact as pinned
from operations import k3s as operations
from operations import k3s_node, k3s_reboot, k3s_registries, link, minio_gate, openbao_gate, package
from operations.k3s_config import DATASTORE_CA, DATASTORE_CERTIFICATE, DATASTORE_KEY, Cluster, Node, Tokens
from unterbau.artifacts import Artifact, artifact
from unterbau.declaration import K3s, VaultEndpoint

COMMANDS = ("k3s", "kubectl", "crictl", "ctr")
IMAGES = f"{DATA}/agent/images"
S3_CONFIG_SECRET = "k3s-etcd-snapshot-s3"  # noqa: S105  # the name of an object of the layer kubernetes


@deploy("k3s")
def k3s_servers() -> None:
    """On each server. Who founds the cluster and who joins it, the operations know."""
    node, tokens = _prepared("server"), tokens_of(server=True)
    operations.founded(node=node, tokens=tokens, name="first start")
    operations.admitted(node=node, tokens=tokens, name="join", _serial=True)
    operations.server(node=node, tokens=tokens, name="servers", _serial=True)
    k3s_node.described(node=node, name="labels and taints")
    if host.data.k3s.reboots_when_required:
        k3s_reboot.rebooted(node=node, beside=_beside(), name="reboots of servers", _serial=True)


@deploy("k3s agents")
def k3s_agents() -> None:
    """On each agent, after every server."""
    node, tokens = _prepared("agent"), tokens_of(server=False)
    operations.joined(node=node, tokens=tokens, name="start")
    operations.agent(node=node, tokens=tokens, name="agents", _serial=True)
    k3s_node.described(node=node, name="labels and taints")
    if host.data.k3s.reboots_when_required:
        k3s_reboot.rebooted(node=node, beside=_beside(), name="reboots of agents", _serial=True)


def is_server() -> bool:
    """Whether this node is a server of the cluster."""
    declared = host.data.get("k3s")
    return bool(host.data.get("node")) and declared is not None and declared.servers in host.groups


def is_agent() -> bool:
    """Whether this node is an agent of the cluster."""
    declared = host.data.get("k3s")
    return bool(host.data.get("node")) and declared is not None and declared.agents in host.groups


def _beside() -> list[k3s_reboot.Beside]:
    """The other clusters that this machine is a member of: a reboot takes it from them as well."""
    found = []
    for one in (other.data.get("vault") for other in inventory):
        if isinstance(one, VaultEndpoint) and one.members in host.groups:
            asked = host.data.node.name, addresses(one.members), one.port
            found.append(k3s_reboot.Beside(openbao_gate.before_restart(*asked), openbao_gate.after_start(*asked)))
    if storage.is_member():
        server = storage.this_server(host.data.object_storage, artifact("minio"))
        found.append(k3s_reboot.Beside(minio_gate.before_restart(server), minio_gate.after_start(server)))
    return found


def _prepared(role: str) -> Node:
    """What does not run yet: packages, the binary, images; the node as it should be."""
    declared: K3s = host.data.k3s
    binary = artifact(declared.artifact)
    package.installed(names=["curl", "openssl", *declared.packages], name="packages")
    pinned.installed(artifact=binary, name="binary")
    links = {f"/usr/local/bin/{name}": pinned.path_of(binary) for name in COMMANDS}
    link.exactly(links=links, name="commands")
    images = [artifact(name) for name in declared.images]
    for image in images:
        pinned.installed(artifact=image, name=f"images {image.name}")
    archives = {f"{IMAGES}/{image.name}.tar": pinned.path_of(image) for image in images}
    link.exactly(links=archives, folder=IMAGES, suffix=".tar", name="images to import")
    return node_of(declared, role, binary)


def node_of(declared: K3s, role: str, binary: Artifact) -> Node:
    """This node, as it should be."""
    datastore = _datastore(declared) if role == "server" else {}
    return Node(
        node=host.data.node.name,
        role="server" if role == "server" else "agent",
        cluster=cluster(declared),
        binary=pinned.path_of(binary),
        version=version_of(binary),
        stand_in=getattr(binary, "stand_in", ""),
        names=(f"{host.data.node.name}.{host.data.network.domain}",),
        labels=tuple(f"{one.key}={one.value}" for one in declared.labels if one.nodes in host.groups),
        taints=tuple(f"{one.key}={one.value}:{one.effect}" for one in declared.taints if one.nodes in host.groups),
        files={**k3s_registries.files(_mirrors(declared)), **datastore},
    )


def cluster(declared: K3s) -> Cluster:
    """What all nodes have in common."""
    return Cluster(
        servers=addresses(declared.servers),
        agents=addresses(declared.agents) if declared.agents else {},
        port=declared.api_port,
        cluster_cidr=str(declared.cluster_cidr),
        service_cidr=str(declared.service_cidr),
        cluster_dns=str(declared.cluster_dns),
        cluster_domain=declared.cluster_domain,
        flannel_backend=declared.flannel_backend,
        disable=tuple(declared.disable),
        tls_san=tuple(declared.tls_san),
        server_taint=declared.server_taint,
        snapshot_cron=declared.snapshot_cron,
        snapshots_kept=declared.snapshots_kept,
        s3_config_secret=S3_CONFIG_SECRET if declared.snapshot_bucket else "",
        removed=leaving(),
        datastore=tuple(declared.datastore.endpoints) if declared.datastore else (),
        drain_timeout_s=declared.drain_timeout_s,
        apiserver_args=tuple(declared.apiserver_args),
        kubelet_args=tuple(declared.kubelet_args),
        kube_proxy_args=tuple(declared.kube_proxy_args),
        etcd_args=tuple(declared.etcd_args),
    )


def version_of(binary: Artifact) -> str:
    """As Kubernetes says it: "v1.34.4+k3s1"."""
    return f"v{binary.version.removeprefix('v')}"


def tokens_of(*, server: bool) -> Tokens:
    """An agent never gets the servers' token: whoever has it reads every secret of the cluster."""
    declared: K3s = host.data.k3s
    return Tokens(
        agent=keyring().value(declared.agent_token), server=keyring().value(declared.token) if server else None
    )


def _mirrors(declared: K3s) -> list[k3s_registries.Mirror]:
    return [
        k3s_registries.Mirror(
            registry=one.registry,
            endpoints=tuple(one.endpoints),
            ca=keyring().value(one.ca) if one.ca else None,
            username=one.username,
            password=keyring().value(one.password.name) if one.password else None,
        )
        for one in declared.registries
    ]


def _datastore(declared: K3s) -> dict[str, HiddenValue]:
    outside = declared.datastore
    if outside is None:
        return {}
    named = {DATASTORE_CA: outside.ca, DATASTORE_CERTIFICATE: outside.certificate, DATASTORE_KEY: outside.key}
    return {path: keyring().value(name) for path, name in named.items()}
