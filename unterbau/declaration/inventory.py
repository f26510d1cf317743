"""The groups of an inventory file: lists that `hosts(Node(…), …)` made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.cloud_nodes import project_of
from unterbau.declaration.data import wrong
from unterbau.declaration.endpoint import DATA_NAMES, Endpoint
from unterbau.declaration.flow import CONTROLLERS, PODS
from unterbau.declaration.masking import shown
from unterbau.declaration.node import CONNECTION, Node
from unterbau.declaration.problems import Collector, Inert, Problem
from unterbau.declaration.source import Source

Entry = tuple[Node, dict[str, Any]]


def read_groups(source: Source, collector: Collector) -> tuple[dict[str, list[Entry]], list[Endpoint]]:
    """{group: [(node, its data)]} and the endpoints, in the order of the file; what is neither is a problem."""
    groups: dict[str, list[Entry]] = {}
    endpoints: list[Endpoint] = []
    for name, value in source.names.items():
        if isinstance(value, Inert):
            continue
        problems = _not_a_group(source, name, value)
        collector.problems.extend(problems)
        if not isinstance(value, list):
            continue
        found = [] if problems else [endpoint_of(entry) for entry in value]
        if found and all(found):
            endpoints += [one for one in found if one]
        elif not problems and any(map(project_of, value)):
            groups[name] = []  # the pools say who is in it
        else:
            groups[name] = [] if problems else list(_entries(source, name, value, collector))
    return groups, endpoints


def endpoint_of(entry: Any) -> Endpoint | None:
    """The declaration that an entry of a group stands for; None if it is a node's, or no entry."""
    match entry:
        case (str(), dict() as data):
            return next((data[key] for kind, key in DATA_NAMES.items() if isinstance(data.get(key), kind)), None)
    return None


def _not_a_group(source: Source, name: str, value: Any) -> list[Problem]:
    file, line = source.place(name)
    reserved = {
        "all": "every node",
        source.path.stem: "every node",
        CONTROLLERS: "network.controllers",
        PODS: "k3s.cluster_cidr",
    }
    if name in reserved:
        source.complete = False
        return [
            Problem(file, line, source.label, name, "a reserved name", f"another one, for it means {reserved[name]}")
        ]
    if isinstance(value, tuple | dict | set | Declaration):  # pyinfra passes over anything else that is no list
        source.complete = False
        return [Problem(file, line, source.label, name, shown(value), "a list of nodes: hosts(Node(…), …)")]
    return []


def _entries(source: Source, name: str, value: list[Any], collector: Collector) -> Iterator[Entry]:
    for index, entry in enumerate(value):
        match entry:
            case (str(), dict() as data) if isinstance(data.get("node"), Node):
                collector.problems.extend(_wrong_data(source, name, data))
                yield data["node"], data
            case Inert():
                source.complete = False
            case _:
                source.complete = False
                file, line = source.place(name)
                found, allowed = shown(entry), "a node: hosts(Node(…), …)"
                collector.problems.append(Problem(file, line, source.label, f"{name}[{index}]", found, allowed))


def _wrong_data(source: Source, group: str, data: dict[str, Any]) -> Iterator[Problem]:
    """A node may have data of its own beside its connection: the same names as in group data."""
    file, line = source.place(group)
    for name in data.keys() - CONNECTION:
        for field, found, allowed in wrong(name, data[name]):
            yield Problem(file, line, data["node"].label, field, found, allowed)
