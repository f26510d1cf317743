"""Placement groups of ten, shards of a pool."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.placement import assigned, fits, free_shard, shards


@given(st.integers(0, 300))
def test_as_many_shards_as_filling_them_one_by_one(servers: int) -> None:
    groups: list[int] = []
    for _ in range(servers):
        if not groups or groups[-1] == 10:
            groups.append(0)
        groups[-1] += 1
    assert shards(servers) == len(groups)


@given(st.dictionaries(st.integers(1, 6), st.integers(0, 10)), st.integers(0, 40))
def test_new_servers_fill_gaps_and_no_group_ever_has_more_than_ten(members: dict[int, int], count: int) -> None:
    found = assigned([f"s-{number}" for number in range(count)], members)
    after = Counter(members)
    for shard in found.values():
        assert all(after[lower] == 10 for lower in range(1, shard))
        after[shard] += 1
    assert max(after.values(), default=0) <= 10


def test_a_gap_is_filled_first() -> None:
    assert free_shard({1: 10, 2: 9, 3: 1}) == 2
    assert free_shard({1: 10, 3: 1}) == 2
    assert free_shard({}) == 1


def test_a_hundred_and_twenty_servers_are_twelve_groups() -> None:
    found = assigned([f"demo-workers-{number}" for number in range(1, 121)], {})
    assert sorted(Counter(found.values()).items()) == [(shard, 10) for shard in range(1, 13)]
    assert (
        fits({"workers": 120}).arithmetic == "12 (workers, 120 servers) = 12 placement groups of 10, a project has 50"
    )


@pytest.mark.parametrize(("servers", "passed"), [(480, True), (490, True), (491, False)])
def test_a_project_has_fifty(servers: int, passed: bool) -> None:
    verdict = fits({"workers": servers, "servers": 1})
    assert verdict.passed is passed
    assert fits({}).arithmetic == "0 = 0 placement groups of 10, a project has 50"
