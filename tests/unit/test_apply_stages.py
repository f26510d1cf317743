"""What an apply of two stages says when the second is not carried out: the first one was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from unterbau.plan import cli, run
from unterbau.plan.model import Plan, Problem
from unterbau.plan.report import FAILED, Report

CLOUD = Plan("demo", hosts=("cloud",), later=("srv-1",))
HOSTS = Plan("demo", hosts=("srv-1",), problems=(Problem("srv-1", "cannot connect"),))


@pytest.mark.parametrize("as_json", [False, True])
def test_a_second_stage_that_fails_does_not_hide_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    plans = iter((CLOUD, HOSTS))

    @contextmanager
    def planned(*_: Any, **__: Any) -> Iterator[tuple[Any, Plan]]:
        yield None, next(plans)

    monkeypatch.setattr(run, "planned", planned)
    monkeypatch.setattr(cli, "Run", lambda _session, plan, _tell: SimpleNamespace(plan=plan))
    monkeypatch.setattr(run, "execute", lambda one, *_: Report(one.plan, (), (), None, False, ()))
    interrupts: Any = SimpleNamespace(run=None)
    environment: Any = None
    applying = cli.Applying(environment, (), None, interrupts, ask=False, as_json=as_json)
    assert applying.all_stages() == FAILED
    said = capsys.readouterr()
    assert "nothing more was changed than the cloud before: the plan is incomplete" in said.err
    if as_json:
        document = json.loads(said.out)
        assert document["hosts"] == ["srv-1"]
        assert [stage["digest"] for stage in document["earlier_stages"]] == [CLOUD.digest]
