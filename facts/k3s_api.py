"""What K3s' API says, asked on a node with the certificates that lie there, and the shape in which it is kept."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

DATA = "/var/lib/rancher/k3s"
ETCD_HEALTH = "http://127.0.0.1:2381/readyz?verbose"
AGENT_PORT = 6444  # where an agent's own load balancer over all servers listens. Source: K3s docs, architecture
CORDON = "unterbau.io/cordoned"  # annotation: why we cordoned it; a node without it was cordoned by somebody else
ETCD_NAME = "etcd.k3s.cattle.io/node-name"
ETCD_REMOVED = "etcd.k3s.cattle.io/removed-node-name"
NODE_ARGS = "k3s.io/node-args"
KUBELET_HEALTH = "http://127.0.0.1:10248/healthz"
BY_SEMICOLONS = "'\\n' ';'"
ROLE_LABEL = "node-role.kubernetes.io/"
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 6


@dataclass(frozen=True)
class Login:
    """Where a client certificate of K3s and the authority of its servers lie."""

    folder: str
    name: str

    @property
    def certificate(self) -> str:
        """Its file."""
        return f"{self.folder}/{self.name}.crt"

    @property
    def options(self) -> str:
        """Options of curl: names of files, never a key."""
        key, authority = f"{self.folder}/{self.name}.key", f"{self.folder}/server-ca.crt"
        return f"--cacert {authority} --cert {self.certificate} --key {key}"


ADMIN = Login(f"{DATA}/server/tls", "client-admin")
KUBELET = Login(f"{DATA}/agent", "client-kubelet")


class NodeState(TypedDict):
    """One Node object."""

    ready: bool
    version: str  # of its kubelet: "v1.34.4+k3s1"
    schedulable: bool
    cordoned_by_us: str | None  # why; None if we did not
    roles: list[str]  # ["control-plane", "etcd", "master"]
    labels: dict[str, str]
    taints: list[str]  # "key=value:Effect"
    address: str | None  # its internal one
    etcd_name: str | None  # of its member
    etcd_removed: str | None  # of the member that it had before it was removed
    arguments: dict[str, list[str]]  # what its server was started with, without dashes; secrets are "********"
    uid: str


def node_of(said: Mapping[str, Any]) -> NodeState:
    """A Node as the API gives it, in our words."""
    metadata, spec, status = said.get("metadata", {}), said.get("spec", {}), said.get("status", {})
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    addresses = [one["address"] for one in status.get("addresses") or () if one["type"] == "InternalIP"]
    return {
        "ready": conditions.get("Ready") == "True",
        "version": str((status.get("nodeInfo") or {}).get("kubeletVersion", "")),
        "schedulable": not spec.get("unschedulable", False),
        "cordoned_by_us": annotations.get(CORDON),
        "roles": sorted(name.removeprefix(ROLE_LABEL) for name in labels if name.startswith(ROLE_LABEL)),
        "labels": dict(sorted(labels.items())),
        "taints": sorted(_taint(one) for one in spec.get("taints") or ()),
        "address": addresses[0] if addresses else None,
        "etcd_name": annotations.get(ETCD_NAME),
        "etcd_removed": annotations.get(ETCD_REMOVED),
        "arguments": arguments_of(annotations.get(NODE_ARGS, "")),
        "uid": str(metadata.get("uid", "")),
    }


def _taint(one: Mapping[str, str]) -> str:
    value = f"={one['value']}" if one.get("value") else ""
    return f"{one['key']}{value}:{one['effect']}"


def arguments_of(text: str) -> dict[str, list[str]]:
    """The annotation k3s.io/node-args, '["server","--cluster-cidr","10.42.0.0/16",…]' -> {"cluster-cidr": […]}.

    A flag without a value is "true". Source: K3s, pkg/nodeconfig.
    """
    try:
        words = json.loads(text or "[]")
    except ValueError:
        return {}
    found: dict[str, list[str]] = {}
    name = ""
    for word in map(str, words):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            found.setdefault(name, []).extend([value] if equals else [])
            name = "" if equals else name
        elif name:
            found[name].append(word)
            name = ""
    return {name: values or ["true"] for name, values in found.items()}


def readyz(text: str) -> dict[str, bool] | None:
    """The answer of /readyz?verbose, its lines joined by ';': "[+]ping ok;[-]etcd failed: …" -> {"ping": True, …}."""
    parts = [line.strip() for line in text.split(";")]
    found = {line[3:].split(" ")[0]: line.startswith("[+]") for line in parts if line.startswith(("[+]", "[-]"))}
    return found or None


def curl(login: Login | None = None) -> str:
    """Shell text of a curl that shows nothing but the answer, and takes no proxy."""
    limits = f"--connect-timeout {CONNECT_TIMEOUT_S} --max-time {ANSWER_TIMEOUT_S}"
    return " ".join(filter(None, ("curl --silent --noproxy '*'", limits, login.options if login else "")))


def line_of(kind: str, command: str, name: str = "", joined: str = "-d '\\n'") -> str:
    """Shell text that prints `KIND [NAME] ANSWER` on one line, its lines joined as `tr` is told; empty without one."""
    words = " ".join(shlex.quote(word) for word in ([kind, name] if name else [kind]))
    fields = "\\t".join(["%s"] * (3 if name else 2))
    return f"printf '{fields}\\n' {words} \"$({command} 2>/dev/null | tr {joined})\""


def at_once(*asked: str) -> str:
    """Shell text that runs all of `asked` at the same time and prints what each of them prints, in this order.

    A pipeline starts all of its parts at once; each holds its own answer back until it has passed on those before it.
    So one that does not answer costs its own time and nobody else's, and no line is cut by another one.
    """
    first, *others = asked
    later = (f"{{ said=$(exec </dev/null; {one}); cat; printf '%s\\n' \"$said\"; }}" for one in others)
    return " | ".join([f"{{ {first}; }}", *later])


def asking_own(node: str, role: Literal["server", "agent"], port: int) -> str:
    """Shell text: lines `version`, `node`, `kubelet`, `api` and `health` of what this node's own parts say.

    `health` is etcd's. An agent asks through its own load balancer: a node may read itself.
    """
    login, at = (ADMIN, port) if role == "server" else (KUBELET, AGENT_PORT)
    ask, base = curl(login), f"https://127.0.0.1:{at}"
    own = shlex.quote(f"{base}/api/v1/nodes/{node}?pretty=false")
    asked = [
        line_of("version", f"{ask} {base}/version"),
        line_of("node", f"{ask} {own}"),
        line_of("kubelet", f"{curl()} {KUBELET_HEALTH}"),
    ]
    if role == "server":
        asked.append(line_of("api", f"{ask} '{base}/readyz?verbose'", joined=BY_SEMICOLONS))
        asked.append(line_of("health", f"{curl()} '{ETCD_HEALTH}'", joined=BY_SEMICOLONS))
    known = f"! test -e {login.certificate} || {{ {at_once(*asked)}; }}"
    return f"command -v curl >/dev/null || echo 'no curl'; {known}"


class ServerApi(TypedDict):
    """What one server's API says to the node that asked. All but `answers` are None if it does not."""

    answers: bool
    ready: dict[str, bool] | None  # parts of /readyz
    nodes: dict[str, NodeState] | None


