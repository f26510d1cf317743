"""etcd's care on a real cluster of three, with a quota so small that it is soon full."""

from __future__ import annotations

import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operations import etcd as care
from operations import etcd_gate
from tests.unit import etcd_cluster, etcd_host
from tests.unit.etcd_cluster import Etcd
from tests.unit.etcd_host import Ran

NAMES = ("srv-1-1a2b3c4d", "srv-2-5e6f7a8b", "srv-3-9c0d1e2f")
QUOTA = 16 * 2**20
OPERATIONS: list[tuple[Any, dict[str, Any]]] = [
    (care.compacted, {}),
    (care.defragmented, {"turn": "followers"}),
    (care.defragmented, {"turn": "leader"}),
    (care.disarmed, {}),
]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    found = Etcd(tmp_path, NAMES, quota_bytes=QUOTA)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def cared(etcd: Etcd, *, executes: bool, **thresholds: Any) -> list[Ran]:
    ran = []
    for operation, arguments in OPERATIONS:
        wanted = thresholds if operation is care.defragmented else {}
        ran += etcd_host.run(etcd, operation, executes=executes, **arguments, **wanted)
    return ran


def number(value: bytes) -> int:
    return int(value.rstrip(b"."))


def leader(etcd: Etcd) -> str:
    status = etcd.call(NAMES[0], "maintenance/status")
    members = {one["ID"]: one["name"] for one in etcd.call(NAMES[0], "cluster/member/list")["members"]}
    return str(members[status["leader"]])


class Writer:
    """Writes until it is told to end; knows what was acknowledged."""

    def __init__(self, etcd: Etcd, name: str) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.refused = 0
        self._etcd, self._name, self._end = etcd, name, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._end.wait(0.02):
            number += 1
            key, value = f"live-{number % 7}", str(number).encode()
            try:
                self._etcd.put(self._name, key, value)
            except (urllib.error.HTTPError, TimeoutError):
                self.refused += 1
                continue
            self.acknowledged[key] = value


def fill(etcd: Etcd) -> dict[str, bytes]:
    """Overwrite four keys until there is no space left."""
    acknowledged: dict[str, bytes] = {}
    for number in range(200):
        value = str(number).encode().ljust(300_000, b".")
        try:
            etcd.put(NAMES[0], f"full-{number % 4}", value)
        except urllib.error.HTTPError as error:
            assert error.code == 429
            return acknowledged
        acknowledged[f"full-{number % 4}"] = value
    raise AssertionError("it never was full")


def commands(ran: list[Ran], part: str) -> list[str]:
    return [one.host for one in ran if any(part in command for command in one.commands)]


def test_a_full_cluster_is_brought_back_and_no_acknowledged_write_is_lost(etcd: Etcd) -> None:
    acknowledged, leads = fill(etcd), leader(etcd)

    plan = cared(etcd, executes=False)
    said = {change.subject: change for one in plan for change in one.said.changes}
    alarms = [subject for subject in said if subject.startswith("etcd alarm of")]
    assert alarms
    assert said[alarms[0]].old == "NOSPACE: nobody can write, the quota is 16 MiB"  # type: ignore[union-attr]
    assert {f"etcd database of {name}" for name in NAMES} <= set(said)
    assert all(rule.passed for one in plan for rule in one.said.rules)
    assert [(one.said.changes, one.commands) for one in cared(etcd, executes=False)] == [
        (one.said.changes, one.commands) for one in plan
    ]  # a plan has one digest

    with Writer(etcd, NAMES[1]) as writer:
        ran = cared(etcd, executes=True)
        assert [one.error for one in ran if one.error] == []
        etcd.put(NAMES[0], "after", b"1")
    assert commands(ran, "kv/compaction") == [leads]
    order = commands(ran, "maintenance/defragment")
    assert sorted(order) == sorted(NAMES)
    assert order[-1] == leads
    # A later one may be there: what is applied when the quota is reached is answered with an error, and yet it is kept.
    for key, value in {**acknowledged, **writer.acknowledged, "after": b"1"}.items():
        found = etcd.get(NAMES[2], key)
        assert found is not None
        assert number(found) >= number(value)

    again = cared(etcd, executes=False)
    assert [one.commands for one in again] == [[]] * len(again)
    assert all(one.noop for one in again)


