"""The stages of an apply: machines are made first, and who was deleted is forgotten last; each is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from click import ClickException

from unterbau.plan import cli, run
from unterbau.plan.model import Plan, Problem
from unterbau.plan.report import CHANGES, DONE, FAILED, Report
from unterbau.plan.session import SessionError
from unterbau.plan.text import plan_text

CLOUD = Plan("demo", hosts=("cloud",), later=("srv-1",))
HOSTS = Plan("demo", hosts=("srv-1",), problems=(Problem("srv-1", "cannot connect"),))


GONE = Plan("demo", hosts=("cloud", "srv-1", "wrk-3"), departing=("wrk-3",))
FORGOTTEN = Plan("demo", hosts=("cloud", "srv-1"))


def applied(
    monkeypatch: pytest.MonkeyPatch, *plans: Plan | SessionError, agreed: Plan | None = None, as_json: bool = False
) -> tuple[int, list[tuple[str, ...]]]:
    """(exit code, hosts that each stage waits for) of an apply whose stages have these plans."""
    asked: list[tuple[str, ...]] = []
    coming = iter(plans)

    @contextmanager
    def planned(*_: Any, begun: tuple[str, ...] = (), **__: Any) -> Iterator[tuple[Any, Plan]]:
        asked.append(begun)
        if isinstance(found := next(coming), SessionError):
            raise found
        yield None, found

    monkeypatch.setattr(run, "planned", planned)
    monkeypatch.setattr(cli, "Run", lambda _session, plan, _tell: SimpleNamespace(plan=plan))
    monkeypatch.setattr(run, "execute", lambda one, *_: Report(one.plan, (), (), None, False, ()))
    interrupts: Any = SimpleNamespace(run=None)
    environment: Any = None
    earlier: list[dict[str, Any]] = []
    with cli._errors_as_sentences(as_json, earlier):
        return cli.Applying(environment, (), agreed, interrupts, False, as_json, earlier).all_stages(), asked


@pytest.mark.parametrize("as_json", [False, True])
def test_a_second_stage_that_fails_does_not_hide_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    assert applied(monkeypatch, CLOUD, HOSTS, as_json=as_json) == (FAILED, [(), ("srv-1",)])
    said = capsys.readouterr()
    assert "nothing more was changed than the cloud before: the plan is incomplete" in said.err
    if as_json:
        document = json.loads(said.out)
        assert document["hosts"] == ["srv-1"]
        assert [stage["digest"] for stage in document["earlier_stages"]] == [CLOUD.digest]


def test_a_second_stage_that_cannot_begin_does_not_hide_the_first_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ClickException, match="another run holds it"):
        applied(monkeypatch, CLOUD, SessionError("cannot lock srv-1: another run holds it"), as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["error"], document["exit_code"]) == ("cannot lock srv-1: another run holds it", FAILED)
    assert [stage["digest"] for stage in document["earlier_stages"]] == [CLOUD.digest]


def test_who_was_deleted_is_forgotten_by_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert applied(monkeypatch, GONE, FORGOTTEN, as_json=True) == (DONE, [(), ()])
    document = json.loads(capsys.readouterr().out)
    assert document["digest"] == FORGOTTEN.digest
    assert [stage["digest"] for stage in document["earlier_stages"]] == [GONE.digest]


def test_one_is_made_another_leaves_and_the_rest_forget_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert applied(monkeypatch, CLOUD, GONE, FORGOTTEN) == (DONE, [(), ("srv-1",), ()])


@pytest.mark.parametrize("plan", [CLOUD, GONE])
def test_a_plan_file_is_carried_out_and_no_more(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    assert applied(monkeypatch, plan, agreed=plan) == (CHANGES, [()])


def test_the_plan_says_what_it_cannot_know_yet() -> None:
    assert "(known after apply) what others still know of wrk-3, once their servers are gone\n" in plan_text(GONE)
    assert "(known after apply) 1 hosts, once their cloud is as planned: srv-1\n" in plan_text(CLOUD)
