"""`unterbau plan` and `unterbau apply`."""

from __future__ import annotations

import unterbau.cooperative  # noqa: F401  # isort: skip  # first: it makes the standard library cooperative (gevent)

import json
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pyinfra.api.host import Host

from unterbau.declaration import DeclarationError, Environment, load
from unterbau.plan import run as engine
from unterbau.plan.execute import Run, Step
from unterbau.plan.interrupts import Interrupts
from unterbau.plan.model import Plan, PlanFileError, read_plan_file
from unterbau.plan.report import CHANGES, DONE, FAILED, REFUSED, Report
from unterbau.plan.session import SessionError
from unterbau.plan.text import plan_text, report_text

Limit = click.option("--limit", multiple=True, metavar="NODE|GROUP", help="Only these; may be given more than once.")
Json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _tell_step(step: Step, hosts: list[Host]) -> None:
    names = ", ".join(host.name for host in hosts)
    _tell(f"layer {step.layer} of {step.layers} · operation {step.number} of {step.of} · {step.title} · {names}")


@contextmanager
def _errors_as_sentences(as_json: bool, earlier: Sequence[dict[str, Any]] = ()) -> Iterator[None]:
    """`earlier`: reports of stages that were carried out before the error, filled in meanwhile."""
    try:
        yield
    except (DeclarationError, SessionError, PlanFileError) as error:
        if as_json:
            problems = [problem.to_json() for problem in getattr(error, "problems", ())]
            _echo_json({"error": str(error), "problems": problems, "exit_code": FAILED, **_stages(earlier)})
        raise click.ClickException(str(error)) from error


def _stages(earlier: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"earlier_stages": list(earlier)} if earlier else {}


