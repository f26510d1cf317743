"""K3s on a node: its unit and files, what its process was started with, its data, and its own API and etcd.

Nothing here writes, and no secret leaves the node: of config.yaml, which holds the tokens, only the digest.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.certificate import WITHOUT_AUTHORITIES
from facts.config_file import FileState, parsed, reading
from facts.etcd import EtcdAnswers, answers, asking
from facts.k3s_api import (
    ADMIN,
    KUBELET,
    NodeState,
    ServerApi,
    asking_own,
    asking_servers,
    node_of,
    readyz,
    servers_of,
)
from facts.k3s_restore import READING as RESTORE
from facts.k3s_restore import Restore, restore_of
from facts.service import PROPERTIES, STARTS
from unterbau.domain.unknown import UNKNOWN, Unknown

Role = Literal["server", "agent"]
UNITS: Mapping[Role, str] = {"server": "k3s.service", "agent": "k3s-agent.service"}
FOLDER = "/etc/rancher/k3s"
CONFIG = f"{FOLDER}/config.yaml"
REGISTRIES = f"{FOLDER}/registries.yaml"
KUBECONFIG = f"{FOLDER}/k3s.yaml"
DATA = "/var/lib/rancher/k3s"
# K3s takes etcd for initialised once there is a write-ahead log. Source: K3s, pkg/etcd/etcd.go, IsInitialized.
WAL = f"{DATA}/server/db/etcd/member/wal"
# Of an external datastore: certificates that it gave this server.
SERVER_CA = f"{DATA}/server/tls/server-ca.crt"
# Written by the unit right before the process starts: the digest of every file that it reads.
STARTED_WITH = "/run/unterbau-k3s-started-with"
# Lines of keys at the beginning of a line, and what is indented below; not those whose name says that it is a secret.
HIDDEN_KEYS = "token|password|access-key|secret-key|endpoint|vpn-auth"
OPEN_LINES = f"/^[^ #-]/ {{ hide = !/^[a-z][a-z0-9-]*:/ || /^[a-z0-9-]*({HIDDEN_KEYS})[a-z0-9-]*:/ }} !hide"
_OPEN_CONFIG = f"! test -f {CONFIG} || {{ printf 'config\\t'; awk '{OPEN_LINES}' {CONFIG} | base64 -w0; echo; }}"
LAB_MARK = "/run/lab-settings"
RESET_FLAG = f"{DATA}/server/db/reset-flag"


class Node(Restore):
    """K3s on this node. `api`, `etcd`, `version` and `node` are None if nobody answers."""

    active: str  # of its unit, as systemd has it; "inactive" if there is no such unit
    enabled: str
    needs_daemon_reload: bool
    started_s: float | None
    now_s: float
    files: dict[str, FileState]  # those asked for; of secrets the digest only
    config: str | None  # config.yaml without the lines that may hold a secret; None if there is none
    started_with: dict[str, str] | None  # {path: digest} of the files that the process read; None if not known
    has_data: bool  # a server's etcd (or, with an external datastore, its certificates); an agent's certificates
    reset_flag: bool  # a restore was the last thing that happened to its data
    lab_machine: bool
    api: dict[str, bool] | None  # parts of its own /readyz: {"ping": True, "etcd": False}
    etcd: dict[str, bool] | None  # parts of its own etcd's /readyz
    kubelet: bool  # says that it is healthy
    version: str | None  # of the API that it asks: "v1.34.4+k3s1"
    node: NodeState | None  # its own Node object
    certificates: dict[str, str]  # {path: end, UTC, ISO 8601} of those that K3s made here


class ClusterState(TypedDict):
    """The cluster as the APIs of its servers and this node's etcd tell."""

    servers: dict[str, ServerApi]  # by name, all that were asked for
    nodes: dict[str, NodeState] | None  # as the first server says that answers, this one before the others
    etcd: EtcdAnswers


def serves(found: Node) -> bool:
    """Whether its own API says that every part of it works."""
    return bool(found["api"]) and all((found["api"] or {}).values())


def open_lines(text: str) -> str:
    """The same of a text that is about to be written."""
    shown, hide = [], False
    for line in text.splitlines():
        if line[:1] not in ("", " ", "#", "-"):
            key = re.match(r"[a-z][a-z0-9-]*(?=:)", line)
            hide = key is None or re.search(HIDDEN_KEYS, key[0]) is not None
        shown += [] if hide else [line]
    return "\n".join([*shown, ""])


def data_reading(role: Role, external: bool = False) -> str:
    """Shell text that prints `data yes|no`."""
    if role == "agent":
        path, kind = KUBELET.certificate, "-e"
    else:
        path, kind = (SERVER_CA, "-e") if external else (WAL, "-d")
    return f"if test {kind} {path}; then echo 'data yes'; else echo 'data no'; fi"


def data_of(output: Sequence[str]) -> bool:
    """What `data_reading` printed."""
    if not {"data yes", "data no"} & set(output):
        raise FactProcessError(f"cannot read whether K3s has data: found {list(output)[:3]}")
    return "data yes" in output


class Data(FactBase[bool | Unknown]):
    """Whether this server's disk has data of a cluster, running or not; those that a restore set aside count."""

    @override
    @staticmethod
    def default() -> bool | Unknown:
        return UNKNOWN

    @override
    def command(self, external: bool = False) -> str:
        return f"{data_reading('server', external)}; {RESTORE}"

    @override
    def process(self, output: list[str]) -> bool | Unknown:
        return data_of(output) or "restore" in restore_of(output)


