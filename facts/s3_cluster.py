"""The cluster behind an S3 service: its nodes, drives, sets, quorums, versions, and how full it is."""

from __future__ import annotations

from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import answer
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class Drive(TypedDict):
    """One drive as its server sees it, or as the others do where it is gone."""

    state: str  # ok, or what is wrong
    healing: bool
    pool: int  # -1 while it is in none
    set: int
    total_bytes: int
    used_bytes: int  # of the file system


class Node(TypedDict):
    """One server."""

    state: str  # online, offline, initializing
    version: str  # "" while it does not answer
    drives: dict[str, Drive]  # by path


class Set(TypedDict):
    """Drives that objects are spread over."""

    drives: int
    online: int
    healing: int
    read_quorum: int
    write_quorum: int


class Used(TypedDict):
    """As the engine's scanner counted last."""

    buckets: int
    objects: int
    bytes: int


class State(TypedDict):
    """The cluster. The quorums are those of its largest set."""

    versions: list[str]
    parity: int
    read_quorum: int
    write_quorum: int
    sets: dict[str, Set]  # by "pool/set"
    nodes: dict[str, Node]
    usage: Used


class Cluster(FactBase[State | Unknown | AfterApply]):
    """The whole cluster, as one of its servers sees it."""

    @override
    @staticmethod
    def default() -> State | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "cluster {}"

    @override
    def process(self, output: list[str]) -> State | Unknown | AfterApply:
        return answer(output, _state)


def _state(value: dict[str, Any]) -> State:
    usage = value["usage"]
    return State(
        versions=list(value["versions"]),
        parity=value["parity"],
        read_quorum=value["read_quorum"],
        write_quorum=value["write_quorum"],
        sets={name: _set(one) for name, one in value["sets"].items()},
        nodes={name: _node(one) for name, one in value["nodes"].items()},
        usage=Used(buckets=usage["buckets"], objects=usage["objects"], bytes=usage["bytes"]),
    )


def _set(value: dict[str, Any]) -> Set:
    return Set(
        drives=value["drives"],
        online=value["online"],
        healing=value["healing"],
        read_quorum=value["read_quorum"],
        write_quorum=value["write_quorum"],
    )


def _node(value: dict[str, Any]) -> Node:
    drives = {path: _drive(drive) for path, drive in value["drives"].items()}
    return Node(state=value["state"], version=value["version"], drives=drives)


def _drive(value: dict[str, Any]) -> Drive:
    return Drive(
        state=value["state"],
        healing=value["healing"],
        pool=value["pool"],
        set=value["set"],
        total_bytes=value["total_bytes"],
        used_bytes=value["used_bytes"],
    )
