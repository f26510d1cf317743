"""The arithmetic of erasure sets: the table of MinIO's documentation, and every property against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unterbau.domain import erasure
from unterbau.domain.erasure import ErasureSet, Pool, Survives


def pool(nodes: int, drives: int = 1, per_set: int | None = None) -> Pool:
    return Pool(tuple(f"n{number}" for number in range(nodes)), drives, per_set)


@pytest.mark.parametrize(
    ("nodes", "drives", "per_set", "reads", "writes"),
    [
        (4, 1, None, 2, 1), (5, 1, None, 2, 2), (6, 1, None, 2, 2), (8, 1, None, 2, 2),
        (3, 2, None, 1, 1), (4, 2, None, 1, 1), (6, 2, None, 1, 1), (8, 2, None, 1, 1),
        (4, 3, None, 0, 0), (4, 4, None, 0, 0), (4, 4, 8, 1, 1), (4, 4, 4, 2, 1),
    ],
)  # fmt: skip
def test_layouts_survive_what_is_documented(
    nodes: int, drives: int, per_set: int | None, reads: int, writes: int
) -> None:
    assert erasure.survives([pool(nodes, drives, per_set)], 2) == Survives(reads, writes)


@pytest.mark.parametrize(
    ("size", "read", "write"), [(4, 2, 3), (5, 3, 3), (6, 4, 4), (8, 6, 6), (12, 10, 10), (16, 14, 14)]
)
def test_quorums_of_parity_two(size: int, read: int, write: int) -> None:
    one = ErasureSet(tuple(f"n{number}" for number in range(size)), 2)
    assert (one.read_quorum, one.write_quorum) == (read, write)


def stands(nodes: tuple[str, ...], parity: int, lost: Sequence[str], *, writes: bool) -> bool:
    """Written down once more, from the definition: enough drives, and enough nodes to grant the lock."""
    left = [node for node in nodes if node not in lost]
    data, lockers = len(nodes) - parity, len(set(nodes))
    enough = data + 1 if writes and parity * 2 == len(nodes) else data
    majority = lockers // 2 + 1 if writes else lockers - lockers // 2
    return len(left) >= enough and len(set(left)) >= majority


layouts = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(0, 4))


@given(layouts)
def test_no_loss_that_is_survived_takes_a_set_away_and_one_more_node_can(layout: tuple[int, int, int]) -> None:
    nodes, drives, parity = layout
    one = pool(nodes, drives)
    try:
        sets = erasure.sets(one, parity)
    except ValueError:
        return
    real = erasure.survives([one], parity)
    for writes, count in ((False, real.reads), (True, real.writes)):
        held = [
            all(stands(each.nodes, parity, lost, writes=writes) for each in sets)
            for lost in combinations(one.nodes, count)
        ]
        assert all(held) or count == 0
        broken = [
            not all(stands(each.nodes, parity, lost, writes=writes) for each in sets)
            for lost in combinations(one.nodes, count + 1)
        ]
        assert any(broken) or count == nodes


@given(layouts)
def test_sets_share_the_drives_out(layout: tuple[int, int, int]) -> None:
    nodes, drives, parity = layout
    one = pool(nodes, drives)
    try:
        sets = erasure.sets(one, parity)
    except ValueError:
        return
    assert sum(each.size for each in sets) == one.total
    assert len({each.size for each in sets}) == 1
    shards = [node for each in sets for node in each.nodes]
    assert {node: shards.count(node) for node in one.nodes} == dict.fromkeys(one.nodes, drives)
    assert erasure.usable_bytes([one], parity, 10) == sum(each.size - parity for each in sets) * 10


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 8), st.integers(0, 3))
def test_a_promise_is_kept_or_refused_with_layouts_that_keep_it(
    nodes: int, drives: int, parity: int, promised: int
) -> None:
    one = pool(nodes, drives)
    verdict = erasure.promise([one], parity, promised)
    try:
        real = erasure.survives([one], parity)
    except ValueError:
        assert not verdict.passed
    else:
        assert verdict.passed == (min(real.reads, real.writes) >= promised)
    for better, other in erasure.nearest(one, parity, promised):
        found = erasure.survives([better], other)
        assert min(found.reads, found.writes) >= promised


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (
            pool(4),
            "survives 2 for reads, 1 for writes (nodes), promised 2 for both; layouts that keep it: 5 nodes x 1 drive",
        ),
        (pool(4, 4), "1 set of 16 drives, reads need 14 and writes 14, a node holds 4 of a set: survives 0 for reads"),
        (
            pool(3),
            "EC:2 in sets of 3 drives: parity is 1 at most, half of the set; layouts that keep it: 5 nodes x 1 drive",
        ),
        (pool(17), "17 drives: none of 2 to 16 divides them into equal sets"),
        (pool(5, 2, 4), "10 drives are no sets of 4"),
    ],
)
def test_a_refusal_says_its_arithmetic(one: Pool, says: str) -> None:
    verdict = erasure.promise([one], 2, 2)
    assert not verdict.passed
    assert says in verdict.arithmetic


def test_the_weakest_pool_decides() -> None:
    assert erasure.survives([pool(5), pool(4, 4)], 2) == Survives(0, 0)
    assert (
        "layouts that keep it: 5 nodes x 4 drives in sets of 5"
        in erasure.promise([pool(5), pool(4, 4)], 2, 2).arithmetic
    )


@given(st.integers(4, 7), st.integers(1, 2), st.data())
def test_a_node_is_stopped_only_if_what_was_written_can_still_be(nodes: int, drives: int, data: st.DataObject) -> None:
    one = pool(nodes, drives)
    online = {node: data.draw(st.lists(st.booleans(), min_size=drives, max_size=drives)) for node in one.nodes}
    name = data.draw(st.sampled_from(one.nodes))
    verdict = erasure.stop([one], 2, online, name)
    without = {**online, name: [False] * drives}
    lost = [
        each
        for each, before, after in zip(erasure.sets(one, 2), _writes(one, online), _writes(one, without), strict=True)
        if before and not after
    ]
    assert verdict.passed == (not lost)
    if lost:
        assert f"without {name}" in verdict.arithmetic


def _writes(one: Pool, online: dict[str, list[bool]]) -> list[bool]:
    """Per set, from the definition."""
    order = [(node, online[node][drive]) for drive in range(one.drives) for node in one.nodes]
    found, start = [], 0
    for each in erasure.sets(one, 2):
        part = order[start : start + each.size]
        start += each.size
        left = [node for node, there in part if there]
        enough = len(left) >= each.size - 2 + (each.size == 4)
        found.append(enough and len(set(left)) >= len(set(each.nodes)) // 2 + 1)
    return found


def test_the_gate_names_who_is_missing() -> None:
    online = {node: [node not in ("n1", "n2")] for node in pool(5).nodes}
    verdict = erasure.stop([pool(5)], 2, online, "n0")
    assert not verdict.passed
    assert verdict.arithmetic == (
        "without n0 2 of 5 drives of a set are left, writes need 3 (not there: n1, n2); bring n1, n2 back first"
    )
    assert erasure.stop([pool(5)], 2, online, "n1").passed  # it serves nothing: no loss
