"""When etcd is tidied up, who may stand still for it, which snapshots can be opened, and what a histogram says."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from facts.etcd import decimal, hexadecimal
from facts.etcd_metrics import quantile, samples
from unterbau.domain import etcd
from unterbau.domain.etcd import Snapshot
from unterbau.domain.quorum import Verdict

MIB = 2**20
TAKEN = Snapshot(
    "scheduled-srv-1-1", "srv-1", "file:///x/scheduled-srv-1-1", "2026-11-22T00:00:00Z", 60, 1, True, "a" * 12
)


def test_a_token_has_one_hash_in_both_of_its_forms() -> None:
    wanted = hashlib.sha256(b"password").hexdigest()[:12]
    assert etcd.token_hash("password\n") == wanted
    assert etcd.token_hash(f"K10{'0' * 64}::server:password") == wanted
    assert etcd.token_hash("") is None
    assert etcd.token_hash("one:two") is None


@pytest.mark.parametrize(
    ("size", "in_use", "worth_it"),
    [
        (100 * MIB, 1, False),
        (100 * MIB + 1, 50 * MIB, True),
        (300 * MIB, 150 * MIB, False),
        (300 * MIB, 149 * MIB, True),
    ],
)
def test_only_a_large_and_mostly_free_file_is_worth_a_pause(size: int, in_use: int, worth_it: bool) -> None:
    assert etcd.fragmented(size, in_use) is worth_it


def test_who_may_stand_still() -> None:
    three = {"a": True, "b": True, "c": True}
    assert etcd.pause(three, "a") == Verdict(True, "without a 2 of 3 voters take part, quorum needs 2")
    assert not etcd.pause({**three, "c": False}, "a").passed
    assert etcd.pause({**three, "c": False}, "c").passed  # it takes part in nothing
    assert etcd.pause({"a": True}, "a").passed
    assert not etcd.pause({"a": True, "b": True}, "a").passed
    assert etcd.pause({"a": True, "b": True}, "a").arithmetic.endswith("another voter must take part first")
    five = {**three, "d": True, "e": False}
    assert etcd.pause(five, "a").passed
    assert not etcd.pause({**five, "d": False}, "a").passed


def test_a_snapshot_whose_token_is_lost_is_worthless_before_it_is_needed() -> None:
    assert etcd.why(TAKEN, {"a" * 12}) is None
    assert etcd.usable(TAKEN, {"b" * 12}) == "no"
    said = etcd.why(TAKEN, {"b" * 12}) or ""
    assert "worthless" in said
    assert "a" * 12 in said
    assert "b" * 12 in said
    assert etcd.usable(replace(TAKEN, token_hash=None), {"a" * 12}) == "unknown"
    assert "was not finished: disk full" in (etcd.why(replace(TAKEN, ready=False, error="disk full"), {"a" * 12}) or "")


def test_the_node_of_a_member() -> None:
    assert etcd.node_of("srv-1-1a2b3c4d") == "srv-1"
    assert etcd.node_of("etcd-a") == "etcd-a"


def test_ids_go_there_and_back() -> None:
    assert hexadecimal("10276657743932975437") == "8e9e05c52164694d"
    assert decimal("8e9e05c52164694d") == "10276657743932975437"


def test_a_quantile_is_as_prometheus_has_it() -> None:
    found = samples(
        f'etcd_disk_wal_fsync_duration_seconds_bucket{{le="{le}"}} {count}'
        for le, count in (("0.001", 50), ("0.002", 98), ("0.004", 100), ("+Inf", 100))
    )["etcd_disk_wal_fsync_duration_seconds_bucket"]
    assert quantile(found) == pytest.approx(0.003)
    assert quantile(found, 0.25) == pytest.approx(0.0005)
    assert quantile([({"le": "0.001"}, 0.0), ({"le": "+Inf"}, 4.0)]) == pytest.approx(0.001)
    assert quantile([({"le": "+Inf"}, 0.0)]) is None
    assert quantile([]) is None
