"""A session without the network: this machine through pyinfra's @local connector, or a row of its @fake hosts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import Host, State
from pyinfra.api.state import BaseStateCallback

from unterbau.connectors.output import Lines
from unterbau.plan.collect import make_plan
from unterbau.plan.execute import Run, Step
from unterbau.plan.model import Plan
from unterbau.plan.session import Session, SessionError

Prepared = Callable[..., tuple[Session, Plan]]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Prepare a deploy, on this machine if nothing else is said."""

    def prepare(
        deploy: str, limit: tuple[str, ...] = (), hosts: str = '[("@local", {"number": 1})]'
    ) -> tuple[Session, Plan]:
        (tmp_path / "deploys").mkdir()
        (tmp_path / "deploys" / "site.py").write_text(HEAD + textwrap.dedent(deploy))
        inventory = tmp_path / "demo.py"
        inventory.write_text(f"hosts = {hosts}\n")
        environment: Any = SimpleNamespace(name="demo", path=inventory, endpoints=())
        session = Session(environment, tmp_path, limit)
        session.connect()
        session.prepare()
        return session, make_plan(session)

    return prepare


HERE = '[("@local", {})]'
HEAD = """
from pyinfra import host
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.operations import server
from unterbau import changes

"""


def test_an_exception_in_a_deploy_is_a_problem_of_its_host(prepared: Prepared) -> None:
    _, plan = prepared("host.data.missing_name")
    assert [problem.host for problem in plan.problems] == ["@local"]
    assert "missing_name" in plan.problems[0].sentence


def test_an_exception_in_an_operation_is_a_problem_of_its_host(prepared: Prepared) -> None:
    _, plan = prepared("""
        @operation()
        def broken():
            raise KeyError("not there")
            yield ""
        broken(name="x")
        """)
    assert [problem.host for problem in plan.problems] == ["@local"]
    assert "not there" in plan.problems[0].sentence


def test_the_sentence_is_told_not_what_caused_it(prepared: Prepared) -> None:
    """Also where pyinfra's command line wraps nothing: while commands are described, or run."""
    _, plan = prepared("""
        calls = []
        @operation()
        def broken():
            calls.append(1)
            yield "true"
            if len(calls) > 1:
                raise RuntimeError("cannot read it; do this") from PermissionError(13, "denied")
        broken(name="x")
        """)
    assert [problem.sentence for problem in plan.problems] == ["RuntimeError: cannot read it; do this"]


def test_a_refusal_fails_the_plan_with_its_sentence(prepared: Prepared) -> None:
    _, plan = prepared("""
        @operation()
        def refused():
            yield from changes.refuse("cannot do x: found y; do z")
        refused(name="x")
        """)
    assert [problem.sentence for problem in plan.problems] == ["cannot do x: found y; do z"]


def test_a_fact_that_fails_fails_the_plan(prepared: Prepared) -> None:
    _, plan = prepared("""
        from pyinfra.api import FactBase
        class Broken(FactBase):
            def command(self):
                return "echo the reason >&2; exit 3"
        @operation()
        def asks():
            host.get_fact(Broken)
            yield "true"
        asks(name="x")
        """)
    assert any("the reason" in problem.sentence for problem in plan.problems), plan.problems


def test_output_that_is_not_utf_8_is_not_cut_short() -> None:
    lines: Any = Lines(None, [b"one\n", b"b\xe9d\n", b"three\n"])  # type: ignore[arg-type]
    assert list(lines) == ["one\n", "b\\xe9d\n", "three\n"]


def test_two_operations_of_one_name_are_refused_with_a_sentence(prepared: Prepared) -> None:
    with pytest.raises(SessionError, match="names must differ, found twice: x;"):
        prepared(2 * 'server.shell(name="x", commands=["true"])\n')


def test_a_change_that_has_come_right_since_is_no_change(prepared: Prepared) -> None:
    _, plan = prepared("""
        seen = []
        @operation()
        def once():
            seen.append(1)
            if len(seen) == 1:
                yield "true"
        once(name="x")
        """)
    assert plan.changes == ()
    assert sum(plan.unchanged.values()) == 1


def test_a_run_keeps_the_reason_when_a_fact_fails_its_last_host(prepared: Prepared) -> None:
    session, plan = prepared("""
        from pyinfra.api import FactBase
        class Broken(FactBase):
            def command(self):
                return "echo the real reason >&2; exit 1"
        @operation()
        def asks():
            if host.state.is_executing:
                host.get_fact(Broken)  # pyinfra then raises no more than "No hosts remaining!"
            yield "true"
        asks(name="x")
        """)
    run = Run(session, plan, lambda _step, _hosts: None)
    run.execute()
    (outcome,) = run.outcomes()
    assert outcome.outcome == "failed"
    assert any("the real reason" in error for error in outcome.errors), outcome.errors


