"""What a node of a K3s cluster is made of, as text: its configuration, its unit, and how its API is hardened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra.api import HiddenValue

from facts.k3s import CONFIG, FOLDER, REGISTRIES, STARTED_WITH, UNITS, Role
from operations.config_file import Wanted
from operations.k3s_hardening import (
    ADMISSION,
    AUDIT_POLICY,
    CIPHERS,
    HEADER,
    KUBELET_CONFIG,
    admission,
    apiserver_arguments,
    audit_policy,
    kubelet_config,
)
from operations.service import UNIT_FOLDER

DATASTORE_CA, DATASTORE_CERTIFICATE, DATASTORE_KEY = (
    f"{FOLDER}/datastore/{name}" for name in ("ca.crt", "client.crt", "client.key")
)
SERVER_TAINT = "node-role.kubernetes.io/control-plane=true:NoSchedule"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/cni"


@dataclass(frozen=True)
class Cluster:
    """What all nodes of a cluster have in common."""

    servers: Mapping[str, str]  # {name: address}, in the inventory's order
    agents: Mapping[str, str]
    port: int = 6443
    cluster_cidr: str = "10.42.0.0/16"
    service_cidr: str = "10.43.0.0/16"
    cluster_dns: str = "10.43.0.10"
    cluster_domain: str = "cluster.local"
    flannel_backend: str = "vxlan"
    disable: Sequence[str] = ()
    tls_san: Sequence[str] = ()
    server_taint: bool = True
    snapshot_cron: str = "0 */6 * * *"
    snapshots_kept: int = 8
    s3_config_secret: str = ""  # the Secret of kube-system that says where snapshots go; "" = on the servers only
    removed: Sequence[str] = ()  # names of nodes that are to leave or have left
    datastore: Sequence[str] = ()  # endpoints of an etcd outside of K3s; () = the servers' own
    drain_timeout_s: int = 300
    apiserver_args: Sequence[str] = ()
    kubelet_args: Sequence[str] = ()
    kube_proxy_args: Sequence[str] = ()
    etcd_args: Sequence[str] = ()


@dataclass(frozen=True)
class Node:
    """One node of it, as it should be."""

    node: str
    role: Role
    cluster: Cluster
    binary: str
    version: str
    stand_in: str = ""  # what stands in for K3s; "" if it is K3s
    names: Sequence[str] = ()  # further names and addresses of this server's API
    labels: Sequence[str] = ()  # "key=value", given when it registers
    taints: Sequence[str] = ()  # "key=value:Effect"
    files: Mapping[str, str | HiddenValue] = field(
        default_factory=dict
    )  # {path: text} of certificates and of registries

    @property
    def address(self) -> str:
        """Where it is reached by the others."""
        return {**self.cluster.agents, **self.cluster.servers}[self.node]

    @property
    def unit(self) -> str:
        """Its unit."""
        return UNITS[self.role]

    @property
    def unit_file(self) -> str:
        """Where that lies."""
        return f"{UNIT_FOLDER}{self.unit}"

    @property
    def others(self) -> list[str]:
        """The other servers."""
        return [name for name in self.cluster.servers if name != self.node]


@dataclass(frozen=True)
class Tokens:
    """What nodes join with: an agent knows only the agents' one."""

    agent: HiddenValue
    server: HiddenValue | None = None


