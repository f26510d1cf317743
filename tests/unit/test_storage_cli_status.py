"""What `unterbau storage status` makes of answers that five nodes in the lab gave, and what may still fail."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from unterbau.domain.erasure import ErasureSet, Pool, sets
from unterbau.domain.erasure_left import Left, left
from unterbau.storage import status
from unterbau.storage.cli import table
from unterbau.storage.status import StorageStatus, judged

RECORDED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "storage_recorded.yaml").read_text())
NODES = {name: name for name in ("srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2")}
UNREACHABLE = "cannot connect: 'Could not connect (timed out)'"
DUE_S = datetime(2027, 2, 6, 3, 22, 6, tzinfo=UTC).timestamp()  # 14 days before the recorded certificate's end
DOWN = {"answers": False, "writes": False, "reads": False, "spare": False, "healing": 0}


def reading(name: str, **changed: Any) -> dict[str, Any]:
    [api] = RECORDED["reading"]["members"].values()
    return {**RECORDED["reading"], "members": {name: api}, **changed}


def status_of(cluster: str, *dead: str, **changed: dict[str, Any]) -> StorageStatus:
    """`changed`: what a node's own reading says otherwise; `dead` nodes have none."""
    readings = {name: reading(name, **changed.get(name.replace("-", "_"), {})) for name in NODES if name not in dead}
    return judged(NODES, readings, {name: [UNREACHABLE] for name in dead}, RECORDED["clusters"][cluster], None)


@pytest.mark.parametrize(
    ("found", "code", "problems"),
    [
        (status_of("healthy"), 0, []),
        (
            status_of("one_stopped", wrk_1={"active": "inactive", "members": {"wrk-1": DOWN}}),
            2,
            [
                "wrk-1: its server does not answer, its service is inactive; see `journalctl -u minio` there",
                "wrk-1: the other servers see it as offline",
            ],
        ),
        (
            status_of("two_dead", "srv-1", "wrk-1"),
            2,
            [
                f"srv-1: {UNREACHABLE}", "srv-1: the other servers see it as offline",
                f"wrk-1: {UNREACHABLE}", "wrk-1: the other servers see it as offline",
            ],
        ),
        (status_of("unformatted"), 2, [
            "wrk-2: its drive /mnt/drive-1/minio is unformatted; if it was replaced, apply again",
        ]),
        (status_of("healing"), 2, ["wrk-2: its drive /mnt/drive-1/minio is being healed"]),
        (status_of("healthy", srv_2={"served_certificate": "bb"}), 2, [
            "srv-2: it shows another certificate than the one on its disk; apply again",
        ]),
        (status_of("healthy", srv_2={"now_s": DUE_S - 1}), 0, []),
        (status_of("healthy", srv_2={"now_s": DUE_S + 1}), 2, [
            "srv-2: its certificate ends at 2027-02-20T03:22:06Z; apply again",
        ]),
    ],
)  # fmt: skip
def test_what_is_wrong_and_the_exit_code(found: StorageStatus, code: int, problems: list[str]) -> None:
    assert (list(found.problems), found.exit_code) == (problems, code)


def test_a_server_that_does_not_reach_others_that_are_there_is_named() -> None:
    cluster = copy.deepcopy(RECORDED["clusters"]["one_stopped"])
    cluster["nodes"]["srv-1"]["misses"] = ["srv-2", "wrk-1"]  # the second is stopped: nobody reaches it
    cluster["nodes"]["wrk-1"]["misses"] = ["srv-1"]
    found = judged(NODES, {name: reading(name) for name in NODES}, {}, cluster, None)
    assert found.exit_code == 2
    assert [problem for problem in found.problems if "reach" in problem] == [
        "srv-1: its server does not reach srv-2 by name and may deny what is there, though it calls itself healthy; "
        "see /etc/hosts and the firewall there, and apply"
    ]


def test_three_dead_of_five_is_no_service() -> None:
    found = status_of("three_dead", "srv-1", "srv-2", "wrk-1")
    assert (found.exit_code, found.usage) == (1, None)  # the servers say that there is nothing
    assert "objects" not in table(found)
    assert list(found.problems)[-1] == (
        "set 0/0: 2 of 5 drives are there, reads need 3 and writes 3: reads and writes are refused"
    )


def test_a_drive_that_is_being_healed_holds_nothing_yet() -> None:
    [one] = status_of("healing").sets
    assert (one.online, one.healing, one.left) == (4, 1, Left(1, 1))


def test_servers_that_cannot_be_asked_are_no_service_and_say_why() -> None:
    found = judged(NODES, {}, {name: [UNREACHABLE] for name in NODES}, None, "cannot reach the S3 API: no server")
    assert (found.exit_code, [one.state for one in found.nodes]) == (1, ["unreachable"] * 5)
    assert list(found.problems)[-1] == "cannot reach the S3 API: no server"
    assert judged({}, {}, {}, None, None).exit_code == 1