def _echo_json(document: dict[str, object]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _checked(limit: tuple[str, ...]) -> tuple[str, ...]:
    if any(not pattern.strip() for pattern in limit):
        raise SessionError("cannot limit to an empty name: found --limit ''; name a node or a group")
    return limit


def _check_output(path: Path | None) -> None:
    """Before anything is read: a plan that cannot be written was made in vain."""
    if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise SessionError(f"cannot write {path}: {path.parent} is no directory that can be written to; name another")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise SessionError(f"cannot write {path}: {error.strerror}; make room, or name another place") from error


@click.command("plan")
@click.argument("environment")
@Limit
@Json
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan file here.")
def plan_command(environment: str, limit: tuple[str, ...], as_json: bool, output: Path | None) -> None:
    """Show what would change in ENVIRONMENT, and change nothing.

    Exit 0: no changes. 2: there are changes. 3: refused by a rule. 1: something could not be read, or is wrong.
    """
    with Interrupts(), _errors_as_sentences(as_json):
        _check_output(output)
        found = engine.plan(environment, Path.cwd(), _checked(limit), _tell)
        if output is not None:
            _write(output, found.to_json())
        click.echo(found.to_json() if as_json else plan_text(found), nl=False)
    sys.exit(engine.exit_code_of(found))


@click.command("apply")
@click.argument("target", metavar="ENVIRONMENT|PLAN.json")
@Limit
@Json
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def apply_command(target: str, limit: tuple[str, ...], as_json: bool, yes: bool) -> None:
    """Carry out the plan of an environment, after showing it and asking; or exactly the plan of a plan file.

    Exit 0: done, or nothing to do. 3: refused by a rule, or the plan file is not the plan of now. 1: anything else.
    """
    earlier: list[dict[str, Any]] = []
    with Interrupts() as interrupts, _errors_as_sentences(as_json, earlier):
        agreed = read_plan_file(Path(target)) if target.endswith(".json") else None
        if agreed is not None and limit:
            raise SessionError("cannot limit a plan file: it says itself for which hosts it is")
        environment = load(agreed.environment if agreed else target, Path.cwd())
        hosts = agreed.limit if agreed else _checked(limit)
        applying = Applying(environment, hosts, agreed, interrupts, not (yes or agreed), as_json, earlier)
        sys.exit(applying.all_stages())


@dataclass
class Applying:
    """One apply: the cloud's stage, if a machine has to be made or started, and then the hosts'."""

    environment: Environment
    limit: tuple[str, ...]
    agreed: Plan | None
    interrupts: Interrupts
    ask: bool
    as_json: bool
    earlier: list[dict[str, Any]]  # reports of the stages that were carried out, for the one document at the end
    _done_before: str = ""  # what an earlier stage has changed

    def all_stages(self) -> int:
        """The exit code. What is made comes first; who was deleted is forgotten by the others last."""
        code, plan = self._stage(())
        if code == DONE and plan.later:
            if self.agreed is not None:
                return self._no_further(f"the cloud is as agreed; {len(plan.later)} hosts could not be planned before")
            self._done_before = "the cloud"
            code, plan = self._stage(plan.later)
        if code == DONE and plan.departing:
            if self.agreed is not None:
                return self._no_further(f"{', '.join(plan.departing)} are gone as agreed; the others still know them")
            self._done_before = "the nodes that left"
            code, _ = self._stage(())
        return code

    @staticmethod
    def _no_further(why: str) -> int:
        _tell(f"{why}: make their plan now")
        return CHANGES

    @property
    def _untouched(self) -> str:
        """What is true if this stage is not carried out."""
        if self._done_before:
            return f"nothing more was changed than {self._done_before} before"
        return "nothing was changed"

    def _stage(self, made: tuple[str, ...]) -> tuple[int, Plan]:
        """(exit code, what was planned); `made`: hosts that waited for the stage before."""
        run = engine.planned(self.environment, Path.cwd(), self.limit, _tell, lock=True, begun=made)
        with run as (session, found):
            if made and found.later:
                raise SessionError(
                    f"cannot go on with {', '.join(found.later)}: their cloud was converged and a machine of theirs "
                    "still does not run; look at it in the project's console, then apply again"
                )
            return self._carried_out(Run(session, found, _tell_step)), found

    def _carried_out(self, run: Run) -> int:
        found = run.plan
        if self.agreed is not None and self.agreed.digest != found.digest:
            return self._not_agreed(self.agreed, found)
        code = engine.exit_code_of(found)
        if not self.as_json or code in {FAILED, REFUSED}:
            self._show_plan(found)
        if code in {FAILED, REFUSED}:
            _tell(f"{self._untouched}: the plan is incomplete or refused")
            return code
        if self.ask and code == CHANGES:
            if self.as_json:
                _tell(plan_text(found))
            _ask(self._untouched)
        self.interrupts.run = run
        report = engine.execute(run, Path.cwd(), _tell)
        self.interrupts.run = None  # another stage may follow, which is not being executed yet
        self._show(report)
        return report.exit_code

    def _show_plan(self, found: Plan) -> None:
        if self.as_json:
            _echo_json({**json.loads(found.to_json()), **_stages(self.earlier)})
        else:
            click.echo(plan_text(found), nl=False)

    def _not_agreed(self, agreed: Plan, found: Plan) -> int:
        difference = engine.difference(agreed, found)
        _tell(f"refused: the plan is not the agreed one any more\n{difference}")
        if self.as_json:
            _echo_json({"error": "the plan is not the agreed one", "difference": difference, "exit_code": REFUSED})
        return REFUSED

    def _show(self, report: Report) -> None:
        """As text at once; as JSON one document at the end, with the stage before in it."""
        if not self.as_json:
            click.echo(report_text(report))
        elif (report.plan.later or report.plan.departing) and report.exit_code == DONE and self.agreed is None:
            self.earlier.append(report.to_json())
        else:
            _echo_json({**report.to_json(), **_stages(self.earlier)})


def _ask(otherwise: str) -> None:
    if not sys.stdin.isatty():
        raise SessionError("cannot ask whether to apply: no terminal; use -y, or a plan file")
    click.echo("apply this plan? [y/N] ", nl=False, err=True)
    select.select([sys.stdin], [], [])  # cooperative: locks are held and interrupts heard while somebody thinks
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise SessionError(f"not applied: the answer was not yes; {otherwise}")
