"""Operations of etcd on a real cluster: facts and commands run in a shell here, one host a member."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pyinfra.api import FactBase, FunctionCommand
from pyinfra.context import ctx_host

from operations.etcd_gate import Ways
from tests.unit.etcd_cluster import Etcd
from unterbau.changes import Record, recording


@dataclass
class Ran:
    """What an operation said and did on one host."""

    host: str
    said: Record
    noop: str = ""
    commands: list[str] = field(default_factory=list)
    error: str = ""


class Host:
    """What facts, operations and gates ask of pyinfra's host."""

    def __init__(self, name: str, *, executes: bool) -> None:
        self.name, self.nothing, self.logged = name, "", ""
        self.state = SimpleNamespace(is_executing=executes, config=SimpleNamespace(DIFF=False))

    def get_fact(self, wanted: type[FactBase[Any]], /, **arguments: Any) -> Any:
        fact = wanted()
        done = shell(str(fact.command(**arguments)))
        return fact.default() if done.returncode else fact.process(done.stdout.splitlines())

    def noop(self, said: str) -> None:
        self.nothing = said

    def log(self, line: str, *_: Any, **__: Any) -> None:
        self.logged = line

    def log_styled(self, line: str, **_: Any) -> None:
        self.logged = line


def shell(text: str) -> subprocess.CompletedProcess[str]:
    """As a node's shell runs it."""
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)


def ways(etcd: Etcd, name: str) -> Ways:
    """How a member of the cluster is asked."""
    server = etcd.servers[name]
    return Ways(str(etcd.tls), server.gateway, server.metrics)


def run(etcd: Etcd, operation: Any, *, executes: bool, **arguments: Any) -> list[Ran]:
    """One operation on every member that runs, one after the other; `executes` False: planned only."""
    return [
        _on(Host(name, executes=executes), operation, ways=ways(etcd, name), **arguments)
        for name in sorted(etcd.servers)
        if etcd.servers[name].process is not None
    ]


def _on(host: Host, operation: Any, **arguments: Any) -> Ran:
    with ctx_host.use(host), recording() as record:
        ran = Ran(host.name, record)
        for command in operation._inner(**arguments):
            if isinstance(command, FunctionCommand):
                ran.commands.append(f"{command.function.__name__} {command.args[0]}")
                if host.state.is_executing and not command.function(host.state, host, *command.args):
                    ran.error = host.logged or str(command.args[0])
                    break
                continue
            ran.commands.append(str(command))
            if host.state.is_executing and (done := shell(str(command))).returncode:
                ran.error = done.stderr + done.stdout
                break
        ran.noop = host.nothing
        return ran