DOWN: ServerApi = {"answers": False, "ready": None, "nodes": None}


def asking_servers(servers: Mapping[str, str], port: int, *more: str) -> str:
    """Shell text that asks each of `servers` {name: address} for its /readyz and all Nodes: `ready NAME …`, `nodes …`.

    All are asked at once, and `more` (shell text that prints a line) with them. Nobody is asked from a node that has
    no certificate to ask with.
    """
    ask = curl(ADMIN)
    lines = []
    for name, address in servers.items():
        base = f"https://{address}:{port}"
        ready, nodes = shlex.quote(f"{base}/readyz?verbose"), shlex.quote(f"{base}/api/v1/nodes?pretty=false")
        lines += [line_of("ready", f"{ask} {ready}", name, BY_SEMICOLONS), line_of("nodes", f"{ask} {nodes}", name)]
    asked = [*lines, *more] or [":"]
    return f"! test -e {ADMIN.certificate} || {{ {at_once(*asked)}; }}"


def servers_of(output: Sequence[str]) -> dict[str, ServerApi]:
    """What `asking_servers` printed, by server, in the order in which they were asked; {} if nobody was."""
    said: dict[str, dict[str, str]] = {}
    for line in output:
        kind, _, rest = line.partition("\t")
        if kind in ("ready", "nodes"):
            name, _, text = rest.partition("\t")
            said.setdefault(name, {})[kind] = text
    return {name: _server(one.get("ready", ""), one.get("nodes", "")) for name, one in said.items()}


def _server(ready: str, nodes: str) -> ServerApi:
    parts = readyz(ready)
    if parts is None:
        return DOWN
    return {"answers": True, "ready": parts, "nodes": _nodes(nodes)}


def _nodes(text: str) -> dict[str, NodeState] | None:
    try:
        said = json.loads(text)
        return {
            one["metadata"]["name"]: node_of(one)
            for one in sorted(said["items"], key=lambda one: one["metadata"]["name"])
        }
    except (ValueError, KeyError, TypeError):
        return None  # an error, or an answer that was cut off
