"""This node's etcd as its care wants to know it: what it and its metrics say, in one command."""

from __future__ import annotations

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
        return f"{etcd.asking(tls, gateway)}; {etcd_metrics.asking(metrics)}"

    @override
    def process(self, output: list[str]) -> Both | Unknown:
        return {"cluster": etcd.answers(output), "metrics": etcd_metrics.said(output)}
