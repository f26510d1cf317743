"""An environment as the rules see it: also a broken one, with what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.data import known
from unterbau.declaration.endpoint import Endpoint
from unterbau.declaration.inventory import Entry
from unterbau.declaration.node import Node
from unterbau.declaration.problems import Collector, Place, Problem
from unterbau.declaration.source import Source


@dataclass(frozen=True)
class View:
    """`nodes` are all declarations of one, in order; `unknown` are names that mean nothing; `readable` is True when
    every file is Python."""

    inventory: Source
    nodes: Sequence[Node]
    groups: Mapping[str, tuple[str, ...]]
    data: Mapping[str, Mapping[str, Any]]
    collector: Collector
    unknown: frozenset[str]
    readable: bool
    endpoints: Sequence[Endpoint] = ()

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
        entries = [entry for members in groups.values() for entry in members]
        nodes = list({id(node): node for node, _ in entries}.values())
        names = tuple(dict.fromkeys(str(node.name) for node in nodes))
        own = {group: tuple(str(node.name) for node, _ in members) for group, members in groups.items()}
        all_groups = {**own, inventory.path.stem: names, "all": names}
        order = ["all", *own, inventory.path.stem]
        merged: dict[str, dict[str, Any]] = {}
        for source in sources:
            merged.setdefault(source.path.stem, {}).update(source.names)
        data = {name: _merge(name, order, all_groups, merged) for name in names}
        for node, host_data in entries:
            data[str(node.name)].update(host_data)
        unknown = frozenset(name for source in sources for name in source.names if not known(name))
        readable = all(s.readable for s in (inventory, *sources))
        return cls(inventory, nodes, all_groups, data, c, unknown, readable, endpoints)

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


def _merge(
    node: str, order: Iterable[str], groups: Mapping[str, tuple[str, ...]], merged: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return {k: v for group in order if node in groups[group] for k, v in merged.get(group, {}).items()}