def test_two_versions_are_an_upgrade_under_way() -> None:
    cluster = {**RECORDED["clusters"]["healthy"], "versions": ["2026-02-12T20:18:48Z", "2026-02-12T20:18:49Z"]}
    found = judged(NODES, {name: reading(name) for name in NODES}, {}, cluster, None)
    assert found.exit_code == 2
    assert "2026-02-12T20:18:48Z and 2026-02-12T20:18:49Z: an upgrade is under way" in next(found.problems)


def test_a_service_elsewhere_has_no_nodes_of_ours_to_ask() -> None:
    found = judged({}, {}, {}, RECORDED["clusters"]["healthy"], None)
    assert ([one.name for one in found.nodes], found.exit_code) == (sorted(NODES), 0)


def test_the_table() -> None:
    lines = table(status_of("two_dead", "srv-1", "wrk-1")).splitlines()
    assert lines[0].split() == ["node", "state", "version", "drives", "certificate", "until"]
    assert lines[1].split() == ["srv-1", "offline", "-", "/mnt/drive-1/minio", "offline", "-"]
    assert "/mnt/drive-1/minio ok 46.3 MiB of 1.9 GiB  2027-02-20T03:22:06Z" in lines[2]
    assert lines[8].split()[:6] == ["0/0", "3", "of", "5", "3", "3"]
    assert lines[8].endswith("reads survive 0 more nodes, writes 0")
    assert lines[10].endswith("as the servers counted last")
    assert lines[11] == f"! srv-1: {UNREACHABLE}"


def test_json_has_everything() -> None:
    found = status_of("healthy").to_json()
    assert (found["exit_code"], found["problems"], found["unread"]) == (0, [], None)
    assert found["sets"][0]["left"] == {"reads": 2, "writes": 2}
    assert found["nodes"][0]["drives"][0]["total_bytes"] == 2080374784


def test_the_fact_that_is_named_is_there() -> None:
    assert import_module(status.FACT).State.__name__ == "State"


# What may still fail


@pytest.mark.parametrize(
    ("lost", "found", "words"),
    [
        (0, Left(2, 2), "reads survive 2 more nodes, writes 2"),
        (1, Left(1, 1), "reads survive 1 more node, writes 1"),
        (2, Left(0, 0), "reads survive 0 more nodes, writes 0"),
        (3, Left(None, None), "reads and writes are refused"),
    ],
)
def test_five_nodes(lost: int, found: Left, words: str) -> None:
    [one] = sets(Pool(tuple(NODES)), 2)
    up = list(NODES)[lost:]
    assert left(one, [node in up for node in one.nodes], up) == found
    assert str(found) == words


def test_half_of_four_nodes_reads_and_refuses_writes() -> None:
    one = ErasureSet(("a", "b", "c", "d"), 2)
    assert left(one, [True, True, False, False], {"a", "b"}) == Left(0, None)
    assert str(Left(0, None)) == "reads survive 0 more nodes, writes are refused"


def test_drives_enough_on_too_few_nodes_take_no_write_lock() -> None:
    one = ErasureSet(("a", "a", "a", "a", "b", "b", "c", "d"), 4)
    assert left(one, [True] * 6 + [False] * 2, {"a", "b"}) == Left(0, None)


def test_a_server_without_its_drive_still_counts_for_locks() -> None:
    one = ErasureSet(("a", "b", "c", "d", "e"), 2)
    drives = [True, True, True, False, False]
    assert left(one, drives, set("abcde")) == Left(0, 0)
    assert left(one, drives, set("abc")) == Left(0, 0)
    assert left(one, [True] * 5, set("ab")) == Left(None, None)


def layouts() -> Iterator[ErasureSet]:
    for nodes, drives, parity in [(4, 1, 2), (5, 1, 2), (6, 1, 2), (3, 2, 2), (4, 2, 2), (4, 3, 2), (5, 2, 4)]:
        yield from sets(Pool(tuple("abcdefgh"[:nodes]), drives), parity)


@pytest.mark.parametrize("one", list(layouts()), ids=lambda one: f"{one.nodes}-{one.parity}")
def test_it_is_what_trying_every_loss_finds(one: ErasureSet) -> None:
    """With everything there it is the layout's own promise; with nodes gone, what trying all further losses gives."""
    nodes = sorted(set(one.nodes))
    whole = left(one, [True] * one.size, nodes)
    assert (whole.reads, whole.writes) == (one.survives_reads, one.survives_writes)
    for count in range(len(nodes)):
        for gone in combinations(nodes, count):
            up = set(nodes) - set(gone)
            assert left(one, [node in up for node in one.nodes], up).writes == tried(one, up)


def tried(one: ErasureSet, up: set[str]) -> int | None:
    found = None
    for more in range(len(up) + 1):
        rests = [up - set(gone) for gone in combinations(sorted(up), more)]
        if not all(one.serves([node in rest for node in one.nodes]) for rest in rests):
            return found
        found = more
    return found