def test_care_that_was_killed_in_the_middle_is_finished_by_the_next(etcd: Etcd) -> None:
    fill(etcd)
    etcd_host.run(etcd, care.compacted, executes=True)
    etcd_host.run(etcd, care.defragmented, executes=True, turn="followers")
    ran = cared(etcd, executes=True)  # its history is compacted already
    assert [one.error for one in ran if one.error] == []
    etcd.put(NAMES[0], "after", b"1")


def test_free_pages_alone_make_a_defragmentation_and_nothing_else(etcd: Etcd) -> None:
    for number in range(20):
        etcd.put(NAMES[0], "one", str(number).encode().ljust(300_000, b"."))
    revision = etcd.call(NAMES[0], "maintenance/status")["header"]["revision"]
    etcd.call(NAMES[0], "kv/compaction", {"revision": revision, "physical": True})
    etcd_cluster.until(lambda: all(free(etcd, name) > 4_000_000 for name in NAMES), "history is gone on all")
    assert commands(cared(etcd, executes=False), "") == []  # far from 100 MiB
    ran = cared(etcd, executes=True, from_bytes=2**20)
    order = commands(ran, "maintenance/defragment")
    assert sorted(order) == sorted(NAMES)
    assert order[-1] == leader(etcd)
    assert commands(ran, "kv/compaction") == []
    assert commands(cared(etcd, executes=False, from_bytes=2**20), "") == []


def test_with_a_voter_down_nobody_stands_still(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_gate, "WAIT_S", 1)
    fill(etcd)
    leads = leader(etcd)
    dead, alive = (name for name in NAMES if name != leads)
    etcd.stop(dead)
    etcd_cluster.until(lambda: not etcd_gate.arithmetic(state(etcd, alive)).passed, "the dead one is seen")
    plan = cared(etcd, executes=False)
    sentence = f"without {alive} 1 of 3 voters take part, quorum needs 2; {dead} must take part first"
    assert f"not now: {sentence}" in {one.noop for one in plan if one.host == alive}
    assert commands(plan, "defragment") == []
    assert commands(plan, "_fail") == []  # the layers that would bring it back are not kept from it
    assert all(rule.passed for one in plan for rule in one.said.rules)
    # It died since the plan was made: the gate says so, and nothing is done.
    gate = etcd_gate.before_pause(alive, etcd_host.ways(etcd, alive))
    host = etcd_host.Host(alive, executes=True)
    assert not gate.function(host.state, host, alive)
    assert sentence in host.logged


def test_two_voters_that_are_both_there_come_out_of_no_space(tmp_path: Path) -> None:
    found = Etcd(tmp_path, NAMES[:2], quota_bytes=QUOTA)
    try:
        found.start()
        fill(found)
        assert [one.error for one in cared(found, executes=True) if one.error] == []
        found.put(NAMES[0], "after", b"1")
    finally:
        found.stop()


def free(etcd: Etcd, name: str) -> int:
    etcd.put(name, "small", b"1")  # pages count as free after the next write only
    status = etcd.call(name, "maintenance/status")
    return int(status["dbSize"]) - int(status["dbSizeInUse"])


def state(etcd: Etcd, name: str) -> Any:
    return etcd_gate.read(etcd_host.Host(name, executes=True), etcd_host.ways(etcd, name))  # type: ignore[arg-type]


def test_without_quorum_there_is_nothing_to_tidy_up(etcd: Etcd) -> None:
    alive, *dead = NAMES
    etcd.stop(*dead)
    etcd_cluster.until(lambda: state(etcd, alive)["cluster"]["leader_id"] is None, "nobody leads")
    ran = cared(etcd, executes=False)
    assert {one.noop for one in ran} == {"nobody leads: without quorum there is nothing to tidy up"}
