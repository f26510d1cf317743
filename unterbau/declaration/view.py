"""An environment as the rules see it: also a broken one, with what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.cloud import CloudProject
from unterbau.declaration.cloud_nodes import PoolNode, pool_nodes, project_of
from unterbau.declaration.cloud_pool import NodePool
from unterbau.declaration.data import known
from unterbau.declaration.endpoint import Endpoint
from unterbau.declaration.inventory import Entry, endpoint_of
from unterbau.declaration.node import Node
from unterbau.declaration.problems import Collector, Place, Problem
from unterbau.declaration.source import Source


@dataclass(frozen=True)
class View:
    """`nodes` are all declarations of one, in order; `unknown` are names that mean nothing; `readable` is True when
    every file is Python; `endpoint_data` is what each endpoint reads."""

    inventory: Source
    nodes: Sequence[Node]
    groups: Mapping[str, tuple[str, ...]]
    data: Mapping[str, Mapping[str, Any]]
    collector: Collector
    unknown: frozenset[str]
    readable: bool
    endpoints: Sequence[Endpoint] = ()
    endpoint_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pool_nodes: Sequence[tuple[CloudProject, PoolNode]] = ()

    @classmethod
    def of(
        cls,
        inventory: Source,
        groups: Mapping[str, list[Entry]],
        sources: list[Source],
        c: Collector,
        endpoints: Sequence[Endpoint] = (),
    ) -> View:
        """Merge data as pyinfra does: host over groups (last wins, the environment's own is the last) over all."""
        merged: dict[str, dict[str, Any]] = {}
        for source in sources:
            merged.setdefault(source.path.stem, {}).update(source.names)
        of_endpoints = _of_endpoints(inventory, merged)
        of_pools = list(_of_pools(inventory, endpoints, of_endpoints, c))
        groups = _with_pools(inventory, groups, of_pools)
        entries = [entry for members in groups.values() for entry in members]
        nodes = list({id(node): node for node, _ in entries}.values())
        names = tuple(dict.fromkeys(str(node.name) for node in nodes))
        own = {group: tuple(str(node.name) for node, _ in members) for group, members in groups.items()}
        all_groups = {**own, inventory.path.stem: names, "all": names}
        order = ["all", *own, inventory.path.stem]
        data = {name: _merge(name, order, all_groups, merged) for name in names}
        for node, host_data in entries:
            data[str(node.name)].update(host_data)
        unknown = frozenset(name for source in sources for name in source.names if not known(name))
        readable = all(s.readable for s in (inventory, *sources))
        for group in groups_of_pools(of_endpoints.values(), c):
            all_groups.setdefault(group, ())
        return cls(inventory, nodes, all_groups, data, c, unknown, readable, endpoints, of_endpoints, of_pools)

    @property
    def label(self) -> str:
        """How a report names the environment."""
        return f"environment {self.inventory.path.stem}"

    def valid_nodes(self) -> list[Node]:
        """Nodes without a problem of their own."""
        return [node for node in self.nodes if self.collector.valid(node)]

    def values(self, name: str) -> list[tuple[Any, list[str]]]:
        """Each different valid value under a data name, with the nodes it holds for."""
        by_id: dict[int, tuple[Any, list[str]]] = {}
        for node, data in self.data.items():
            value = data.get(name)
            if value is not None and self.collector.valid(value):
                by_id.setdefault(id(value), (value, []))[1].append(node)
        return list(by_id.values())

    def each(self, name: str) -> list[Any]:
        """Every valid declaration under a tuple's data name, of whatever node."""
        found = {id(one): one for values, _ in self.values(name) if isinstance(values, tuple) for one in values}
        return [one for one in found.values() if isinstance(one, Declaration) and self.collector.valid(one)]

    def of_clouds(self, name: str) -> list[Any]:
        """Every valid declaration under a tuple's data name that a cloud project reads: nodes read none of these."""
        clouds = [one.name for one in self.endpoints if isinstance(one, CloudProject)]
        tuples = [self.endpoint_data.get(cloud, {}).get(name) for cloud in clouds]
        found = {id(one): one for values in tuples if isinstance(values, tuple) for one in values}
        return [one for one in found.values() if isinstance(one, Declaration) and self.collector.valid(one)]

    def anywhere(self, name: str) -> bool:
        """Whether some node reads this name; True as well while there are none, for theirs may be another file."""
        return not self.data or any(name in data for data in self.data.values())

    def names(self, name: str) -> list[str]:
        """Names under a tuple's data name, also of declarations with a problem of their own."""
        tuples = [data[name] for data in self.data.values() if isinstance(data.get(name), tuple)]
        found = [getattr(one, "name", None) for values in tuples for one in values]
        return list(dict.fromkeys(name for name in found if isinstance(name, str)))

    def at(self, thing: Declaration, field: str, found: str, allowed: str) -> Problem:
        """A problem of a declaration, at its place."""
        place = self.collector.place(thing) or self.inventory.place("")
        return Problem(*place, thing.label, field, found, allowed)

    def here(self, field: str, found: str, allowed: str, place: Place | None = None) -> Problem:
        """A problem of the environment as a whole, or of a group."""
        return Problem(*(place or self.inventory.place(field)), self.label, field, found, allowed)

    def where(self, thing: Declaration) -> str:
        """Folder, file and line of a declaration, to be pointed at."""
        place = self.collector.place(thing)
        return f"{'/'.join(Path(place.file).parts[-2:])}:{place.line}" if place else "elsewhere"


def _of_endpoints(inventory: Source, merged: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{endpoint: its data}: endpoints are in groups as well, in those of their own kind."""
    lists = {group: value for group, value in inventory.names.items() if isinstance(value, list)}
    groups = {group: tuple(str(one.name) for one in map(endpoint_of, value) if one) for group, value in lists.items()}
    every = tuple(dict.fromkeys(name for members in groups.values() for name in members))
    order = ["all", *groups, inventory.path.stem]
    groups |= {"all": every, inventory.path.stem: every}
    return {name: _merge(name, order, groups, merged) for name in every}


def _of_pools(
    inventory: Source, endpoints: Iterable[Endpoint], data: Mapping[str, Mapping[str, Any]], c: Collector
) -> Iterator[tuple[CloudProject, PoolNode]]:
    """Servers of pools whose project the inventory has asked for with `nodes_of`."""
    asked = {project for projects in _asked(inventory).values() for project in projects}
    for project in endpoints:
        if isinstance(project, CloudProject) and project.name in asked and c.valid(project):
            pools = data.get(project.name, {}).get("node_pools")
            valid = [one for one in pools if isinstance(one, NodePool) and c.valid(one)] if pools else []
            for one in pool_nodes(project, valid):
                c.made(one.node, c.place(one.pool) or inventory.place(""))
                yield project, one


def _asked(inventory: Source) -> dict[str, list[str]]:
    """{group: projects whose nodes it stands for}."""
    lists = {group: value for group, value in inventory.names.items() if isinstance(value, list)}
    found = {group: [one for one in map(project_of, value) if one] for group, value in lists.items()}
    return {group: projects for group, projects in found.items() if projects}


def _with_pools(
    inventory: Source, groups: Mapping[str, list[Entry]], of_pools: Iterable[tuple[CloudProject, PoolNode]]
) -> dict[str, list[Entry]]:
    """The inventory's groups with the pools' servers in them, the pools' own groups first, as pyinfra has them."""
    found: dict[str, list[Entry]] = {}
    asked, every = _asked(inventory), list(of_pools)
    for _, one in every:
        for group in one.pool.inventory_groups:
            found.setdefault(group, []).append((one.node, {}))
    for group, members in groups.items():
        own = [(one.node, {}) for project, one in every if project.name in asked.get(group, ())]
        found[group] = [*members, *found.get(group, ()), *own]
    return found


def groups_of_pools(every: Iterable[Mapping[str, Any]], c: Collector) -> list[str]:
    """Groups whose nodes a cloud has, or will have, by the data of files or hosts."""
    tuples = [data.get("node_pools") for data in every]
    pools = [one for values in tuples if isinstance(values, tuple) for one in values if isinstance(one, NodePool)]
    return list(dict.fromkeys(group for pool in pools if c.valid(pool) for group in pool.inventory_groups))


def _merge(
    node: str, order: Iterable[str], groups: Mapping[str, tuple[str, ...]], merged: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return {k: v for group in order if node in groups[group] for k, v in merged.get(group, {}).items()}