def test_a_stopped_run_begins_nothing_more(prepared: Prepared) -> None:
    session, plan = prepared("""
        server.shell(name="first", commands=["true"])
        server.shell(name="second", commands=["true"])
        """)

    def stop(step: Step, _hosts: object) -> None:
        if step.number == 1:
            run.stop()

    run = Run(session, plan, stop)
    run.execute()
    assert [outcome.outcome for outcome in run.outcomes()] == ["not run", "not run"]


@pytest.mark.parametrize("limit", [("all",), ("hosts",), ("@loc*",)])
def test_a_limit_is_a_name_a_pattern_or_a_group(prepared: Prepared, limit: tuple[str, ...]) -> None:
    _, plan = prepared('server.shell(name="x", commands=["true"])', limit)
    assert plan.hosts == ("@local",)
    assert plan.limit == limit


ROW = """[
    ("@fake/a", {"fake_delay": 0}),
    ("@fake/b", {"fake_delay": 0, "fake_responses": {"act": {"success": False, "stderr": "no"}}}),
    ("@fake/c", {"fake_delay": 0}),
]"""


def outcomes(session: Session, plan: Plan, stop_at: str = "") -> list[str]:
    """What became of each change; the run is stopped when the host `stop_at` begins."""
    run = Run(session, plan, lambda _step, _hosts: None)

    class Stop(BaseStateCallback):
        @staticmethod
        def operation_host_start(state: State, host: Host, op_hash: str) -> None:
            if host.name.endswith(stop_at or "nobody"):
                run.stop()

    session.state.add_callback_handler(Stop())
    run.execute()
    return [outcome.outcome for outcome in run.outcomes()]


def test_one_at_a_time_goes_no_further_after_a_failure(prepared: Prepared) -> None:
    deploy = 'server.shell(name="x", commands=["act"], _serial=True)\nserver.shell(name="y", commands=["true"])'
    session, plan = prepared(deploy, hosts=ROW)
    assert outcomes(session, plan) == ["done", "failed", "not run", "done", "not run", "done"]


def test_one_at_a_time_goes_no_further_after_an_interrupt(prepared: Prepared) -> None:
    session, plan = prepared('server.shell(name="x", commands=["true"], _serial=True)', hosts=ROW)
    assert outcomes(session, plan, stop_at="a") == ["done", "not run", "not run"]


def test_at_once_goes_on_for_the_others_after_a_failure(prepared: Prepared) -> None:
    session, plan = prepared('server.shell(name="x", commands=["act"])', hosts=ROW)
    assert outcomes(session, plan) == ["done", "failed", "done"]


def test_a_rule_that_an_operation_asked_refuses_the_plan_and_fails_a_run_without_one(prepared: Prepared) -> None:
    session, plan = prepared("""
        @operation()
        def restarted(healthy):
            changes.attribute("x", "old", "new")
            yield from changes.rule("quorum", passed=healthy >= 2, arithmetic=f"{healthy} of 3 healthy, quorum needs 2")
            if healthy < 2:
                return
            yield "true"
        restarted(name="one", healthy=1)
        restarted(name="two", healthy=2)
        """)
    told = {rule.name: (rule.passed, rule.arithmetic) for rule in plan.rules}
    assert told["quorum"] == (False, "@local: 1 of 3 healthy, quorum needs 2")
    assert plan.refused
    run = Run(session, plan, lambda _step, _hosts: None)
    run.execute()
    assert [outcome.outcome for outcome in run.outcomes()] == ["failed", "not run"]


@pytest.mark.parametrize(("kind", "outcomes"), [("store", ["failed", "not run"]), ("node", ["failed", "done"])])
def test_after_a_store_that_failed_nothing_else_is_done(prepared: Prepared, kind: str, outcomes: list[str]) -> None:
    """What another host would be told could be of a secret that nobody kept."""
    session, plan = prepared(
        """
        if host.data.number == 1:
            server.shell(name="stored", commands="exit 1")
        else:
            server.shell(name="told", commands="true")
        """,
        hosts=f'[("@local", {{"number": 1, "{kind}": True}}), ("@fake/other", {{"number": 2}})]',
    )
    run = Run(session, plan, lambda _step, _hosts: None)
    run.execute()
    assert [outcome.outcome for outcome in run.outcomes()] == outcomes
