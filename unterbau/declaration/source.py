"""Run an inventory or group data file as pyinfra does, but by statement, so that one mistake hides no other."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from unterbau import declaration
from unterbau.declaration.explain import near
from unterbau.declaration.masking import plain
from unterbau.declaration.problems import INERT, Collector, Place, Problem


@dataclass
class Source:
    """What a file defines: public names with values, and the line of each.

    `readable` is False if it is no Python, `complete` also if some statement failed; its names are inert then.
    """

    path: Path
    label: str
    names: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    readable: bool = True
    complete: bool = True

    def place(self, name: str) -> Place:
        """Where a name is set."""
        return Place(str(self.path), self.lines.get(name, 0))


def execute(path: Path, label: str, collector: Collector) -> Source:
    """Run a file; what goes wrong is in the collector, and the names concerned are inert."""
    source = Source(path, label)
    linecache.checkcache(str(path))
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError, OSError, ValueError) as error:
        source.readable = source.complete = False
        collector.problems.append(_unreadable(source, error))
        return source
    namespace: dict[str, Any] = {"__file__": str(path)}
    imported: set[str] = set()
    for statement in _statements(tree):
        before = set(namespace)
        _run(statement, namespace, source, collector)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imported |= {*_bound(statement), *(namespace.keys() - before)}
        source.lines |= dict.fromkeys(_bound(statement), statement.lineno)
    source.names = {k: v for k, v in namespace.items() if not k.startswith("_") and k not in imported}
    return source


def assigned(path: Path) -> set[str]:
    """Names that a file sets at its top level, without running it; none if it is no Python."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return set()
    return {name for node in tree.body for name in _bound(node)}


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements one by one; an import of several names is several, so that one wrong name leaves the others."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                one = ast.ImportFrom(module=node.module, names=[alias], level=node.level)
                yield ast.copy_location(one, alias)
        else:
            yield node


def _run(statement: ast.stmt, namespace: dict[str, Any], source: Source, collector: Collector) -> None:
    if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
        allowed = "names one by one, for pyinfra takes whatever * imports for data"
        collector.problems.append(Problem(str(source.path), statement.lineno, source.label, "import", "*", allowed))
    module = ast.Module([statement], type_ignores=[])
    try:
        exec(compile(module, str(source.path), "exec", dont_inherit=True), namespace)  # noqa: S102  # as pyinfra does
    except (Exception, SystemExit) as error:
        source.complete = False
        names = _bound(statement)
        namespace.update(dict.fromkeys(names, INERT))
        collector.problems.append(_failure(source, statement, ", ".join(names), error, set(namespace)))


def _bound(node: ast.stmt) -> list[str]:
    """Names that a statement sets."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _failure(source: Source, statement: ast.stmt, names: str, error: BaseException, known: set[str]) -> Problem:
    line = _line(error.__traceback__, str(source.path)) or statement.lineno
    found = plain(f"{type(error).__name__}: {_message(error)}", 160)
    return Problem(
        str(source.path), line, source.label, names, found, "code that runs" + _suggestion(error, statement, known)
    )


def _message(error: BaseException) -> str:
    """Without the path that Python appends to an import's error: it is this machine's."""
    return re.sub(r" \(/[^)]*\)$", "", str(error))


def _suggestion(error: BaseException, statement: ast.stmt, known: set[str]) -> str:
    match error, statement:
        case NameError(name=str(name)), _ if name in declaration.__all__:
            return f" (add: from unterbau.declaration import {name})"
        case NameError(name=str(name)), _:
            return near(name, {*known, *declaration.__all__})
        case ImportError(), ast.ImportFrom(module="unterbau.declaration", names=[ast.alias(name=name)]):
            return near(name, declaration.__all__)
    return ""


def _line(trace: TracebackType | None, filename: str) -> int:
    """The last line of this file that was running."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _unreadable(source: Source, error: Exception) -> Problem:
    if isinstance(error, SyntaxError):
        return Problem(str(source.path), error.lineno or 0, source.label, "", f"{error.msg}", "Python that can be read")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Problem(str(source.path), 0, source.label, "", reason, "a file with Python in UTF-8")
