"""The plan for people: one headline a change, old -> new an attribute, a diff a text, counts last."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from unterbau.changes import AttributeChange, TextChange
from unterbau.plan.model import Plan, PlannedChange
from unterbau.plan.report import Report

ABSENT = "(absent)"
# What a terminal would obey instead of show. Texts come from nodes: none of them may rewrite the plan on the screen.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(line: str) -> str:
    """A line with its control characters spelled out."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], line)


def plan_text(plan: Plan) -> str:
    """The whole plan as text, ending in a line break."""
    return "".join(f"{visible(line)}\n" for line in _lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    for alike in _alike(plan.changes):
        yield from _change_lines(alike)
        yield ""
    for problem in plan.problems:
        yield from f"! {problem.host}: {problem.sentence}".split("\n")
    if plan.problems:
        yield ""
    for rule in plan.rules:
        yield f"{'ok     ' if rule.passed else 'REFUSED'} {rule.name}: {rule.arithmetic}"
    for layer, count in sorted(plan.unchanged.items()):
        yield f"unchanged in {layer or 'no layer'}: {count}"
    if plan.later:
        yield f"(known after apply) {len(plan.later)} hosts, once their cloud is as planned: {', '.join(plan.later)}"
    if plan.departing:
        yield f"(known after apply) what others still know of {', '.join(plan.departing)}, once their servers are gone"
    yield summary(plan)
    yield f"digest {plan.digest}"


def _alike(changes: Iterable[PlannedChange]) -> list[list[PlannedChange]]:
    """Changes that differ in nothing but their host, together, where the first of them stands."""
    groups: dict[PlannedChange, list[PlannedChange]] = {}
    for change in changes:
        groups.setdefault(replace(change, host=""), []).append(change)
    return list(groups.values())


def _change_lines(alike: list[PlannedChange]) -> Iterator[str]:
    """Headline, what changes, and the exact commands of one change on its hosts."""
    change, hosts = alike[0], ", ".join(change.host for change in alike)
    yield f"~ {hosts}  {change.layer} | {change.operation}"
    for part in change.changes:
        yield from (f"    {line}" for line in _part(part))
    for command in change.commands:
        first, *rest = command.split("\n")
        yield f"    $ {first}"
        yield from (f"      {line}" for line in rest)


def _part(part: AttributeChange | TextChange) -> list[str]:
    if isinstance(part, TextChange):
        return [part.subject, *part.diff.split("\n")]
    old, new = (ABSENT if value is None else value for value in (part.old, part.new))
    return [f"{part.subject}: {old} -> {new}"]


def summary(plan: Plan) -> str:
    """One line: what there is to do, or what was compared if there is nothing."""
    hosts = f"{len(plan.hosts)} host{'s' * (len(plan.hosts) != 1)}"
    if plan.problems:
        bad = len({problem.host for problem in plan.problems})
        return f"Incomplete: {bad} of {hosts} could not be planned; {len(plan.changes)} changes on the others."
    if not plan.changes:
        return f"No changes. Compared {sum(plan.unchanged.values())} operations on {hosts}."
    changing = len({change.host for change in plan.changes})
    return f"{len(plan.changes)} change{'s' * (len(plan.changes) != 1)} on {changing} of {hosts}."


def report_text(report: Report) -> str:
    """What an apply did: one line a change, what went wrong, and what a second look found. No line break at the end."""
    return "\n".join(visible(line) for entry in _report_lines(report) for line in entry.split("\n"))


def _report_lines(report: Report) -> Iterator[str]:
    for outcome in report.outcomes:
        change = outcome.change
        otherwise = "" if outcome.as_planned or outcome.outcome != "done" else "  (by other commands than planned)"
        yield f"{outcome.outcome:<10}  {change.host}  {change.layer} | {change.operation}{otherwise}"
        if otherwise or outcome.outcome == "failed":
            yield from (f"    $ {command}" for command in outcome.commands)
        yield from (f"    ! {error}" for error in outcome.errors)
    for problem in report.problems:
        yield f"! {problem.host}: {problem.sentence}"
    yield report.summary()
