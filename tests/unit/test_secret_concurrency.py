"""Several processes at one store, and processes that are killed at every moment of a change. Real ones, with fork."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pyrage  # noqa: F401  # before the fork: children pay for nothing
import pytest

from unterbau.audit import ledger
from unterbau.secrets import disk
from unterbau.secrets import store as store_module
from unterbau.secrets.identity import new_identity
from unterbau.secrets.store import New, Store, StoreError

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
FILES = ("/secrets/store.py", "/secrets/disk.py", "/audit/ledger.py")
REFUSED, KILLED = 7, -signal.SIGKILL


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight at once, each with its fsyncs, may hold a busy disk longer than somebody waits for a lock."""
    monkeypatch.setattr(store_module, "locked", partial(disk.locked, wait_s=300))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(store_module, "checkout", lambda: "0123abc")  # git is not what is tested here
    new_identity(tmp_path / "identity.txt")
    return Store.create(tmp_path / "store.age", tmp_path / "identity.txt")


def forked(work: Callable[[], object]) -> int:
    """Do `work` in a process of its own; its id. It ends with REFUSED for a StoreError."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except StoreError:
        code = REFUSED
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def names_in(store: Store) -> list[str]:
    return sorted(store.read().secrets)


def trail_of(store: Store) -> list[dict[str, Any]]:
    found = ledger.read(store.ledger)
    assert found is not None
    return list(found.entries)


def test_eight_processes_lose_none_of_each_others_secrets(store: Store) -> None:
    def work(number: int) -> None:
        for round_ in range(5):
            store.commit([New(f"p{number}/s{round_}", f"value {number} {round_}", 0, NOW)], f"process {number}")

    children = [forked(lambda number=number: work(number)) for number in range(8)]
    assert [ended(pid) for pid in children] == [0] * 8
    expected = {f"p{number}/s{round_}": f"value {number} {round_}" for number in range(8) for round_ in range(5)}
    assert {name: versions[0].value for name, versions in store.read().secrets.items()} == expected
    assert store.verify().lines == 41
    assert sorted(entry["name"] for entry in trail_of(store)[1:]) == sorted(expected)


def test_of_eight_that_want_the_same_version_one_gets_it(store: Store) -> None:
    children = [forked(lambda n=n: store.commit([New("one", f"value {n}", 0, NOW)])) for n in range(8)]
    assert sorted(ended(pid) for pid in children) == [0] + [REFUSED] * 7
    assert len(store.read().secrets["one"]) == 1


def test_of_eight_that_make_the_store_all_get_the_same(tmp_path: Path) -> None:
    path, identity = tmp_path / "new" / "store.age", tmp_path / "new" / "identity.txt"

    def work(number: int) -> None:
        new_identity(identity)
        Store.create(path, identity).commit([New(f"s{number}", "value", 0, NOW)])

    children = [forked(lambda number=number: work(number)) for number in range(8)]
    assert [ended(pid) for pid in children] == [0] * 8
    assert names_in(Store(path, identity)) == [f"s{number}" for number in range(8)]
    assert [entry["action"] for entry in trail_of(Store(path, identity))].count("create") == 1


def killed_before_line(number: int, work: Callable[[], object]) -> Callable[[], object]:
    """`work`, killed before the so many-th line of our files that it runs."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    return traced


def test_killed_before_any_line_of_a_change_the_store_is_whole_and_the_trail_can_be_completed(store: Store) -> None:
    store.commit([New("there", "before", 0, NOW)])
    begin = {path: path.read_bytes() for path in (store.path, store.ledger)}
    outcomes = set()
    for line in range(1, 2000):
        for path, content in begin.items():
            path.write_bytes(content)
        change = [New("there", "after", 1, NOW), New("new", "value", 0, NOW)]
        code = ended(forked(killed_before_line(line, lambda change=change: store.commit(change))))
        outcomes.add(what_is_left(store))
        if code != KILLED:
            break
    assert code == 0
    assert line > 80  # it really went through all of it
    assert outcomes == {"nothing done", "stored, trail completed", "stored"}


