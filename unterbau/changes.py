"""What an operation says that it will change: attributes old -> new, texts as a diff, or why it refuses.

pyinfra knows the commands of an operation; an auditor wants the values. An operation calls `attribute` or `text`
**before its first yield**, the plan records what was said. Outside a recording (plain pyinfra) the same words go to the
log when `--diff` is on. A `HiddenValue` is never unmasked here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

HIDDEN = "(sensitive value)"


@dataclass(frozen=True)
class AttributeChange:
    """One value of one subject; None means absent."""

    subject: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class TextChange:
    """A text and its unified diff; the diff is HIDDEN for a secret."""

    subject: str
    diff: str


@dataclass(frozen=True)
class RuleAsked:
    """What an operation found when it asked a rule: which, whether it passed, and the arithmetic."""

    name: str
    passed: bool
    arithmetic: str


@dataclass
class Record:
    """What one operation said on one host."""

    changes: list[AttributeChange | TextChange] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    rules: list[RuleAsked] = field(default_factory=list)
    remarks: list[RuleAsked] = field(default_factory=list)


_record: ContextVar[Record | None] = ContextVar("changes", default=None)


@contextmanager
def recording() -> Iterator[Record]:
    """Collect what operations say in this block, in this greenlet only."""
    record = Record()
    token = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(token)


def _shown(value: object) -> str | None:
    return None if value is None else str(value)


def _say(change: AttributeChange | TextChange, line: str) -> None:
    record = _record.get()
    if record is not None:
        record.changes.append(change)
    elif host.state.config.DIFF and not host.state.is_executing:
        host.log(line, logger.info)


def attribute(subject: str, old: object, new: object) -> None:
    """Say that `subject` goes from `old` to `new`; None means absent. Hidden values show masked."""
    change = AttributeChange(subject, _shown(old), _shown(new))
    _say(change, f"{subject}: {change.old} -> {change.new}")


def _lines(text: str) -> list[str]:
    """Lines as diff shows them: a last one without its newline differs from one with it."""
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, last + "\n\\ No newline at end of file"] if last else lines


def text(subject: str, old: str | None, new: str | None, *, secret: bool = False) -> None:
    """Say that the text `subject` (a path, mostly) changes; None means absent; a secret shows no line of it."""
    if not secret and not old and not new:  # there is no line to show: only that a file comes or goes
        attribute(subject, old if old is None else "empty", new if new is None else "empty")
        return
    before, after = _lines(old or ""), _lines(new or "")
    lines = difflib.unified_diff(
        before, after, f"{subject} (now)" if old is not None else "(absent)",
        f"{subject} (declared)" if new is not None else "(absent)", lineterm="",
    )  # fmt: skip
    diff = HIDDEN if secret else "\n".join(lines)
    _say(TextChange(subject, diff), diff)


def rule(name: str, *, passed: bool, arithmetic: str) -> Iterator[FunctionCommand]:
    """Say what a rule of `domain` answered: `yield from rule(...)`. One that did not pass refuses the whole plan.

    For what must not be done at all (quorum, data, deletions); `refuse` is for what cannot be read or done on a host.
    Where no plan is checked (plain pyinfra, or a state that changed since the plan) it fails this host instead, so
    after a rule that did not pass an operation returns.
    """
    record = _record.get()
    if record is not None:
        record.rules.append(RuleAsked(name, passed, arithmetic))
    if not passed:
        fail: Callable[..., Any] = _fail_this_host
        yield FunctionCommand(fail, (f"refused by the rule '{name}': {arithmetic}",), {})


def _fail_this_host(state: State, host: Host, sentence: str) -> bool:  # noqa: ARG001  # pyinfra wants both
    host.log_styled(sentence, fg="red", log_func=logger.error)
    return False


def remark(name: str, arithmetic: str) -> None:
    """Say what a plan tells whether or not there is anything to do; it changes nothing and refuses nothing.

    It stands among the rules. An operation says it before its first yield, and each time that it looks.
    """
    record = _record.get()
    if record is not None:
        record.remarks.append(RuleAsked(name, passed=True, arithmetic=arithmetic))


def refuse(sentence: str) -> Iterator[FunctionCommand]:
    """Fail this host, and only it, with a sentence: `yield from refuse(...)`, then return.

    An exception in an operation would end the run on every host; a command that fails ends it on this one.
    """
    record = _record.get()
    if record is not None:
        record.refusals.append(sentence)
    fail: Callable[..., Any] = _fail_this_host
    yield FunctionCommand(fail, (sentence,), {})
