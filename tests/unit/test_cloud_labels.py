"""Marks of what is ours, and names of servers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain import cloud_labels
from unterbau.domain.cloud_labels import (
    labels,
    new_servers,
    number_of,
    ours,
    server_name,
    server_names,
    surplus_servers,
)

NUMBERS = st.sets(st.integers(1, 12))


def names(numbers: set[int]) -> list[str]:
    return [server_name("demo-workers", number) for number in numbers]


def test_the_labels_of_a_server() -> None:
    found = labels("demo", "servers", ("servers", "etcd"), {"tier": "a"})
    assert found == {
        "cluster": "demo", "group-etcd": "true", "group-servers": "true", "managed-by": "unterbau", "pool": "servers",
        "tier": "a",
    }  # fmt: skip
    assert list(found) == sorted(found)
    assert cloud_labels.groups_of(found) == ("etcd", "servers")
    assert cloud_labels.selector("demo", "servers") == "cluster=demo,managed-by=unterbau,pool=servers"


@pytest.mark.parametrize(
    ("found", "is_ours"),
    [
        ({"managed-by": "unterbau", "cluster": "demo"}, True),
        ({"managed-by": "unterbau", "cluster": "demo", "other": ""}, True),
        ({"managed-by": "unterbau", "cluster": "prod"}, False),
        ({"managed-by": "hand", "cluster": "demo"}, False),
        ({"managed-by": "unterbau"}, False),
        ({"cluster": "demo"}, False),
        ({}, False),
    ],
)
def test_only_what_has_both_marks_is_ours(found: dict[str, str], is_ours: bool) -> None:
    assert ours(found, "demo") is is_ours


def test_no_declared_label_replaces_a_group() -> None:
    assert labels("demo", groups=("a",), others={"group-a": "no"})["group-a"] == "true"
    assert [cloud_labels.is_mark(key) for key in ("managed-by", "cluster", "pool", "group-x", "group", "x")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


API_VALUE = re.compile(r"^(()|[a-z0-9A-Z]|([a-z0-9A-Z][a-z0-9A-Z\._-]{0,61}[a-z0-9A-Z]))$")


@given(st.text("aZ9._-/ !", max_size=70) | st.sampled_from(["a" * 63, "a" * 64]))
def test_values_are_those_that_the_api_describes(text: str) -> None:
    assert cloud_labels.is_value(text) == bool(API_VALUE.match(text))


@pytest.mark.parametrize(
    ("key", "good"),
    [("tier", True), ("example.com/tier", True), ("a" * 63, True), ("a" * 64, False), ("-a", False), ("a/b/c", False),
     ("", False), ("/a", False), ("a/", False)],
)  # fmt: skip
def test_keys(key: str, good: bool) -> None:
    assert cloud_labels.is_key(key) is good


@given(NUMBERS, st.integers(0, 15))
def test_new_servers_are_the_numbers_that_lack_the_lowest_first(mine: set[int], count: int) -> None:
    found = new_servers("demo-workers", [*names(mine), "demo-servers-1", "x"], count)
    assert found == [server_name("demo-workers", number) for number in range(1, count + 1) if number not in mine]


@given(NUMBERS, st.integers(0, 15))
def test_a_shrink_takes_numbers_above_the_count_the_highest_first(mine: set[int], count: int) -> None:
    gone = surplus_servers("demo-workers", [*names(mine), "demo-workers-13-data", "demo-workers-a"], count)
    assert gone == [server_name("demo-workers", number) for number in sorted(mine, reverse=True) if number > count]
    assert {*names(mine)} - {*gone} <= {*server_names("demo-workers", count)}


@pytest.mark.parametrize(
    "name", ["demo-workers-0", "demo-workers-01", "demo-workers-1-data", "demo-workers-", "workers-1"]
)
def test_what_is_no_name_of_the_pool(name: str) -> None:
    assert number_of(name, "demo-workers") is None


def test_pools_whose_names_begin_alike_are_told_apart() -> None:
    assert number_of("demo-a-1-2", "demo-a-1") == 2
    assert number_of("demo-a-1-2", "demo-a") is None
    assert number_of("demoxa-1", "demo.a") is None
