"""The plan object: its digest, its file, its exit code, its text."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unterbau.changes import HIDDEN, AttributeChange, TextChange
from unterbau.plan import run
from unterbau.plan.execute import Outcome
from unterbau.plan.model import Plan, PlanFileError, PlannedChange, Problem, Rule, read_plan_file
from unterbau.plan.report import Report
from unterbau.plan.text import plan_text, report_text

FORWARD = PlannedChange(
    "wrk-1",
    "base",
    "kernel | sysctl",
    (AttributeChange("net.ipv4.ip_forward", "0", "1"),),
    ("sysctl -w net.ipv4.ip_forward=1",),
)
HOSTS = PlannedChange("srv-1", "base", "names | /etc/hosts", (TextChange("/etc/hosts", "-a\n+b"),), ("line 1\nline 2",))
PLAN = Plan("lab", (), ("srv-1", "wrk-1"), (HOSTS, FORWARD), {"base": 7}, (), (Rule("r", True, "1 of 1"),))


def test_the_file_gives_the_same_plan_and_digest(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(PLAN.to_json())
    assert read_plan_file(file) == PLAN
    assert read_plan_file(file).digest == PLAN.digest


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, environment="production"),
        replace(PLAN, limit=("wrk-1",)),
        replace(PLAN, changes=(FORWARD, HOSTS)),
        replace(PLAN, changes=(HOSTS, replace(FORWARD, commands=("true",)))),
        replace(PLAN, unchanged={"base": 8}),
        replace(PLAN, problems=(Problem("srv-1", "gone"),)),
        replace(PLAN, rules=(Rule("r", False, "0 of 1"),)),
    ],
)
def test_the_digest_covers_everything(other: Plan) -> None:
    assert other.digest != PLAN.digest


def test_the_digest_does_not_depend_on_the_order_of_counting() -> None:
    one, two = replace(PLAN, unchanged={"a": 1, "b": 2}), replace(PLAN, unchanged={"b": 2, "a": 1})
    assert one.digest == two.digest


def tampered(document: dict[str, object]) -> str:
    return json.dumps(document).replace("ip_forward=1", "ip_forward=0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot read the plan"),
        ("[]", "cannot read the plan"),
        ("{}", "cannot read the plan"),
        (PLAN.to_json()[:-40], "cannot read the plan"),
        (tampered(json.loads(PLAN.to_json())), "cannot trust the plan"),
        (PLAN.to_json().replace("unterbau.plan/1", "unterbau.plan/0"), "cannot use the plan"),
        (PLAN.to_json().replace('"limit": []', '"limit": 7'), "cannot read the plan"),
    ],
)
def test_a_bad_plan_file_is_a_sentence(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content)
    with pytest.raises(PlanFileError, match=words):
        read_plan_file(file)


def test_a_missing_plan_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlanFileError, match="cannot read the plan"):
        read_plan_file(tmp_path / "nothing.json")


def test_the_text_shows_values_diffs_and_commands_and_counts_the_rest() -> None:
    assert plan_text(PLAN).splitlines()[:-1] == [
        "~ srv-1  base | names | /etc/hosts",
        "    /etc/hosts",
        "    -a",
        "    +b",
        "    $ line 1",
        "      line 2",
        "",
        "~ wrk-1  base | kernel | sysctl",
        "    net.ipv4.ip_forward: 0 -> 1",
        "    $ sysctl -w net.ipv4.ip_forward=1",
        "",
        "ok      r: 1 of 1",
        "unchanged in base: 7",
        "2 changes on 2 of 2 hosts.",
    ]


def test_the_same_change_on_many_hosts_is_shown_once_with_all_their_names() -> None:
    elsewhere = replace(FORWARD, host="wrk-2")
    otherwise = replace(FORWARD, host="wrk-3", commands=("another",))
    text = plan_text(replace(PLAN, changes=(FORWARD, elsewhere, otherwise)))
    headlines = [line for line in text.splitlines() if line.startswith("~")]
    assert headlines == ["~ wrk-1, wrk-2  base | kernel | sysctl", "~ wrk-3  base | kernel | sysctl"]


def test_no_changes_says_what_was_compared() -> None:
    assert "No changes. Compared 7 operations on 2 hosts." in plan_text(replace(PLAN, changes=()))


def test_absent_and_hidden_are_words() -> None:
    change = replace(FORWARD, changes=(AttributeChange("user", None, "ops"), TextChange("key", HIDDEN)))
    text = plan_text(replace(PLAN, changes=(change,)))
    assert "user: (absent) -> ops" in text
    assert HIDDEN in text


DONE = Outcome(FORWARD, "done", FORWARD.commands)
CONVERGED = replace(PLAN, changes=())


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(PLAN, (DONE,), (), CONVERGED, False), 0),
        (Report(PLAN, (Outcome(FORWARD, "not needed"),), (), CONVERGED, False), 0),
        (Report(PLAN, (), (), None, False), 0),
        (Report(PLAN, (Outcome(FORWARD, "failed", (), ("no",)),), (), CONVERGED, False), 1),
        (Report(PLAN, (Outcome(FORWARD, "not run"),), (), CONVERGED, False), 1),
        (Report(PLAN, (DONE,), (Problem("wrk-2", "gone"),), CONVERGED, False), 1),
        (Report(PLAN, (DONE,), (), PLAN, False), 1),
        (Report(PLAN, (DONE,), (), None, True), 1),
    ],
)
def test_apply_is_done_only_if_a_second_look_agrees(report: Report, code: int) -> None:
    assert report.exit_code == code
    assert report.to_json()["exit_code"] == code


def test_the_report_names_what_failed_and_what_ran_otherwise() -> None:
    otherwise = Outcome(HOSTS, "done", ("another command",))
    failed = Outcome(FORWARD, "failed", ("sysctl -w net.ipv4.ip_forward=1",), ("permission denied",))
    text = report_text(Report(PLAN, (otherwise, failed), (), PLAN, False))
    assert "done        srv-1  base | names | /etc/hosts  (by other commands than planned)" in text
    assert "    $ another command" in text
    assert "failed      wrk-1  base | kernel | sysctl" in text
    assert "    ! permission denied" in text
    assert "NOT converged" in text


def test_the_report_says_what_a_second_look_could_not_find_out() -> None:
    left = replace(CONVERGED, problems=(Problem("wrk-2", "did not answer within 30 s"),))
    report = Report(PLAN, (DONE,), (), left, False)
    assert report.exit_code == 1
    assert report.summary() == "1 done. NOT converged: not known: wrk-2: did not answer within 30 s."
    assert report.to_json()["not_known"] == [{"host": "wrk-2", "sentence": "did not answer within 30 s"}]
    both = Report(PLAN, (DONE,), (), replace(left, changes=(FORWARD,)), False).summary()
    assert both.endswith("still to do: wrk-1 base kernel | sysctl; not known: wrk-2: did not answer within 30 s.")


@pytest.mark.parametrize("short", [{"problems": (Problem("wrk-2", "busy"),)}, {"changes": (FORWARD,)}])
@pytest.mark.parametrize(("times", "looks"), [(0, 1), (1, 2), (99, run.LOOKS)])
def test_what_is_not_as_declared_right_after_an_apply_is_looked_at_again(
    short: dict[str, Any], times: int, looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, told = list[int](), list[str]()

    @contextmanager
    def planned(*_arguments: object, **_options: object) -> Iterator[tuple[None, Plan]]:
        looked.append(1)
        yield None, replace(CONVERGED, **(short if len(looked) <= times else {}))

    monkeypatch.setattr(run, "planned", planned)
    session: Any = SimpleNamespace(ready=[], environment=None)
    earlier: list[str] = []
    left = run._look_again(session, tmp_path, told.append, earlier)
    assert (len(looked), left == CONVERGED) == (looks, times < run.LOOKS)
    said = {"problems": "not known: wrk-2: busy", "changes": "still to do: wrk-1 base kernel | sysctl"}[
        next(iter(short))
    ]
    assert earlier == [said] * (looks - 1)
    assert told[1:] == [f"reading once more; {said}"] * (looks - 1)


def test_a_report_tells_that_it_took_more_than_one_look() -> None:
    report = Report(PLAN, (DONE,), (), CONVERGED, False, ("not known: wrk-2: busy",))
    assert report.exit_code == 0
    assert report.summary().endswith("as declared, at look 2; before that: not known: wrk-2: busy.")
    assert report.to_json()["earlier_looks"] == ["not known: wrk-2: busy"]


def test_what_comes_from_a_node_cannot_rewrite_the_plan_on_a_screen() -> None:
    hostile = TextChange("/etc/x", "-a\x1b[1A\x1b[2K\r    $ true\x85    $ rm -rf /")
    change = replace(FORWARD, changes=(hostile,), commands=("echo \x1b]0;x\x07",))
    text = plan_text(replace(PLAN, changes=(change,)))
    assert not [character for character in text if ord(character) < 32 and character != "\n"]
    assert "    -a\\x1b[1A\\x1b[2K\\r    $ true\\x85    $ rm -rf /" in text.splitlines()
    failed = Outcome(FORWARD, "failed", (), ("\x1b[2Kall is well",))
    assert "\x1b" not in report_text(Report(PLAN, (failed,), (), None, False))
