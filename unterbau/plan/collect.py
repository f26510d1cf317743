"""From a prepared session to a plan: every operation that has something to do, its changes and its exact commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pyinfra.api.command import FileDownloadCommand, FileUploadCommand, FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from unterbau import changes
from unterbau.connectors.nodes import LEAVING
from unterbau.plan.model import Plan, PlannedChange, Problem
from unterbau.plan.safety import check
from unterbau.plan.session import Session, SessionError
from unterbau.secrets.hidden import redact

WITHDRAWAL = "cloud withdrawal"  # the layer that deletes servers
LAYER = "layer "  # how operations are called that only hold hosts together, see operations/layer.py


def make_plan(session: Session) -> Plan:
    """The plan of a session after `prepare`. Reads once more for what changes; executes nothing."""
    _refuse_twins(session.state)
    collected: dict[tuple[str, str], PlannedChange] = {}
    asked = list(session.remarks)
    session.each(lambda host: collected.update(_changes_of(session, host, asked)), session.ready)
    order = session.state.get_op_order()
    names = [host.name for host in session.hosts]
    plan = Plan(
        environment=session.environment.name,
        limit=session.limit,
        hosts=tuple(names),
        changes=tuple(collected[op, name] for op in order for name in names if (op, name) in collected),
        unchanged=_unchanged(session, set(collected)),
        problems=_problems(session),
        later=session.later,
        departing=_departing(session, collected.values()),
    )
    return check(plan, asked)


def _departing(session: Session, planned: Iterable[PlannedChange]) -> tuple[str, ...]:
    """Nodes that leave in this plan with their servers; none if the cloud deletes nothing now."""
    deletes = any(change.layer == WITHDRAWAL for change in planned)
    return tuple(host.name for host in session.ready if host.data.get(LEAVING)) if deletes else ()


def _changes_of(
    session: Session, host: Host, asked: list[tuple[str, changes.RuleAsked]]
) -> dict[tuple[str, str], PlannedChange]:
    found = {}
    for op_hash, op_data in session.state.ops[host].items():
        if op_data.operation_meta.will_change:
            change, rules = _describe(session, host, op_hash)
            asked += [(host.name, rule) for rule in rules]
            if change.commands:  # else it has come right by itself since: a killed run's command may still be at work
                found[op_hash, host.name] = change
    return found


def _describe(session: Session, host: Host, op_hash: str) -> tuple[PlannedChange, list[changes.RuleAsked]]:
    with changes.recording() as record:
        commands = tuple(describe_command(c) for c in session.state.ops[host][op_hash].command_generator())
    for sentence in record.refusals:
        session.problems[host.name].append(redact(sentence))
    layer, operation = layer_and_operation(session.state, op_hash)
    change = PlannedChange(host.name, layer, operation, tuple(_redacted(c) for c in record.changes), commands)
    return change, record.rules


def _redacted(change: changes.AttributeChange | changes.TextChange) -> changes.AttributeChange | changes.TextChange:
    if isinstance(change, changes.TextChange):
        return changes.TextChange(redact(change.subject), redact(change.diff))
    old, new = (None if value is None else redact(value) for value in (change.old, change.new))
    return changes.AttributeChange(redact(change.subject), old, new)


def describe_command(command: PyinfraCommand) -> str:
    """One command in words, masked."""
    match command:
        case StringCommand():
            return redact(command.get_masked_value())
        case FileUploadCommand():
            return f"upload to {command.dest}"
        case FileDownloadCommand():
            return f"download {command.src}"
        case FunctionCommand():
            return redact(" ".join([command.function.__name__.strip("_").replace("_", " "), *map(str, command.args)]))
    return redact(str(command))


def layer_and_operation(state: State, op_hash: str) -> tuple[str, str]:
    """("base", "kernel | sysctl") from the name "base | kernel | sysctl"; the same on every host, or a SessionError."""
    names = sorted(state.get_op_meta(op_hash).names)
    if len(names) != 1:
        raise SessionError(f"cannot plan: an operation's name must be the same on all hosts, found {names}")
    layer, _, operation = names[0].partition(" | ")
    return (layer, operation) if operation else ("", layer)


def _refuse_twins(state: State) -> None:
    counts = Counter(layer_and_operation(state, op_hash) for op_hash in state.op_meta)
    twins = sorted(" | ".join(filter(None, name)) for name, count in counts.items() if count > 1)
    if twins:
        raise SessionError(
            f"cannot plan: operation names must differ, found twice: {', '.join(twins)}; name= each by what it is about"
        )


def _unchanged(session: Session, changed: set[tuple[str, str]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for host in session.ready:
        for op_hash in session.state.ops[host]:
            layer, operation = layer_and_operation(session.state, op_hash)
            if (op_hash, host.name) not in changed and (layer or not operation.startswith(LAYER)):
                counts[layer] += 1
    return dict(counts)


def _problems(session: Session) -> tuple[Problem, ...]:
    unread = session.unread()
    told = ((name, redact(sentence)) for name in sorted(unread) for sentence in unread[name])
    return tuple(Problem(name, sentence) for name, sentence in dict.fromkeys(told))
