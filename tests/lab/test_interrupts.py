"""Interrupts, kill -9, dead nodes and silent networks in the middle of a run."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.commands import Running, changes, converge, on, plan, settled, started, unterbau
from unterbau.connectors.lock import SILENCE_S

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("on_the_ground")]

# What is interrupted there is interrupted anywhere; the members have tests of their own.
WORKERS = ("--limit", "workers")

# Something for every kind of operation: a package (on one node: it takes apt its time), an account, files, a value, a
# unit, both ways in. Names on workers only: storage servers that cannot resolve the others deny what they hold, and
# three of five would be believed.
BREAK = """
test "$(uname -n)" != wrk-1 || dpkg --purge --force-depends conntrack >/dev/null
usermod -s /bin/sh operator
rm -f /etc/sysctl.d/*unterbau* /etc/systemd/journald.conf.d/* /etc/ssh/sshd_config.d/00-unterbau.conf
sysctl -qw net.ipv4.ip_forward=0
systemctl stop chrony
nft delete table inet unterbau
test "$(uname -n)" = srv-1 || sed -i '/10.77/d' /etc/hosts
"""


def break_everything(nodes: tuple[str, ...]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: on(node, BREAK), nodes))


def at_work(*limit: str) -> Running:
    """An apply under way: its first operation has begun."""
    return Running("apply", "lab", "-y", *limit).until("operation 1 of")


def test_killed_at_ten_random_moments_the_next_apply_converges() -> None:
    moments = random.Random(20)  # noqa: S311  # spread over the run, the same ones each time
    break_everything(("wrk-1", "wrk-2"))
    code, out, err = Running("apply", "lab", "-y", *WORKERS).end()
    assert code == 0, out + err
    steps = int(re.findall(r"operation \d+ of (\d+)", err)[0])
    cut = 0
    for _ in range(10):
        break_everything(("wrk-1", "wrk-2"))
        step = moments.randint(0, steps)
        run = Running("apply", "lab", "-y", *WORKERS).until(f"operation {step} of" if step else "reading")
        time.sleep(moments.uniform(0, 0.3))  # a moment, not a condition
        run.process.kill()
        cut += run.end()[0] == -signal.SIGKILL
        converge(*WORKERS)  # which looks again itself: exit 0 is zero changes
    assert cut > 5, f"{cut} of 10 runs were cut short"


@pytest.mark.usefixtures("whole_platform")
def test_a_node_killed_during_apply_is_named_and_the_others_finish() -> None:
    break_everything(("srv-1", "wrk-1", "wrk-2"))
    run = at_work()
    assert unterbau("lab", "fault", "kill", "wrk-2").returncode == 0
    try:
        code, out, err = run.end()
        assert code == 1, out + err
        assert "! wrk-2" in out
        assert not [line for line in out.splitlines() if line.startswith(("failed", "not run")) and "wrk-2" not in line]
    finally:
        assert unterbau("lab", "up").returncode == 0
    started("wrk-2")
    converge()
    settled()


@pytest.mark.parametrize("fault", ["pause", "cut"])
def test_a_node_that_falls_silent_is_an_error_and_not_a_hang(fault: str) -> None:
    break_everything(("wrk-1", "wrk-2"))
    run = at_work()
    assert unterbau("lab", "fault", fault, "wrk-2").returncode == 0
    try:
        code, out, err = run.end()
        assert code == 1, out + err
        assert "! wrk-2" in out
    finally:
        assert unterbau("lab", "fault", "undo", "wrk-2").returncode == 0
    converge()


def test_ctrl_c_ends_after_the_operation_that_runs() -> None:
    break_everything(("wrk-1", "wrk-2"))
    run = at_work(*WORKERS)
    run.process.send_signal(signal.SIGINT)
    code, out, err = run.end()
    assert code == 1
    assert "stopping after the operation that runs" in err
    assert "Interrupted:" in out
    assert "not run" in out
    assert "Traceback" not in err
    assert changes(plan(*WORKERS)[1])
    converge(*WORKERS)


def test_ctrl_c_while_reading_changes_nothing() -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    run = Running("apply", "lab", "-y", *WORKERS).until("reading")
    run.process.send_signal(signal.SIGINT)
    code, _, err = run.end()
    assert code == 1
    assert "Traceback" not in err
    assert changes(plan(*WORKERS)[1]) == {("wrk-1", "net.ipv4.ip_forward")}
    converge(*WORKERS)


def test_a_run_that_loses_its_lock_goes_no_further_on_that_node() -> None:
    break_everything(("wrk-1", "wrk-2"))
    run = at_work(*WORKERS)
    on("wrk-2", "for p in /proc/[0-9]*; do ls -l $p/fd 2>&1 | grep -q unterbau.lock && kill -9 ${p#/proc/}; done; true")
    code, out, err = run.end()
    assert code == 1, out + err
    assert "the lock on wrk-2 was lost: another run may be at work there" in out
    assert not [line for line in out.splitlines() if line.startswith(("failed", "not run")) and "wrk-2" not in line]
    converge(*WORKERS)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(ours, the program's) ends of a terminal."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_somebody_who_thinks_longer_than_a_lock_lasts_is_heard(terminal: tuple[int, int]) -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    run = Running("apply", "lab", *WORKERS, stdin=terminal[1]).until("reading")
    time.sleep(SILENCE_S + 2)  # what is shown is that this time passes and nothing happens
    os.write(terminal[0], b"y\n")
    assert run.end()[0] == 0
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "1"


def test_no_is_no(terminal: tuple[int, int]) -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    for answer in (b"n\n", b"\n"):
        run = Running("apply", "lab", *WORKERS, stdin=terminal[1]).until("reading")
        os.write(terminal[0], answer)
        code, _, err = run.end()
        assert code == 1
        assert "not applied" in err
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    converge(*WORKERS)


def test_ctrl_c_at_the_question_changes_nothing(terminal: tuple[int, int]) -> None:
    on("wrk-1", "sysctl -w net.ipv4.ip_forward=0")
    run = Running("apply", "lab", *WORKERS, stdin=terminal[1])
    assert run.process.stderr is not None
    said = ""
    while not said.endswith("[y/N] "):
        said += (letter := run.process.stderr.read(1))
        assert letter, f"it never asked: {said}"
    run.process.send_signal(signal.SIGINT)
    code, _, err = run.end()
    assert (code, "Traceback" in err) == (1, False)
    assert on("wrk-1", "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    converge(*WORKERS)