def malformed(node: Node) -> str | None:
    """Why something of it cannot stand in a unit, which knows no quoting that would hold; None if all can."""
    odd = [path for path in (node.binary, *node.files) if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+", path)]
    return f"found the path {odd[0]!r}; use letters, digits and '._+-' in it" if odd else None


def url_of(node: Node, server: str) -> str:
    """Where a node joins through `server`, a name; a URL, of one that is no longer declared, is where."""
    return server if server.startswith("https://") else f"https://{node.cluster.servers[server]}:{node.cluster.port}"


def config_yaml(node: Node, tokens: Tokens, through: str | None) -> str:
    """config.yaml of a node that joins `through` a server of this name or URL; None: a server that founds the cluster.

    Once a server has data it ignores both ways. Source: K3s docs, datastore/ha-embedded.
    """
    way = {"cluster-init": True} if through is None else {"server": url_of(node, through)}
    if node.cluster.datastore and node.role == "server":
        way = {}  # who shares a datastore shares the cluster
    values = {
        **way,
        **(_server(node, tokens) if node.role == "server" else {"token": tokens.agent.unmask()}),
        **_common(node),
    }
    return HEADER + "".join(_entry(key, value) for key, value in values.items())


def _entry(key: str, value: object) -> str:
    """One key; JSON is YAML in which every text is quoted."""
    if isinstance(value, list):
        return f"{key}:\n" + "".join(f"  - {json.dumps(one)}\n" for one in value) if value else ""
    return f"{key}: {json.dumps(value)}\n"


def _common(node: Node) -> dict[str, object]:
    cluster = node.cluster
    return {
        "node-name": node.node,
        "node-ip": node.address,
        "node-label": list(node.labels),
        "node-taint": taints_of(node),
        "protect-kernel-defaults": True,
        "kubelet-arg": ["streaming-connection-idle-timeout=5m", f"tls-cipher-suites={CIPHERS}", *cluster.kubelet_args],
        "kube-proxy-arg": list(cluster.kube_proxy_args),
    }


def taints_of(node: Node) -> list[str]:
    """All that it registers with, "key=value:Effect"."""
    own = [SERVER_TAINT] if node.role == "server" and node.cluster.server_taint else []
    return [*own, *node.taints]


def critical(cluster: Cluster) -> dict[str, str]:
    """{key: value} of what must be the same on every server. Source: K3s docs, cli/server, critical values."""
    return {
        "cluster-cidr": cluster.cluster_cidr,
        "service-cidr": cluster.service_cidr,
        "cluster-dns": cluster.cluster_dns,
        "cluster-domain": cluster.cluster_domain,
        "flannel-backend": cluster.flannel_backend,
        "secrets-encryption": "true",
        "disable-cloud-controller": _text("servicelb" in cluster.disable),
        "disable-helm-controller": _text("traefik" in cluster.disable),
    }


def _text(value: bool) -> str:
    return "true" if value else "false"


def _server(node: Node, tokens: Tokens) -> dict[str, object]:
    cluster = node.cluster
    values: dict[str, object] = {
        "token": tokens.server.unmask() if tokens.server else "",
        "agent-token": tokens.agent.unmask(),
        "advertise-address": node.address,
        "tls-san": sorted({node.node, *node.names, *cluster.tls_san}),
        **{name: _typed(value) for name, value in critical(cluster).items() if value != "false"},
        "disable": sorted(cluster.disable),
        "write-kubeconfig-mode": "0600",
        "kube-apiserver-arg": [*apiserver_arguments(), *cluster.apiserver_args],
        "kube-controller-manager-arg": ["terminated-pod-gc-threshold=100"],
    }
    if cluster.port != 6443:
        values["https-listen-port"] = cluster.port
    return values | (_datastore(cluster) if cluster.datastore else _etcd(cluster))


def _typed(value: str) -> str | bool:
    return True if value == "true" else value


def _etcd(cluster: Cluster) -> dict[str, object]:
    """Snapshots are not compressed: those did not restore for a long time. Where to in S3 a Secret says."""
    values: dict[str, object] = {
        "etcd-snapshot-schedule-cron": cluster.snapshot_cron,
        "etcd-snapshot-retention": cluster.snapshots_kept,
        "etcd-arg": list(cluster.etcd_args),
    }
    if cluster.s3_config_secret:
        values |= {"etcd-s3": True, "etcd-s3-config-secret": cluster.s3_config_secret}
    return values


def _datastore(cluster: Cluster) -> dict[str, object]:
    return {
        "datastore-endpoint": ",".join(cluster.datastore),
        "datastore-cafile": DATASTORE_CA,
        "datastore-certfile": DATASTORE_CERTIFICATE,
        "datastore-keyfile": DATASTORE_KEY,
    }


def open_files(node: Node) -> list[str]:
    """The files of it that hold no secret."""
    return [node.unit_file, *([AUDIT_POLICY, ADMISSION] if node.role == "server" else []), KUBELET_CONFIG]


def secret_files(node: Node) -> list[str]:
    """Those that may hold one: of them the digest is read only."""
    return [CONFIG, REGISTRIES, *sorted(path for path in node.files if path != REGISTRIES)]


def unit_text(node: Node) -> str:
    """Its unit: as K3s' own, and before the process starts it writes down what that reads.

    KillMode=process: pods live on while K3s restarts. The binary is told by the unit alone: K3s unpacks itself and
    runs from elsewhere.
    """
    digests = f"umask 077; sha256sum {' '.join(secret_files(node) + open_files(node))} > {STARTED_WITH} 2>/dev/null; :"
    return HEADER + "\n".join(
        [
            "[Unit]",
            f"Description=K3s {node.role}",
            "Documentation=https://docs.k3s.io",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            f"Environment=PATH={PATH}",
            f"ExecStartPre=/bin/sh -c '{digests}'",
            f"ExecStart={node.binary} {node.role}",
            "KillMode=process",
            "Delegate=yes",
            "LimitNOFILE=1048576",
            "LimitNPROC=infinity",
            "LimitCORE=0",
            "TasksMax=infinity",
            "TimeoutStartSec=0",
            "Restart=always",
            "RestartSec=5",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def wanted_files(node: Node, config: HiddenValue) -> dict[str, Wanted | None]:
    """{path: what should be there}, config.yaml last: without it nothing starts."""
    api = {AUDIT_POLICY: audit_policy(), ADMISSION: admission()} if node.role == "server" else {}
    hardening = {**api, KUBELET_CONFIG: kubelet_config()}
    registries = {} if REGISTRIES in node.files else {REGISTRIES: None}
    return {
        **registries,
        **{path: Wanted(text, "600") for path, text in {**hardening, **node.files}.items()},
        node.unit_file: Wanted(unit_text(node)),
        CONFIG: Wanted(config, "600"),
    }
