"""etcd as one of its servers tells: who is a member, who leads, how much room there is, what is wrong.

Asked through etcd's JSON gateway, which K3s has on loopback only: each node speaks for its own member.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any, TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from unterbau.domain.unknown import UNKNOWN, Unknown

TLS = "/var/lib/rancher/k3s/server/tls/etcd"  # server-ca.crt, client.crt, client.key
GATEWAY = "https://127.0.0.1:2382"  # gRPC alone is on 2379
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 6  # longer than etcd's own limit of a request without quorum (5 s): its sentence is better than none
# Not linearizable: whoever has lost the quorum still knows who the members were.
MEMBERS = ("cluster/member/list", '{"linearizable":false}')
STATUS = ("maintenance/status", "{}")
ALARMS = ("maintenance/alarm", '{"action":"GET"}')


class Member(TypedDict):
    """One member of the cluster, whether or not it runs. Ids are hex, as etcd's log and metrics have them."""

    id: str
    name: str  # K3s: <node>-<8 hex>; "" of one that was added and has never started
    peer_urls: list[str]
    client_urls: list[str]
    learner: bool  # it has no vote yet
    started: bool  # it has been there at least once


class Alarm(TypedDict):
    """What a member has raised: NOSPACE (nobody can write until it is disarmed) or CORRUPT."""

    member_id: str
    kind: str


class EtcdAnswers(TypedDict):
    """What this node's etcd says. All but `set_up` and `answers` are None if it does not answer."""

    set_up: bool  # there are client certificates: it has run here once
    answers: bool
    cluster_id: str | None
    members: list[Member] | None
    self_id: str | None
    leader_id: str | None  # None as well while nobody leads
    learner: bool | None  # this one has no vote yet
    alarms: list[Alarm] | None  # None as well without quorum: who may write is agreed on
    version: str | None
    db_size_bytes: int | None  # the file
    db_in_use_bytes: int | None  # what of it is not free for reuse
    quota_bytes: int | None  # None as well where the status has none, as in 3.5 and 3.6.4: the metrics have it
    revision: int | None
    raft_index: int | None
    raft_applied_index: int | None
    errors: list[str] | None  # etcd's own sentences: no leader, an alarm


SILENT: EtcdAnswers = {
    "set_up": False, "answers": False, "cluster_id": None, "members": None, "self_id": None, "leader_id": None,
    "learner": None, "alarms": None, "version": None, "db_size_bytes": None, "db_in_use_bytes": None,
    "quota_bytes": None, "revision": None, "raft_index": None, "raft_applied_index": None, "errors": None,
}  # fmt: skip


def calling(path: str, body: str, tls: str = TLS, gateway: str = GATEWAY, limit_s: int = ANSWER_TIMEOUT_S) -> str:
    """Shell text of one call: the JSON answer on standard output, also of an error; curl's exit code."""
    limits = f"--connect-timeout {CONNECT_TIMEOUT_S} --max-time {limit_s}"
    client = " ".join(
        f"--{option} {shlex.quote(f'{tls}/{file}')}"
        for option, file in (("cacert", "server-ca.crt"), ("cert", "client.crt"), ("key", "client.key"))
    )
    url = shlex.quote(f"{gateway}/v3/{path}")
    return f"curl --silent --noproxy '*' {limits} {client} --data {shlex.quote(body)} {url}"


def asking(tls: str = TLS, gateway: str = GATEWAY) -> str:
    """Shell text that asks this node's etcd: a line `etcd WHAT JSON` each, the JSON empty where there is no answer.

    Alarms are asked for only where the status has errors: that question is an entry in everybody's log.
    """
    line = "printf 'etcd\\t%s\\t%s\\n' {what} \"$said\""
    members, status, alarms = (
        f"said=$({calling(path, body, tls, gateway)}); {line.format(what=what)}"
        for what, (path, body) in (("members", MEMBERS), ("status", STATUS), ("alarms", ALARMS))
    )
    asked = f"{members}; {status}; case $said in *'\"errors\"'*) {alarms};; esac"
    # Whoever may not read the key would find no etcd where there is one: that fails loudly instead.
    key = shlex.quote(f"{tls}/client.key")
    return (
        f"if ! test -e {key}; then echo 'etcd none'; elif ! command -v curl >/dev/null; then echo 'no curl'; "
        f"elif ! test -r {key}; then exit 1; else {asked}; fi"
    )


