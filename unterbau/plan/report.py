"""What an apply did, change by change, and what a second look found."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from unterbau.plan.execute import OUTCOMES, Outcome
from unterbau.plan.model import Plan, Problem

DONE, FAILED, CHANGES, REFUSED = 0, 1, 2, 3


@dataclass(frozen=True)
class Report:
    """What an apply did. `left` is what the last look still found to do, or None if nothing was looked at again.

    `earlier` is what the looks before it found, in words: as declared only later is not the same as at once.
    """

    plan: Plan
    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...]
    left: Plan | None
    interrupted: bool
    earlier: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 only if everything was done and a second look found nothing more to do."""
        clean = all(outcome.outcome in {"done", "not needed"} for outcome in self.outcomes)
        converged = self.left is None or not (self.left.changes or self.left.problems)
        return DONE if clean and converged and not self.problems and not self.interrupted else FAILED

    def to_json(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {
            "environment": self.plan.environment,
            "digest": self.plan.digest,
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "problems": [{"host": problem.host, "sentence": problem.sentence} for problem in self.problems],
            "left": None if self.left is None else [list(change.key) for change in self.left.changes],
            "not_known": [asdict(problem) for problem in self.left.problems] if self.left else [],
            "earlier_looks": list(self.earlier),
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
        }

    def summary(self) -> str:
        """One line: how many changes ended how, and whether the hosts are now as declared."""
        if not self.outcomes:
            return "Nothing to do."
        counts = Counter(outcome.outcome for outcome in self.outcomes)
        told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        if self.interrupted:
            return f"Interrupted: {told}. Apply again to go on."
        if self.left is None and self.plan.departing:
            return f"{told.capitalize()}. What others know of {', '.join(self.plan.departing)} comes next."
        if self.left is None:
            return f"{told.capitalize()}; no host was left to look at again."
        if self.left.changes or self.left.problems:
            return f"{told}. NOT converged: {rest(self.left)}."
        later = f", at look {len(self.earlier) + 1}; before that: {' | '.join(self.earlier)}" if self.earlier else ""
        return f"{told}. Looked again at {len(self.left.hosts)} hosts: as declared{later}."


def rest(left: Plan) -> str:
    """What a second look found to do, and what it could not find out."""
    changes = "; ".join(sorted({" ".join(change.key) for change in left.changes}))
    unknown = "; ".join(f"{one.host}: {one.sentence}" for one in left.problems)
    return "; ".join([f"still to do: {changes}"] * bool(changes) + [f"not known: {unknown}"] * bool(unknown))
