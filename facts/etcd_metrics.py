"""How an etcd member does, from its own metrics: whom it reaches, how fast its disk is, how often leaders changed."""

from __future__ import annotations

import math
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.etcd import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S
from unterbau.domain.unknown import UNKNOWN, Unknown

METRICS = "http://127.0.0.1:2381"  # plain and on loopback, as K3s has it
QUANTILE = 0.99
FSYNC = "etcd_disk_wal_fsync_duration_seconds"
COMMIT = "etcd_disk_backend_commit_duration_seconds"
PEERS = "etcd_network_active_peers"
WANTED = (
    f"{FSYNC}_bucket", f"{COMMIT}_bucket", PEERS, "etcd_server_has_leader", "etcd_server_is_leader",
    "etcd_server_leader_changes_seen_total", "etcd_server_quota_backend_bytes", "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_server_proposals_failed_total", "process_start_time_seconds",
)  # fmt: skip
LINE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class MemberMetrics(TypedDict):
    """One member. All but `answers` are None if it does not answer; latencies are over its life, not the last hour."""

    answers: bool
    ready: dict[str, bool] | None  # {data_corruption, serializable_read, linearizable_read, non_learner}
    peers: dict[str, bool] | None  # {id (hex): whether it is connected}, of the others
    has_leader: bool | None
    leads: bool | None
    leader_changes: int | None  # seen since it started
    failed_proposals: int | None
    db_size_bytes: int | None
    db_in_use_bytes: int | None
    quota_bytes: int | None
    fsync_p99_s: float | None  # None as well before its first
    commit_p99_s: float | None
    started_s: float | None  # seconds since 1970


SILENT: MemberMetrics = {
    "answers": False, "ready": None, "peers": None, "has_leader": None, "leads": None, "leader_changes": None,
    "failed_proposals": None, "db_size_bytes": None, "db_in_use_bytes": None, "quota_bytes": None,
    "fsync_p99_s": None, "commit_p99_s": None, "started_s": None,
}  # fmt: skip

Samples = dict[str, list[tuple[dict[str, str], float]]]  # {name: [(labels, value)]}


def asking(metrics: str = METRICS) -> str:
    """Shell text that prints the samples we read, then `ready NAME yes|no` lines; nothing if nobody answers."""
    curl = f"curl --silent --noproxy '*' --connect-timeout {CONNECT_TIMEOUT_S} --max-time {ANSWER_TIMEOUT_S}"
    wanted = "|".join(WANTED)
    return (
        "if ! command -v curl >/dev/null; then echo 'no curl'; else "
        f"{curl} {shlex.quote(f'{metrics}/metrics')} | grep -E {shlex.quote(f'^({wanted})[{{ ]')}; "
        f"{curl} {shlex.quote(f'{metrics}/readyz?verbose')} | sed -n {shlex.quote(READY)}; echo 'read'; fi"
    )


READY = r"s/^\[\([+-]\)\]\([a-z_]*\) .*/ready \2 \1/p"


def samples(output: Iterable[str]) -> Samples:
    """Of Prometheus' text format those that we read; other lines are left out. Source: Prometheus, exposition formats."""
    found: Samples = defaultdict(list)
    for line in output:
        if (matched := LINE.fullmatch(line)) and matched["name"] in WANTED:
            labels = dict(LABEL.findall(matched["labels"] or ""))
            found[matched["name"]].append((labels, float(matched["value"])))
    return found


def quantile(buckets: Sequence[tuple[dict[str, str], float]], rank: float = QUANTILE) -> float | None:
    """Seconds below which that share lies, linear within a bucket; None if there is nothing in any.

    Above the last bound that bound is told, as histogram_quantile does. Source: Prometheus.
    """
    bounds = sorted((float(labels["le"]), count) for labels, count in buckets)
    if not bounds or bounds[-1][1] == 0:
        return None
    wanted, below, before = rank * bounds[-1][1], 0.0, 0.0
    for bound, count in bounds:
        if count >= wanted:
            if math.isinf(bound):
                return below
            share = (wanted - before) / (count - before) if count > before else 1.0
            return below + (bound - below) * share
        below, before = bound, count
    return below


def said(output: Sequence[str]) -> MemberMetrics:
    """What `asking` printed; FactProcessError if nobody could be asked."""
    if "no curl" in output or "read" not in output:
        raise FactProcessError(f"cannot read etcd's metrics: found {list(output)[:2]}; is curl installed?")
    found = samples(output)
    if not found["etcd_server_has_leader"]:
        return SILENT
    ready = [line.split() for line in output if line.startswith("ready ")]
    return {
        "answers": True,
        "ready": {name: sign == "+" for _, name, sign in ready},
        "peers": {labels["Remote"]: value > 0 for labels, value in found[PEERS]},
        "has_leader": bool(_one(found, "etcd_server_has_leader")),
        "leads": bool(_one(found, "etcd_server_is_leader")),
        "leader_changes": _one(found, "etcd_server_leader_changes_seen_total"),
        "failed_proposals": _one(found, "etcd_server_proposals_failed_total"),
        "db_size_bytes": _one(found, "etcd_mvcc_db_total_size_in_bytes"),
        "db_in_use_bytes": _one(found, "etcd_mvcc_db_total_size_in_use_in_bytes"),
        "quota_bytes": _one(found, "etcd_server_quota_backend_bytes"),
        "fsync_p99_s": _rounded(quantile(found[f"{FSYNC}_bucket"])),
        "commit_p99_s": _rounded(quantile(found[f"{COMMIT}_bucket"])),
        "started_s": next((value for _, value in found["process_start_time_seconds"]), None),
    }


def _one(found: Samples, name: str) -> int | None:
    return next((int(value) for _, value in found[name]), None)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


class Metrics(FactBase[MemberMetrics | Unknown]):
    """This node's member; `metrics` is where it has them, without a path."""

    @override
    @staticmethod
    def default() -> MemberMetrics | Unknown:
        return UNKNOWN

    @override
    def command(self, metrics: str = METRICS) -> str:
        return asking(metrics)

    @override
    def process(self, output: list[str]) -> MemberMetrics | Unknown:
        return said(output)
