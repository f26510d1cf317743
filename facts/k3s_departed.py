"""Who leaves a K3s cluster and what stays behind: everybody it knows, as a server tells, and what lies on a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.etcd import EtcdAnswers, answers, asking
from facts.k3s_api import ADMIN, DATA, NodeState, ServerApi, asking_servers, curl, line_of, servers_of
from facts.k3s_restore import READING as RESTORE
from facts.k3s_restore import Restore, restore_of
from unterbau.domain.unknown import UNKNOWN, Unknown

PASSWORD = "/etc/rancher/node/password"  # noqa: S105  # where a node keeps its own
PASSWORD_SECRET = ".node-password.k3s"  # noqa: S105  # follows a node's name in that of its Secret in kube-system
ETCD = f"{DATA}/server/db/etcd"
AUTHORITIES = (f"{ADMIN.folder}/server-ca.crt", f"{DATA}/agent/server-ca.crt")  # a server's, an agent's
DIGEST_LENGTH = 64  # of SHA-256, in hex
UNITS = ("k3s.service", "k3s-agent.service")
HOLD = "unterbau-leaving.conf"  # a drop-in below /run/systemd/system/UNIT.d: the unit is not started again
# Of a Secret only what it is called: the answer has no value in it. Source: Kubernetes API concepts, partial metadata.
NAMES_ONLY = "--header 'Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'"
# What K3s and its containers leave on a disk. Source: K3s, install.sh, the scripts k3s-killall.sh and k3s-uninstall.sh.
FOLDERS = (DATA, "/etc/rancher", "/var/lib/kubelet", "/run/k3s", "/run/flannel", "/var/lib/cni")
UNIT_FILES = tuple(f"/etc/systemd/system/{unit}" for unit in UNITS)
LINKS = tuple(f"/usr/local/bin/{name}" for name in ("k3s", "kubectl", "crictl", "ctr"))  # to a k3s, else not ours
MOUNTS = ("/run/k3s/*", "/var/lib/kubelet/pods/*", "/var/lib/kubelet/plugins/*", "/run/netns/cni-*")


class KnownState(Restore):
    """Everybody the cluster knows, as this server tells; `nodes` and `passwords` are None if its API does not."""

    servers: dict[str, ServerApi]  # each of those that were asked, as it answers this one; {} without certificates
    nodes: dict[str, NodeState] | None
    passwords: list[str] | None  # names of nodes that the cluster keeps a password of
    etcd: EtcdAnswers


class Known(FactBase[KnownState | Unknown]):
    """Nodes, their passwords' names and members, asked on the server called `node`."""

    @override
    @staticmethod
    def default() -> KnownState | Unknown:
        return UNKNOWN

    @override
    def command(self, node: str, servers: Mapping[str, str], port: int = 6443) -> str:
        own_first = dict(sorted(servers.items(), key=lambda item: item[0] != node))
        secrets = f"'https://127.0.0.1:{port}/api/v1/namespaces/kube-system/secrets?pretty=false'"
        passwords = line_of("secrets", f"{curl(ADMIN)} {NAMES_ONLY} {secrets}")
        return f"{asking_servers(own_first, port, passwords)}; {asking()}; {RESTORE}"

    @override
    def process(self, output: list[str]) -> KnownState | Unknown:
        servers = servers_of(output)
        own = next(iter(servers.values()), None)
        said = next((line.partition("\t")[2] for line in output if line.startswith("secrets\t")), "")
        return {
            **restore_of(output),
            "servers": servers,
            "nodes": own["nodes"] if own else None,
            "passwords": _passwords(said),
            "etcd": answers(output),
        }


def _passwords(text: str) -> list[str] | None:
    try:
        names = [str(one["metadata"]["name"]) for one in json.loads(text)["items"]]
    except (ValueError, KeyError, TypeError):
        return None  # no answer, an error, or one that was cut off
    return sorted(name.removesuffix(PASSWORD_SECRET) for name in names if name.endswith(PASSWORD_SECRET))


class Authority(FactBase[str | Unknown | None]):
    """Which cluster this machine is of: the digest of its servers' authority; None if it has none."""

    @override
    @staticmethod
    def default() -> str | Unknown | None:
        return UNKNOWN

    @override
    def command(self) -> str:
        each = "if test -s $f; then sha256sum < $f || exit 1; exit 0; fi"
        return f"for f in {' '.join(AUTHORITIES)}; do {each}; done; echo none"

    @override
    def process(self, output: list[str]) -> str | Unknown | None:
        said = output[0].split(" ")[0] if output else ""
        if said != "none" and len(said) != DIGEST_LENGTH:
            raise FactProcessError(f"cannot read which cluster this machine is of: found {output[:1]}")
        return None if said == "none" else said


class TracesState(TypedDict):
    """What K3s left on a machine, running or not."""

    active: dict[str, str]  # {unit: "active", "inactive", …, as systemd has it}
    enabled: list[str]  # units that start at boot
    held: list[str]  # units that are not started again once they end
    member: str | None  # the name of its etcd member; None without data of etcd
    password: bool  # it was let into a cluster once
    paths: list[str]  # files that are there, folders that have files in them; what is mounted there is not theirs
    mounts: list[str]  # of pods


class Traces(FactBase[TracesState | Unknown]):
    """What K3s left on this machine."""

    @override
    @staticmethod
    def default() -> TracesState | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        said = 'printf \'unit\\t%s\\t%s\\t%s\\n\' $u "$(systemctl is-active $u)" "$(systemctl is-enabled $u 2>&1)"'
        held = f'! test -e /run/systemd/system/$u.d/{HOLD} || echo "held $u"'
        name = f"name=$(cat {ETCD}/name) && printf 'member\\t%s\\n' \"$name\""
        return "; ".join(
            (
                f"for u in {' '.join(UNITS)}; do {said}; {held}; done",
                f"if test -d {ETCD}/member/wal; then {name} || exit 1; fi",
                f"! test -e {PASSWORD} || echo password",
                f"for p in {' '.join(UNIT_FILES)}; do ! test -e $p || printf 'path\\t%s\\n' $p; done",
                f"for p in {' '.join(LINKS)}; do case $(readlink $p) in */k3s) printf 'path\\t%s\\n' $p;; esac; done",
                f'for p in {" ".join(FOLDERS)}; do ! test -d $p || [ -z "$(find $p -xdev ! -type d -print -quit)" ] || '
                "printf 'path\\t%s\\n' $p; done",
                f"while read -r _ at _; do case $at in {'|'.join(MOUNTS)}) printf 'mount\\t%s\\n' \"$at\";; esac; done "
                "< /proc/self/mounts",
            )
        )

    @override
    def process(self, output: list[str]) -> TracesState | Unknown:
        rows = [line.split("\t") for line in output]
        units = {row[1]: (row[2], row[3]) for row in rows if row[0] == "unit" and len(row) == 4}
        if set(units) != set(UNITS) or not all(active for active, _ in units.values()):
            raise FactProcessError(f"cannot read what systemctl said of {' and '.join(UNITS)}: found {output[:3]}")
        return {
            "active": {unit: active for unit, (active, _) in units.items()},
            "enabled": sorted(unit for unit, (_, enabled) in units.items() if enabled == "enabled"),
            "held": sorted(line.removeprefix("held ") for line in output if line.startswith("held ")),
            "member": next((row[1].strip() for row in rows if row[0] == "member"), None),
            "password": "password" in output,
            "paths": sorted(_second(rows, "path")),
            "mounts": _second(rows, "mount"),
        }


def _second(rows: Sequence[Sequence[str]], kind: str) -> list[str]:
    return [row[1] for row in rows if row[0] == kind]
