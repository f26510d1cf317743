"""What `plan` and `apply` promise, against the machines of the lab."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.commands import LIMIT_S, Running, changes, checkouts, converge, on, plan, started, unterbau

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("on_the_ground")]


@pytest.mark.usefixtures("whole_platform")
def test_a_second_apply_changes_nothing() -> None:
    ran = unterbau("apply", "lab", "-y")
    assert (ran.returncode, "No changes." in ran.stdout) == (0, True), ran.stdout


def test_a_sysctl_changed_by_hand_is_named_and_nothing_else() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    code, found = plan()
    assert code == 2
    assert [(c["host"], c["changes"]) for c in found["changes"]] == [
        ("wrk-1", [{"subject": "net.ipv4.ip_forward", "old": "0", "new": "1"}])
    ]
    converge()
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "1"


@pytest.mark.usefixtures("whole_platform")
def test_two_plans_of_one_state_have_one_digest() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    first, second = plan()[1], plan()[1]
    assert first == second
    assert first["digest"].startswith("sha256:")
    converge()
    assert plan()[1]["digest"] != first["digest"]


def test_a_plan_file_is_applied_as_agreed(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    assert unterbau("plan", "lab", "-o", str(file)).returncode == 2
    ran = unterbau("apply", str(file), "--json")
    report = json.loads(ran.stdout)
    assert ran.returncode == report["exit_code"] == 0
    assert [(o["host"], o["outcome"]) for o in report["outcomes"]] == [("wrk-1", "done")]
    assert report["left"] == []


def test_a_changed_node_makes_a_plan_file_refused_with_the_difference(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    assert unterbau("plan", "lab", "-o", str(file)).returncode == 2
    on("wrk-2", "sysctl -w net.ipv4.ip_forward=0")
    ran = unterbau("apply", str(file))
    assert ran.returncode == 3
    assert any(line.startswith("+~ wrk-1, wrk-2") for line in ran.stderr.splitlines()), ran.stderr
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    converge()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "lab", "--limit", ""], "cannot limit to an empty name"),
        (["plan", "lab", "--limit", "srv-9"], "no such host or group; there are"),
        (["plan", "nowhere"], "nowhere"),
        (["apply", "nowhere", "-y"], "nowhere"),
        (["apply", "missing.json"], "cannot read the plan missing.json"),
        (["plan"], "Missing argument"),
        (["plan", "lab", "--bogus"], "No such option"),
        (["destroy", "lab"], "No such command"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_exit_1(arguments: list[str], words: str) -> None:
    ran = unterbau(*arguments)
    assert ran.returncode == 1
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_terminal_apply_asks_nobody_and_changes_nothing() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    ran = unterbau("apply", "lab")
    assert ran.returncode == 1
    assert "cannot ask whether to apply: no terminal" in ran.stderr
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    converge()


def test_limit_reads_and_changes_only_its_hosts() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    on("wrk-2", "sysctl -w net.ipv4.ip_forward=0")
    code, found = plan("--limit", "wrk-2")
    assert (code, found["hosts"], changes(found)) == (2, ["wrk-2"], {("wrk-2", "net.ipv4.ip_forward")})
    assert unterbau("apply", "lab", "-y", "--limit", "wrk-2").returncode == 0
    assert changes(plan()[1]) == {("wrk-1", "net.ipv4.ip_forward")}
    assert plan("--limit", "servers")[1]["hosts"] == ["srv-1", "srv-2", "srv-3"]
    converge()


@pytest.mark.usefixtures("whole_platform")
def test_a_node_that_is_down_fails_the_plan_by_name_and_apply_touches_nobody() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    assert unterbau("lab", "fault", "kill", "wrk-2").returncode == 0
    try:
        code, found = plan()
        assert code == 1
        assert {problem["host"] for problem in found["problems"]} == {"wrk-2"}
        assert changes(found) == {("wrk-1", "net.ipv4.ip_forward")}
        assert unterbau("apply", "lab", "-y").returncode == 1
        assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    finally:
        assert unterbau("lab", "up").returncode == 0
    started("wrk-2")
    converge()


def test_a_fact_that_cannot_be_read_fails_the_plan_by_name() -> None:
    on("wrk-1", "mv /usr/bin/dpkg-query /usr/bin/dpkg-query.away")
    try:
        code, found = plan()
        assert code == 1
        assert {problem["host"] for problem in found["problems"]} == {"wrk-1"}
    finally:
        on("wrk-1", "mv /usr/bin/dpkg-query.away /usr/bin/dpkg-query")
    assert plan()[0] == 0


@pytest.mark.usefixtures("whole_platform")
def test_of_two_runs_at_once_one_is_told_who_holds_the_nodes() -> None:
    on("wrk-1", "rm /etc/ssh/sshd_config.d/00-unterbau.conf")  # a guarded change: it takes its time
    first = Running("apply", "lab", "-y").until("reading")  # its locks are taken
    second = unterbau("apply", "lab", "-y")
    assert (first.end()[0], second.returncode) == (0, 1)
    assert "another run holds it" in second.stdout + second.stderr
    assert "pid" in second.stdout + second.stderr
    assert plan()[0] == 0


def pyinfra(*last: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyinfra", "inventories/lab.py", "deploys/site.py", *last]
    return subprocess.run(command, cwd=checkouts[0], text=True, capture_output=True, timeout=LIMIT_S, check=False)


@pytest.mark.usefixtures("whole_platform")
def test_plain_pyinfra_does_the_same_work() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    dry = pyinfra("--dry", "--diff")
    assert dry.returncode == 0, dry.stderr
    assert "net.ipv4.ip_forward: 0 -> 1" in dry.stderr
    assert plan()[0] == 2
    applied = pyinfra("-y")
    assert applied.returncode == 0, applied.stderr
    assert plan()[0] == 0


@pytest.mark.usefixtures("whole_platform")
def test_an_operator_with_sudo_sees_and_does_what_root_does(tmp_path: Path) -> None:
    for folder in ("group_data", "deploys", "operations", "facts"):
        (tmp_path / folder).symlink_to(checkouts[0] / folder)
    (tmp_path / "inventories").mkdir()
    inventory = (
        (checkouts[0] / "inventories" / "lab.py")
        .read_text()
        .replace("_ssh = {", '_ssh = {\n    "ssh_user": "operator",')
    )
    (tmp_path / "inventories" / "lab.py").write_text(inventory)
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    planned = unterbau("plan", "lab", "--json", cwd=tmp_path)
    assert changes(json.loads(planned.stdout)) == {("wrk-1", "net.ipv4.ip_forward")}
    applied = unterbau("apply", "lab", "-y", cwd=tmp_path)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert plan()[0] == 0
