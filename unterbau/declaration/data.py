"""The names that group data may set, and what belongs under each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.flow import Flow, is_flows
from unterbau.declaration.masking import shown
from unterbau.declaration.node import Network
from unterbau.declaration.problems import Inert, Problem
from unterbau.declaration.source import Source
from unterbau.declaration.ssh import Operator, SshServer
from unterbau.declaration.system import Journal, Kernel, SecurityUpgrades, TimeSync, is_kernel

ONE: dict[str, type[Declaration]] = {
    "network": Network,
    "time_sync": TimeSync,
    "kernel": Kernel,
    "ssh_server": SshServer,
    "security_upgrades": SecurityUpgrades,
    "journal": Journal,
}
SEVERAL: dict[str, type[Declaration]] = {"operators": Operator}
PACKAGES = "base_packages"
REQUIRED = (*ONE, *SEVERAL, PACKAGES)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def check(source: Source) -> Iterator[Problem]:
    """What is wrong with a file's public names: unknown ones, and values of another type."""
    for name, value in source.names.items():
        for field, found, allowed in wrong(name, value):
            file, line = source.place(name)
            yield Problem(file, line, source.label, field, found, allowed)


def wrong(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """(field, found, allowed) of a name's value."""
    several = Flow if is_flows(name) else SEVERAL.get(name)
    if isinstance(value, Inert):
        return
    if name in ONE or is_kernel(name):
        yield from _of(name, value, ONE.get(name, Kernel))
    elif several or name == PACKAGES:
        yield from _tuple(name, value, several)
    else:
        names = ", ".join((*REQUIRED, "kernel_…, flows, flows_…"))
        yield name, "an unknown name", names + near(name, (*REQUIRED, "flows"))


def _of(field: str, value: Any, kind: type[Declaration]) -> Iterator[tuple[str, str, str]]:
    if not isinstance(value, kind | Inert):
        yield field, shown(value, field), f"{kind.__name__}(…)"


def _tuple(name: str, value: Any, kind: type[Declaration] | None) -> Iterator[tuple[str, str, str]]:
    item = f"{kind.__name__}(…)" if kind else '"a-package"'
    if not isinstance(value, tuple):
        yield name, shown(value, name), f"a tuple, ({item},)"
        return
    for index, one in enumerate(value):
        yield from _of(f"{name}[{index}]", one, kind) if kind else _package(f"{name}[{index}]", one)
    if not kind:
        yield from ((name, f"{shown(again)} twice", "each package once") for again in repeated(value, repr))


def _package(field: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """Source: Debian policy 5.6.1 (names of packages)."""
    if not isinstance(value, Inert) and not (isinstance(value, str) and _PACKAGE.fullmatch(value)):
        yield field, shown(value, field), "a Debian package's name: a-z, 0-9, '+', '-' and '.', two at least"


def known(name: str) -> bool:
    """Whether group data may set this name."""
    return name in REQUIRED or is_kernel(name) or is_flows(name)