def answers(output: Sequence[str]) -> EtcdAnswers:
    """What `asking` printed; FactProcessError if nobody could be asked."""
    if "no curl" in output:
        raise FactProcessError("cannot ask etcd: found no curl on this node; install the package")
    said = {row[1]: _json(row[2]) for line in output if len(row := line.split("\t", 2)) == 3 and row[0] == "etcd"}
    if not said and "etcd none" not in output:
        raise FactProcessError(f"cannot ask etcd: found {list(output)[:3]}")
    status, members = said.get("status"), said.get("members")
    if status is None or "header" not in status or members is None or "members" not in members:
        return {**SILENT, "set_up": bool(said)}
    return _answers(status, members["members"], said.get("alarms"))


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None  # none, or one that was cut off
    return value if isinstance(value, dict) else None


def _answers(status: dict[str, Any], members: list[dict[str, Any]], alarms: dict[str, Any] | None) -> EtcdAnswers:
    """The gateway leaves out what is zero, false or empty, and has 64-bit numbers as text. Source: proto3 JSON."""
    header = status["header"]
    leader, quota = int(status.get("leader", 0)), int(status.get("dbSizeQuota", 0))
    errors = [str(one) for one in status.get("errors", [])]
    return {
        "set_up": True,
        "answers": True,
        "cluster_id": hexadecimal(header["cluster_id"]),
        "members": [_member(one) for one in members],
        "self_id": hexadecimal(header["member_id"]),
        "leader_id": hexadecimal(leader) if leader else None,
        "learner": bool(status.get("isLearner", False)),
        "alarms": _alarms(alarms) if errors else [],
        "version": str(status["version"]),
        "db_size_bytes": int(status.get("dbSize", 0)),
        "db_in_use_bytes": int(status.get("dbSizeInUse", 0)),
        "quota_bytes": quota or None,
        "revision": int(header.get("revision", 0)),
        "raft_index": int(status.get("raftIndex", 0)),
        "raft_applied_index": int(status.get("raftAppliedIndex", 0)),
        "errors": errors,
    }


def _member(one: dict[str, Any]) -> Member:
    return {
        "id": hexadecimal(one["ID"]),
        "name": str(one.get("name", "")),
        "peer_urls": [str(url) for url in one.get("peerURLs", [])],
        "client_urls": [str(url) for url in one.get("clientURLs", [])],
        "learner": bool(one.get("isLearner", False)),
        "started": bool(one.get("name")),
    }


def _alarms(answer: dict[str, Any] | None) -> list[Alarm] | None:
    if answer is None or "header" not in answer:
        return None
    return [
        {"member_id": hexadecimal(one.get("memberID", 0)), "kind": str(one.get("alarm", "NONE"))}
        for one in answer.get("alarms", [])
    ]


def hexadecimal(number: str | int) -> str:
    """An id as etcd's log and metrics have it: "10276657743932975437" -> "8e9e05c52164694d"."""
    return f"{int(number):x}"


def decimal(member_id: str) -> str:
    """An id as the gateway wants it: "8e9e05c52164694d" -> "10276657743932975437"."""
    return str(int(member_id, 16))


class Cluster(FactBase[EtcdAnswers | Unknown]):
    """The cluster as the etcd of this node tells; `tls` is the folder of its client certificates."""

    @override
    @staticmethod
    def default() -> EtcdAnswers | Unknown:
        return UNKNOWN

    @override
    def command(self, tls: str = TLS, gateway: str = GATEWAY) -> str:
        return asking(tls, gateway)

    @override
    def process(self, output: list[str]) -> EtcdAnswers | Unknown:
        return answers(output)
