"""The plan: one object, several renderers. Everything in it is masked already; nothing in it depends on the time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from unterbau.changes import AttributeChange, TextChange

SCHEMA = "unterbau.plan/1"


class PlanFileError(Exception):
    """A plan file that cannot be used, with what was found and what to do next."""


@dataclass(frozen=True)
class PlannedChange:
    """One operation on one host that has something to do."""

    host: str
    layer: str
    operation: str
    changes: tuple[AttributeChange | TextChange, ...]
    commands: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What names this change within a plan."""
        return self.host, self.layer, self.operation


@dataclass(frozen=True)
class Problem:
    """Why the plan is not the whole truth: what could not be read, or what an operation refused."""

    host: str
    sentence: str


@dataclass(frozen=True)
class Rule:
    """A rule that the plan was checked against."""

    name: str
    passed: bool
    arithmetic: str


@dataclass(frozen=True)
class Plan:
    """Everything one run would do; `digest` names exactly that."""

    environment: str
    limit: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    changes: tuple[PlannedChange, ...] = ()
    unchanged: dict[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    rules: tuple[Rule, ...] = ()
    later: tuple[str, ...] = ()  # hosts that are planned once what is planned here has been done
    departing: tuple[str, ...] = ()  # hosts whose servers are deleted: what others know of them is planned after that

    def body(self) -> dict[str, Any]:
        """Everything but the digest, as JSON takes it."""
        return {
            "schema": SCHEMA,
            "environment": self.environment,
            "limit": list(self.limit),
            "hosts": list(self.hosts),
            "changes": [asdict(change) for change in self.changes],
            "unchanged": dict(sorted(self.unchanged.items())),
            "problems": [asdict(problem) for problem in self.problems],
            "rules": [asdict(rule) for rule in self.rules],
            **({"later": list(self.later)} if self.later else {}),
            **({"departing": list(self.departing)} if self.departing else {}),
        }

    @property
    def digest(self) -> str:
        """sha256 of the body in canonical JSON."""
        canonical = json.dumps(self.body(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def refused(self) -> bool:
        """Whether a rule forbids this plan."""
        return not all(rule.passed for rule in self.rules)

    def to_json(self) -> str:
        """The plan file: body and digest."""
        return json.dumps({**self.body(), "digest": self.digest}, indent=2, ensure_ascii=False) + "\n"


def read_plan_file(path: Path) -> Plan:
    """The plan of a file that is whole and still says what its digest says; PlanFileError otherwise."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema, digest = document.pop("schema"), document.pop("digest")
        plan = TypeAdapter(Plan).validate_python(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise PlanFileError(f"cannot read the plan {path}: {reason}; make one with `unterbau plan ENV -o`") from error
    if schema != SCHEMA:
        raise PlanFileError(f"cannot use the plan {path}: its schema is {schema!r}, this version writes {SCHEMA!r}")
    if digest != plan.digest:
        raise PlanFileError(f"cannot trust the plan {path}: its content is not what its digest says; make a new one")
    return plan