class State(FactBase[Node | Unknown]):
    """Everything about K3s on the node called `node`, in one command.

    Args of the fact: its role, files to read with their text, files of which the digest is enough, the API's port, and
    whether the datastore is outside of K3s.
    """

    @override
    @staticmethod
    def default() -> Node | Unknown:
        return UNKNOWN

    @override
    def command(
        self,
        node: str,
        role: Role,
        files: Sequence[str],
        unread_files: Sequence[str],
        port: int = 6443,
        external: bool = False,
    ) -> str:
        unit, properties = UNITS[role], ",".join(PROPERTIES + STARTS)
        return "; ".join(
            (
                f"date +now=%s.%N && systemctl show --timestamp=us+utc --property={properties} -- {unit} || exit 1",
                reading(files),
                reading(unread_files, content=False),
                _OPEN_CONFIG,
                f"! test -e {STARTED_WITH} || sed 's/^/started /' {STARTED_WITH} || exit 1",
                data_reading(role, external),
                f"! test -e {RESET_FLAG} || echo 'reset flag'",
                RESTORE,
                f"! test -d {LAB_MARK} || echo 'lab machine'",
                *_certificates(role),
                asking_own(node, role, port),
            )
        )

    @override
    def process(self, output: list[str]) -> Node | Unknown:
        values = {name: value for name, _, value in (line.partition("=") for line in output if line[:1] != "/")}
        rows = [line.split("\t", 1) for line in output if "\t" in line and not line.startswith("/")]
        said = {kind: text for kind, text in rows if kind in ("config", "api", "health", "kubelet", "version", "node")}
        try:
            active, enabled, needs_reload = (values[name] for name in PROPERTIES)
            now = float(values["now"])
        except (KeyError, ValueError) as error:
            raise FactProcessError(f"cannot read what systemctl show said of K3s: {error!r}") from error
        if "no curl" in output and active == "active":
            raise FactProcessError("cannot ask K3s how it does: found no curl; install the package again")
        return {
            **restore_of(output),
            "active": active,
            "enabled": enabled,
            "needs_daemon_reload": needs_reload == "yes",
            "started_s": _started(values),
            "now_s": now,
            "files": dict(parsed(line) for line in output if line.startswith("/")),
            "config": base64.b64decode(said["config"]).decode(errors="replace") if "config" in said else None,
            "started_with": _started_with(output),
            "has_data": data_of(output),
            "reset_flag": "reset flag" in output,
            "lab_machine": "lab machine" in output,
            "api": readyz(said.get("api", "")),
            "etcd": readyz(said.get("health", "")),
            "kubelet": said.get("kubelet") == "ok",
            "version": _version(said.get("version", "")),
            "node": _node(said.get("node", "")),
            "certificates": dict(_ends(rows)),
        }


class Cluster(FactBase[ClusterState | Unknown]):
    """The cluster as `node` is told that asks: each of `servers` {name: address}, and the etcd that is on it."""

    @override
    @staticmethod
    def default() -> ClusterState | Unknown:
        return UNKNOWN

    @override
    def command(self, node: str, servers: Mapping[str, str], port: int = 6443) -> str:
        own_first = dict(sorted(servers.items(), key=lambda item: item[0] != node))
        return f"{asking_servers(own_first, port)}; {asking()}"

    @override
    def process(self, output: list[str]) -> ClusterState | Unknown:
        servers = servers_of(output)
        told = (one["nodes"] for one in servers.values() if one["nodes"] is not None)
        return {"servers": servers, "nodes": next(told, None), "etcd": answers(output)}


def _certificates(role: Role) -> Iterator[str]:
    folders = (ADMIN.folder, f"{ADMIN.folder}/etcd") if role == "server" else (KUBELET.folder,)
    names = " ".join(f"{folder}/*.crt" for folder in folders)
    show = f"{WITHOUT_AUTHORITIES} openssl x509 -noout -enddate"
    yield (
        f'for f in {names}; do ! test -s "$f" || printf \'end\\t%s\\t%s\\n\' "$f" "$({show} < "$f" 2>/dev/null)"; done'
    )


def _ends(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """ "notAfter=Feb 20 00:23:08 2027 GMT" -> "2027-02-20T00:23:08Z"."""
    for kind, text in rows:
        path, _, end = text.partition("\tnotAfter=")
        if kind == "end" and end:
            yield path, datetime.strptime(end, "%b %d %H:%M:%S %Y %Z").strftime("%Y-%m-%dT%H:%M:%SZ")


def _started(values: Mapping[str, str]) -> float | None:
    for name in STARTS:
        if values.get(name):
            return datetime.strptime(values[name], "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()
    return None


def _started_with(output: Sequence[str]) -> dict[str, str] | None:
    """Lines of sha256sum: "started <digest>  <path>"."""
    rows = [line.removeprefix("started ").split("  ", 1) for line in output if line.startswith("started ")]
    return {path: digest for digest, path in rows} or None


def _version(text: str) -> str | None:
    version = _json(text).get("gitVersion")
    return str(version) if version else None


def _node(text: str) -> NodeState | None:
    said = _json(text)
    return node_of(said) if said.get("kind") == "Node" else None


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}  # none, or one that was cut off
    return value if isinstance(value, dict) else {}
