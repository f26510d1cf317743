"""The run: what the plan has, in its order, nothing else. Every change ends as one of OUTCOMES."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from pyinfra.api.host import Host
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage

from unterbau.plan.collect import describe_command, layer_and_operation
from unterbau.plan.model import Plan, PlannedChange
from unterbau.plan.session import Session
from unterbau.secrets.hidden import redact

OUTCOMES = ("done", "failed", "not needed", "not run")


@dataclass(frozen=True)
class Outcome:
    """What became of one planned change."""

    change: PlannedChange
    outcome: str
    commands: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def as_planned(self) -> bool:
        """Whether exactly the planned commands ran."""
        return self.commands == self.change.commands

    def to_json(self) -> dict[str, Any]:
        """As the report of `apply --json` shows it."""
        change = {key: value for key, value in asdict(self.change).items() if key in {"host", "layer", "operation"}}
        extra = {"commands": list(self.commands), "errors": list(self.errors), "as_planned": self.as_planned}
        return {**change, "outcome": self.outcome, **extra}


@dataclass(frozen=True)
class Step:
    """One operation of the plan on the hosts that need it."""

    number: int
    of: int
    layer: int
    layers: int
    op_hash: str
    changes: tuple[PlannedChange, ...]

    @property
    def title(self) -> str:
        """Layer and operation."""
        return f"{self.changes[0].layer} | {self.changes[0].operation}"


def steps_of(session: Session, plan: Plan) -> list[Step]:
    """The plan's changes by operation, in order."""
    hashes = {layer_and_operation(session.state, op_hash): op_hash for op_hash in session.state.get_op_order()}
    grouped = [tuple(changes) for _, changes in groupby(plan.changes, key=lambda c: (c.layer, c.operation))]
    layers = list(dict.fromkeys(change.layer for change in plan.changes))
    return [
        Step(number, len(grouped), 1 + layers.index(layer), len(layers), hashes[layer, operation], changes)
        for number, changes in enumerate(grouped, start=1)
        for layer, operation in [(changes[0].layer, changes[0].operation)]
    ]


class Run:
    """Execute a plan in its session. `stop()` lets what runs end and begins nothing more."""

    def __init__(self, session: Session, plan: Plan, tell: Callable[[Step, list[Host]], None]) -> None:
        self.session, self.plan, self._tell = session, plan, tell
        self._outcomes: dict[tuple[str, str, str], Outcome] = {}
        self._hosts: dict[str, Host] = {host.name: host for host in session.hosts}
        self.stopped = False

    def stop(self) -> None:
        """Begin no further operation."""
        self.stopped = True

    def execute(self) -> None:
        """Run every step, in order, on the hosts that have not failed."""
        self.session.state.set_stage(StateStage.Execute)
        self.session.state.is_executing = True
        for step in steps_of(self.session, self.plan):
            hosts = self._able(step)
            if hosts and not self.stopped and not self._store_failed():
                self._tell(step, hosts)
                self._run_step(step, hosts)

    def _store_failed(self) -> bool:
        """Whether the secrets of this run could not be stored: then nobody is told of what depends on them either."""
        return any(host.data.get("store") for host in self.session.state.failed_hosts)

    def outcomes(self) -> tuple[Outcome, ...]:
        """One a planned change, in the plan's order; those without another were not run."""
        return tuple(self._outcomes.get(change.key, Outcome(change, "not run")) for change in self.plan.changes)

    def _able(self, step: Step) -> list[Host]:
        hosts = [self._hosts[change.host] for change in step.changes]
        return [host for host in hosts if host in self.session.state.active_hosts]

    def _run_step(self, step: Step, hosts: list[Host]) -> None:
        by_name = {change.host: change for change in step.changes}
        for batch in self._batches(step, hosts):
            if self.stopped:
                return
            self.session.each(lambda host: self._run_change(host, step.op_hash, by_name[host.name]), batch)
            if any(host in self.session.state.failed_hosts for host in batch) and len(batch) < len(hosts):
                return  # one at a time: what failed on one node is not tried on the next

    def _batches(self, step: Step, hosts: list[Host]) -> Iterable[list[Host]]:
        serial = self.session.state.get_op_meta(step.op_hash).global_arguments["_serial"]
        return [[host] for host in hosts] if serial else [hosts]

    def _run_change(self, host: Host, op_hash: str, change: PlannedChange) -> None:
        self.session.messages.take_errors_of(host.name)
        try:
            succeeded = run_host_op(self.session.state, host, op_hash)
            commands = self.session.state.ops[host][op_hash].operation_meta._commands or []
        except Exception as error:
            heard = self.session.messages.take_errors_of(host.name) or [redact(f"{type(error).__name__}: {error}")]
            self._record(change, "failed", (), *heard)
            raise
        described = tuple(describe_command(command) for command in commands)
        outcome = "failed" if not succeeded else "done" if described else "not needed"
        self._record(change, outcome, described, *self.session.messages.take_errors_of(host.name))
        if not succeeded:
            self.session.fail(host, f"{change.layer} | {change.operation} failed")

    def _record(self, change: PlannedChange, outcome: str, commands: tuple[str, ...], *errors: str) -> None:
        self._outcomes[change.key] = Outcome(change, outcome, commands, errors)
