"""This node's etcd as its care wants to know it: what it and its metrics say, in one command."""

from __future__ import annotations

import shlex
from typing import TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts import etcd, etcd_metrics
from facts.etcd import GATEWAY, TLS, EtcdAnswers
from facts.etcd_metrics import METRICS, MemberMetrics
from unterbau.domain.unknown import UNKNOWN, Unknown


class Both(TypedDict):
    """Either may be silent; then there is nobody who could be taken care of."""

    cluster: EtcdAnswers
    metrics: MemberMetrics


class State(FactBase[Both | Unknown]):
    """`tls`: folder of the client certificates; `gateway`, `metrics`: where this member listens."""

    @override
    @staticmethod
    def default() -> Both | Unknown:
        return UNKNOWN

    @override
    def command(self, tls: str = TLS, gateway: str = GATEWAY, metrics: str = METRICS) -> str:
        # Where no etcd has ever run there may be no curl either, and there is nobody to ask for metrics.
        there = shlex.quote(f"{tls}/client.key")
        return f"{etcd.asking(tls, gateway)}; if test -e {there}; then {etcd_metrics.asking(metrics)}; fi"

    @override
    def process(self, output: list[str]) -> Both | Unknown:
        cluster = etcd.answers(output)
        return {"cluster": cluster, "metrics": etcd_metrics.said(output) if cluster["set_up"] else etcd_metrics.SILENT}
