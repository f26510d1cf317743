"""An environment: inventory and group data, run as pyinfra runs them; all problems at once, and no connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unterbau.declaration import data, rules
from unterbau.declaration.cloud import CloudProject
from unterbau.declaration.cloud_nodes import PoolNode
from unterbau.declaration.endpoint import Endpoint
from unterbau.declaration.explain import near
from unterbau.declaration.inventory import read_groups
from unterbau.declaration.node import Node
from unterbau.declaration.problems import Collector, DeclarationError, Problem, collecting
from unterbau.declaration.source import Source, assigned, execute
from unterbau.declaration.view import View, groups_of_pools


@dataclass(frozen=True)
class Environment:
    """A valid environment. `groups`: name -> node names, with `all` and the environment's own; `data` by node.

    Endpoints are in no group here: flows and layers speak of nodes. `pool_nodes` are those nodes that a cloud project's
    pools declare, each with its project; `endpoint_data` is what each endpoint reads.
    """

    name: str
    path: Path
    nodes: tuple[Node, ...]
    groups: Mapping[str, tuple[str, ...]]
    data: Mapping[str, Mapping[str, Any]]
    endpoints: tuple[Endpoint, ...] = ()
    pool_nodes: tuple[tuple[CloudProject, PoolNode], ...] = ()
    endpoint_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load(name_or_path: str | Path, root: Path | None = None) -> Environment:
    """The environment, or DeclarationError with every problem of its files. Makes no connection."""
    root = (root or Path.cwd()).resolve()
    path = _inventory(name_or_path, root)
    with collecting() as collector:
        view = _read(path, root, collector)
        problems = [*collector.problems, *rules.all_problems(view)]
    if problems:
        raise DeclarationError([_relative(problem, root) for problem in problems], f"environment {path.stem}")
    nodes, endpoints = tuple(view.nodes), tuple(view.endpoints)
    of_clouds = tuple(view.pool_nodes), view.endpoint_data
    return Environment(path.stem, path, nodes, view.groups, view.data, endpoints, *of_clouds)


def _inventory(name_or_path: str | Path, root: Path) -> Path:
    """Where the inventory lies; DeclarationError that lists those there are."""
    given = str(name_or_path)
    path = root / given if given.endswith(".py") else root / "inventories" / f"{given}.py"
    if path.is_file():
        return path
    known = sorted(found.stem for found in (root / "inventories").glob("*.py"))
    there = ", ".join(known) or f"none; write {root / 'inventories'}/NAME.py (docs/declarations.md)"
    problem = Problem(str(path), 0, f"environment {path.stem}", "", "no such inventory", there + near(path.stem, known))
    raise DeclarationError([_relative(problem, root)], f"environment {path.stem}")


def _read(path: Path, root: Path, collector: Collector) -> View:
    inventory = execute(path, f"inventory {path.stem}", collector)
    groups, endpoints = read_groups(inventory, collector)
    sources = [execute(file, f"group data {file.stem}", collector) for file in _group_data_files(path, root)]
    known = {*groups, *groups_of_pools((source.names for source in sources), collector)}
    for source in sources:
        collector.problems.extend([*data.check(source), *_unknown_group(source, path, known)])
    return View.of(inventory, groups, sources, collector, endpoints)


def _group_data_files(path: Path, root: Path) -> list[Path]:
    """All of them, as pyinfra runs all; those beside the inventory come last and win."""
    folders = dict.fromkeys([root / "group_data", path.parent / "group_data"])
    return [file for folder in folders for file in sorted(folder.glob("*.py"))]


def _unknown_group(source: Source, path: Path, groups: Collection[str]) -> list[Problem]:
    """A group data file that no inventory or pool has a group for is a misspelt name: its values count for nobody."""
    name = source.path.stem
    others = sorted(path.parent.glob("*.py"))
    known = {
        "all",
        *groups,
        *(other.stem for other in others),
        *(group for other in others for group in assigned(other)),
    }
    if name in known:
        return []
    allowed = "the name of a group or an environment" + near(name, known)
    return [Problem(str(source.path), 0, source.label, "", "no group of this name in any inventory", allowed)]


def _relative(problem: Problem, root: Path) -> Problem:
    file = Path(problem.file)
    return replace(problem, file=str(file.relative_to(root))) if file.is_relative_to(root) else problem
