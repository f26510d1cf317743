"""Any two of five machines may die: all is read, and new objects are written. With three, nothing is wrong."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from itertools import combinations

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.s3_client import sha256
from tests.lab.storage import Storage, storage, tell, until

pytestmark = pytest.mark.lab

# 200 objects: what lies in the metadata and what does not (128 KiB), one block and several (1 MiB), 1 B and 64 MiB.
EDGES = (1, 2, 1023, 2**17 - 1, 2**17, 2**17 + 1, 2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20 + 7, 64 * 2**20)
NEW = {"tiny": 3, "small": 70_000, "large": 3 * 2**20 + 1}
PROBE = "old/009"


def sizes() -> dict[str, int]:
    draw = random.Random(5)  # noqa: S311
    drawn = [draw.randint(1, 2**15) for _ in range(150)] + [draw.randint(2**15, 2**18) for _ in range(39)]
    return {f"old/{number:03}": size for number, size in enumerate([*EDGES, *drawn])}


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage(spare_command, tmp_path_factory.mktemp("pairs")) as made:
        yield made


@pytest.fixture(scope="module")
def old(cluster: Storage) -> dict[str, str]:
    """{name: sha256} of 200 objects, written while every machine was healthy: each has all of its shards."""
    every = sizes()
    said = cluster.client(cluster.nodes[0])("write", bucket=cluster.bucket, sizes=every)
    assert said["failed"] == {}
    until(lambda: cluster.uneven("old") == {})  # a drive that was too slow for a write gets its shard a moment later
    return {name: sha256(name, size) for name, size in every.items()}


def pairs(nodes: list[str]) -> list[tuple[str, ...]]:
    """Each node dies with two others; with UNTERBAU_ALL_PAIRS set, with all of them: ten pairs take eleven minutes."""
    if os.environ.get("UNTERBAU_ALL_PAIRS"):
        return list(combinations(nodes, 2))
    return list(zip(nodes, [*nodes[1:], nodes[0]], strict=True))


def test_any_two_of_five_machines_may_die(
    cluster: Storage, old: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(old) == 200
    for pair in pairs(cluster.nodes):
        started = time.monotonic()
        rest = [node for node in cluster.nodes if node not in pair]
        cluster.some(*rest)
        cluster.kill(*pair)
        slowest = cluster.read(rest, old)
        new = written_without(cluster, pair, rest)
        cluster.read(rest, new)
        read = time.monotonic() - started
        cluster.start()
        lacking = cluster.uneven("new")
        assert {name.split("/")[3] for name in lacking} == set(NEW), "what was written without two has three shards"
        assert {node for nodes in lacking.values() for node in nodes} == set(pair)
        cluster.heal_until_whole()
        assert cluster.uneven() == {}
        healed = time.monotonic() - started
        cluster.read(pair, {**old, **new})
        cluster.until_all_see_all(PROBE)
        tell(
            capsys,
            f"{' and '.join(pair)}: all read, new written and read in {read:.0f} s (slowest read {slowest} s), "
            f"healed at {healed:.0f} s, reached by all at {time.monotonic() - started:.0f} s",
        )


def written_without(cluster: Storage, pair: tuple[str, ...], rest: list[str]) -> dict[str, str]:
    """{name: sha256} of objects that were written through each of the others while the pair was dead."""
    new = {}
    for node in rest:
        names = {f"new/{'+'.join(pair)}/{node}/{name}": size for name, size in NEW.items()}
        said = cluster.client(node)("write", bucket=cluster.bucket, sizes=names)
        assert said["failed"] == {}, f"{node} without {pair}"
        new |= {name: sha256(name, size) for name, size in names.items()}
    return new


def test_with_three_of_five_dead_all_is_refused_and_nothing_is_wrong(cluster: Storage, old: dict[str, str]) -> None:
    dead, rest = cluster.nodes[1:4], [cluster.nodes[0], cluster.nodes[4]]
    few = dict(list(old.items())[:16])
    denied = {f"denied/{name}": size for name, size in NEW.items()}
    cluster.some(*rest)
    cluster.kill(*dead)
    until(lambda: not cluster.serves(rest[0]) and not cluster.serves(rest[1]))
    for said in cluster.together(rest, "read", bucket=cluster.bucket, hashes=few, threads=16).values():
        assert (said["equal"], said["wrong"]) == ([], [])
        assert set(said["failed"]) == set(few)
    for said in cluster.together(rest, "write", bucket=cluster.bucket, sizes=denied, threads=3).values():
        assert said["written"] == []
        assert set(said["failed"]) == set(denied)
    cluster.start()
    cluster.heal_until_whole()
    cluster.until_all_see_all(PROBE)
    cluster.read(cluster.nodes, old)
    there = cluster.client(rest[0])("listing", bucket=cluster.bucket, prefix="denied/")["names"]
    assert there == {}, "nobody was told that these were written"
    assert cluster.uneven() == {}