def what_is_left(store: Store) -> str:
    """All of the change or nothing of it, and a trail that holds."""
    numbers = {name: len(versions) for name, versions in store.read().secrets.items()}
    verdict = store.verify()
    assert (numbers, verdict.lines) in (({"there": 1}, 2), ({"there": 2, "new": 1}, 4))
    if verdict.lines == 2:
        assert verdict.completed == 0
        return "nothing done"
    return "stored, trail completed" if verdict.completed else "stored"


def test_killed_at_random_moments_no_secret_that_was_reported_stored_is_lost(store: Store, tmp_path: Path) -> None:
    random.seed(20261122)
    reported = tmp_path / "reported"
    reported.touch()

    def work(round_: int) -> None:
        with reported.open("a", buffering=1) as file:
            for number in range(10_000):
                store.commit([New(f"r{round_}/n{number}", "value", 0, NOW)])
                file.write(f"r{round_}/n{number}\n")

    for round_ in range(30):
        before = reported.stat().st_size
        pid = forked(lambda round_=round_: work(round_))
        while reported.stat().st_size == before:  # it is at work
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.01))  # noqa: S311  # the moment of the kill is what is random here
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == KILLED
        store.verify()
        there, said = set(names_in(store)), set(reported.read_text().split())
        assert said <= there
        assert len(there - said) <= round_ + 1  # stored, and killed before it could say so
    assert {entry["name"] for entry in trail_of(store)[1:]} == there


def test_who_waits_is_told_who_holds_the_lock(store: Store, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(disk, "TELL_AFTER_S", 0)
    with (
        disk.locked(store.path, "alice@desk"),
        pytest.raises(
            StoreError, match=rf"cannot change .*: alice@desk \(pid {os.getpid()}, since .*\) holds its lock"
        ),
        disk.locked(store.path, "bob@desk", wait_s=0.1),
    ):
        pass
    assert "waiting for alice@desk" in caplog.text
    with disk.locked(store.path, "bob@desk", wait_s=0):
        assert (store.path.parent / "store.age.lock").read_text().startswith("bob@desk")


def test_the_lock_of_a_killed_process_is_free(store: Store, tmp_path: Path) -> None:
    ready, write = os.pipe()

    def hold() -> None:
        with disk.locked(store.path, "killed"):
            os.write(write, b"held")
            signal.pause()

    pid = forked(hold)
    assert os.read(ready, 4) == b"held"
    with pytest.raises(StoreError, match="killed"), disk.locked(store.path, "me", wait_s=0):
        pass
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == KILLED
    with disk.locked(store.path, "me", wait_s=0):
        pass


def test_a_lock_that_is_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    lock = tmp_path / "store.age.lock"
    lock.unlink()
    lock.symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match=r"store\.age\.lock beside it cannot be opened"):
        store.commit([New("x", "y", 0, NOW)])
    assert not (tmp_path / "victim").exists()


def test_waiting_lets_other_greenlets_work(store: Store) -> None:
    """In a process of its own, for the standard library becomes cooperative there."""
    code = f"""
import gevent.monkey; gevent.monkey.patch_all()
import fcntl, gevent, json
from pathlib import Path
from unterbau.secrets.disk import locked
said = []
def first():
    with locked(Path({str(store.path)!r}), "first"):
        said.append("first holds"); held.set(); done.wait(); said.append("first ends")
def second():
    held.wait()
    with locked(Path({str(store.path)!r}), "second"):
        said.append("second holds")
def third():
    held.wait(); gevent.sleep(0.2)  # the second waits by now
    said.append("third works"); done.set()
held, done = gevent.event.Event(), gevent.event.Event()
work = [gevent.spawn(first), gevent.spawn(second), gevent.spawn(third)]
gevent.joinall(work, raise_error=True, timeout=20)
print(json.dumps(said))
"""

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == ["first holds", "third works", "first ends", "second holds"]
