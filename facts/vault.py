"""What a Vault cluster says of itself and of its objects. Metadata only: no fact reads a value that is a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import OWNER, Mark, Objects, answer
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown

MARKS = "unterbau"  # the KV mount whose metadata say what is ours


def each(path: str, names: Sequence[str]) -> str:
    """The command that reads these objects below `path`."""
    return f"EACH {path} {json.dumps(sorted(names))}"


class Server(TypedDict):
    """One member, in autopilot's words."""

    status: str  # leader, voter, non-voter
    healthy: bool
    alive: bool
    version: str


class Cluster(TypedDict):
    """The raft cluster as autopilot sees it."""

    leader: str
    healthy: bool
    failure_tolerance: int
    servers: dict[str, Server]


class RaftServers(FactBase[Cluster | Unknown | AfterApply]):
    """Who is a member, who votes, who leads."""

    @override
    @staticmethod
    def default() -> Cluster | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET sys/storage/raft/autopilot/state"

    @override
    def process(self, output: list[str]) -> Cluster | Unknown | AfterApply:
        return answer(output, _cluster)


def _cluster(value: dict[str, Any]) -> Cluster:
    servers = {
        name: Server(status=s["status"], healthy=s["healthy"], alive=s["node_status"] == "alive", version=s["version"])
        for name, s in value["servers"].items()
    }
    return Cluster(
        leader=value["leader"],
        healthy=value["healthy"],
        failure_tolerance=value["failure_tolerance"],
        servers=servers,
    )


class HealthState(TypedDict):
    """What the active member says."""

    version: str
    cluster_name: str
    cluster_id: str


class Health(FactBase[HealthState | Unknown | AfterApply]):
    """The active member: there is one, or the fact is UNKNOWN."""

    @override
    @staticmethod
    def default() -> HealthState | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET sys/health"

    @override
    def process(self, output: list[str]) -> HealthState | Unknown | AfterApply:
        return answer(
            output,
            lambda v: HealthState(version=v["version"], cluster_name=v["cluster_name"], cluster_id=v["cluster_id"]),
        )


class Marks(FactBase[dict[str, Mark] | Unknown | AfterApply]):
    """{name: {owner, hash…}} of the objects of a kind that are ours; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, Mark] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, kind: str) -> str:
        return f"WALK {MARKS}/metadata/{kind}"

    @override
    def process(self, output: list[str]) -> dict[str, Mark] | Unknown | AfterApply:
        return answer(output, _marks)


def _marks(value: dict[str, Any]) -> dict[str, Mark]:
    found = {name: dict(entry["custom_metadata"] or {}) for name, entry in value.items()}
    return {name: mark for name, mark in found.items() if mark.get("owner") == OWNER}


class Mounts(FactBase[Objects | Unknown | AfterApply]):
    """{path: {kind, description}} of the secrets engines; a KV engine's kind is "kv" for version 2, else "kv-1"."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET sys/mounts"

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, _mounts)


class AuthMethods(FactBase[Objects | Unknown | AfterApply]):
    """{path: {kind, description}} of the auth methods."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET sys/auth"

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, _mounts)


def _mounts(value: dict[str, Any]) -> Objects:
    return {
        path.rstrip("/"): {"kind": _engine(mount), "description": mount["description"]} for path, mount in value.items()
    }


def _engine(mount: Mapping[str, Any]) -> str:
    old = mount["type"] == "kv" and (mount["options"] or {}).get("version") != "2"
    return "kv-1" if old else str(mount["type"])


class AuditDevices(FactBase[Objects | Unknown | AfterApply]):
    """{path: {kind, file}} of the audit devices."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET sys/audit"

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(
            output,
            lambda value: {
                path.rstrip("/"): {"kind": device["type"], "file": (device["options"] or {}).get("file_path", "")}
                for path, device in value.items()
            },
        )
