"""Interrupts, kill -9, dead nodes and silent networks in the middle of a run."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.lab.commands import changes, converge, on, plan, start, unterbau

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("converged")]

NODES = ("srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2")
# Something for every kind of operation: a package, files, a unit, a value, an account, both ways in.
BREAK = """
rm -f /etc/sysctl.d/*unterbau* /etc/systemd/journald.conf.d/* /etc/ssh/sshd_config.d/00-unterbau.conf
sysctl -qw net.ipv4.ip_forward=0
systemctl stop chrony
nft delete table inet unterbau
sed -i '/10.77/d' /etc/hosts
"""


def break_everything(nodes: tuple[str, ...] = NODES) -> None:
    for node in nodes:
        on(node, BREAK)


def until_it_works() -> object:
    """An apply under way: its first operation has begun."""
    process = start("apply", "lab", "-y")
    assert process.stderr is not None
    for line in process.stderr:
        if "operation 1 of" in line:
            return process
    raise AssertionError(f"the apply never began: {process.communicate()}")


def test_killed_at_ten_random_moments_the_next_apply_converges() -> None:
    moments = random.Random(20)  # noqa: S311  # spread over the run, the same ones each time
    break_everything()
    began = time.monotonic()
    converge()
    whole_run_s = time.monotonic() - began
    for _ in range(10):
        break_everything()
        process = start("apply", "lab", "-y")
        time.sleep(moments.uniform(0, whole_run_s))  # a moment, not a condition
        process.kill()
        process.communicate()
        converge()
        assert plan()[0] == 0


def test_a_node_killed_during_apply_is_named_and_the_others_finish() -> None:
    break_everything()
    process = until_it_works()
    assert unterbau("lab", "fault", "kill", "wrk-2").returncode == 0
    try:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, out + err
        assert "! wrk-2" in out
        assert not [line for line in out.splitlines() if line.startswith(("failed", "not run")) and "wrk-2" not in line]
    finally:
        assert unterbau("lab", "up").returncode == 0
    converge()
    assert plan()[0] == 0


@pytest.mark.parametrize("fault", ["pause", "cut"])
def test_a_node_that_falls_silent_is_an_error_and_not_a_hang(fault: str) -> None:
    break_everything(("wrk-1", "wrk-2"))
    process = until_it_works()
    assert unterbau("lab", "fault", fault, "wrk-2").returncode == 0
    try:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, out + err
        assert "! wrk-2" in out
    finally:
        assert unterbau("lab", "fault", "undo", "wrk-2").returncode == 0
    converge()


def test_ctrl_c_ends_after_the_operation_that_runs() -> None:
    break_everything()
    process = until_it_works()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "stopping after the operation that runs" in err
    assert "Interrupted:" in out
    assert "not run" in out
    assert "Traceback" not in err
    assert changes(plan()[1])
    converge()


def test_ctrl_c_while_reading_changes_nothing() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    process = start("apply", "lab", "-y")
    assert process.stderr is not None
    for line in process.stderr:
        if "reading" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert changes(plan()[1]) == {("wrk-1", "net.ipv4.ip_forward")}
    converge()
