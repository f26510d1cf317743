"""Placement groups of ten, shards of a pool."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.placement import fits, shard_of, shards


@given(st.integers(0, 300))
def test_as_many_shards_as_filling_them_one_by_one(servers: int) -> None:
    groups: list[int] = []
    for _ in range(servers):
        if not groups or groups[-1] == 10:
            groups.append(0)
        groups[-1] += 1
    assert shards(servers) == len(groups)


@given(st.integers(1, 300))
def test_no_group_ever_has_more_than_ten_and_a_server_keeps_its_own(servers: int) -> None:
    members = Counter(shard_of(number) for number in range(1, servers + 1))
    assert sorted(members) == list(range(1, shards(servers) + 1))
    assert all(members[shard] == 10 for shard in range(1, shards(servers)))
    assert max(members.values()) <= 10


def test_a_hundred_and_twenty_servers_are_twelve_groups() -> None:
    found = Counter(shard_of(number) for number in range(1, 121))
    assert sorted(found.items()) == [(shard, 10) for shard in range(1, 13)]
    assert (
        fits({"workers": 120}).arithmetic == "12 (workers, 120 servers) = 12 placement groups of 10, a project has 50"
    )


@pytest.mark.parametrize(("servers", "passed"), [(480, True), (490, True), (491, False)])
def test_a_project_has_fifty(servers: int, passed: bool) -> None:
    verdict = fits({"workers": servers, "servers": 1})
    assert verdict.passed is passed
    assert fits({}).arithmetic == "0 = 0 placement groups of 10, a project has 50"
