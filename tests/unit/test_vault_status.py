"""What `unterbau vault status` makes of readings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from facts.openbao import DOWN
from unterbau.vault import status
from unterbau.vault.cli import table
from unterbau.vault.status import ClusterStatus, MemberStatus, judged

ROOMY = {"/a/one.log": 50_000_000, "/b/two.log": 50_000_000}


def reading(name: str = "srv-1", *, leads: bool = False, **changed: Any) -> dict[str, Any]:
    api = {
        "answers": True, "initialized": True, "sealed": False, "leads": leads, "version": "2.7.2",
        "committed_index": 56, "applied_index": 56,
    }  # fmt: skip
    return {
        "api": {name: {**api, **changed.pop("api", {})}}, "active": "active", "founding": False, "certificate": "aa",
        "served_certificate": "aa", "certificate_ends_at": "2027-02-19T23:51:31Z", "audit_free_bytes": ROOMY, **changed,
    }  # fmt: skip


SNAPSHOTS = {
    "newest_at": "2026-11-22T00:00:00Z", "newest_age_s": 4000.0, "count": 1, "last_run": "inactive",
    "data_age_s": 9e6,
}  # fmt: skip
NONE_TAKEN = {**SNAPSHOTS, "newest_at": None, "newest_age_s": None, "count": 0}


def member(name: str, snapshots: dict[str, Any] | None = SNAPSHOTS, **changed: Any) -> MemberStatus:
    return judged(name, reading(name, **changed), snapshots)


LEADER, FOLLOWER, ANOTHER = member("srv-1", leads=True), member("srv-2"), member("srv-3")
ONE_FULL = {"/a/one.log": 0, "/b/two.log": 50_000_000}
BOTH_FULL = {"/a/one.log": 0, "/b/two.log": 4096}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ((LEADER, FOLLOWER, ANOTHER), 0),
        ((LEADER, FOLLOWER, MemberStatus("srv-3", "unreachable", problems=("cannot connect",))), 2),
        ((LEADER, FOLLOWER, member("srv-3", api=DOWN)), 2),
        ((LEADER, member("srv-2", api=DOWN), member("srv-3", api={"sealed": True})), 1),
        ((FOLLOWER, ANOTHER, member("srv-1")), 1),
        ((member("srv-1", leads=True, audit_free_bytes=ONE_FULL), FOLLOWER, ANOTHER), 2),
        ((member("srv-1", leads=True, audit_free_bytes=BOTH_FULL), FOLLOWER, ANOTHER), 1),
        ((LEADER, FOLLOWER, member("srv-3", audit_free_bytes=BOTH_FULL)), 2),
        ((LEADER, FOLLOWER, member("srv-3", served_certificate="bb")), 2),
    ],
)
def test_the_exit_code(members: tuple[MemberStatus, ...], code: int) -> None:
    assert ClusterStatus(members).exit_code == code


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"leads": True}, "active"),
        ({}, "standby"),
        ({"api": {"sealed": True}}, "sealed"),
        ({"api": {"initialized": False, "sealed": True}}, "uninitialised"),
        ({"api": DOWN}, "down"),
    ],
)
def test_the_state(changed: dict[str, Any], state: str) -> None:
    assert member("srv-1", **changed).state == state


def test_full_logs_are_named_with_their_bytes() -> None:
    one, both = member("srv-1", audit_free_bytes=ONE_FULL), member("srv-1", audit_free_bytes=BOTH_FULL)
    assert one.problems == ("it cannot write /a/one.log: 0 bytes are free in /a; the other log still works",)
    assert len(both.problems) == 2
    assert "4096 bytes are free in /b; it answers no request until one log can be written" in both.problems[1]
    (missing,) = member("srv-1", audit_free_bytes={**ROOMY, "/a/one.log": None}).problems
    assert "its folder is missing in /a" in missing


def test_the_table_says_what_is_wrong() -> None:
    lines = table(ClusterStatus((member("srv-1", api=DOWN, active="failed"), FOLLOWER, ANOTHER))).splitlines()
    assert lines[0].split() == ["member", "state", "version", "raft", "index", "audit", "free", "certificate", "until"]
    assert lines[-2] == "! srv-1: it is down, its service is failed; see `journalctl -u openbao` there"
    assert lines[-1] == "! no member answers requests"


@pytest.mark.parametrize(
    ("kept", "code", "said"),
    [
        ([SNAPSHOTS, NONE_TAKEN], 0, ["newest snapshot: 2026-11-22T00:00:00Z on srv-1, 1 h 6 min ago"]),
        (
            [{**SNAPSHOTS, "newest_age_s": 50_000.0}, NONE_TAKEN],
            2,
            [
                "newest snapshot: 2026-11-22T00:00:00Z on srv-1, 13 h 53 min ago",
                "! the newest snapshot is 13 h 53 min old, one is due every 6 h; see `journalctl -u openbao-snapshot` "
                "on the leader",
            ],
        ),
        ([{**NONE_TAKEN, "data_age_s": 40_000.0}], 0, ["newest snapshot: there is none yet"]),
        (
            [NONE_TAKEN],
            2,
            [
                "newest snapshot: there is none yet",
                "! there is no snapshot, one is due every 6 h, and the cluster is 104 days old; see "
                "`journalctl -u openbao-snapshot` on the leader",
            ],
        ),
        (
            [{**SNAPSHOTS, "last_run": "failed"}],
            2,
            [
                "newest snapshot: 2026-11-22T00:00:00Z on srv-1, 1 h 6 min ago",
                "! srv-1: its last snapshot failed; see `journalctl -u openbao-snapshot` there",
            ],
        ),
        (
            [None],
            2,
            ["newest snapshot: there is none yet", "! srv-1: its snapshots could not be read; see the error above"],
        ),
    ],
)
def test_the_newest_snapshot(kept: list[dict[str, Any] | None], code: int, said: list[str]) -> None:
    members = [member(f"srv-{n}", one, leads=n == 1) for n, one in enumerate(kept, start=1)]
    found = ClusterStatus(tuple(members), 6)
    assert found.exit_code == code
    assert table(found).splitlines()[1 + len(members) :] == said


def test_json_has_the_newest_snapshot() -> None:
    found = ClusterStatus((LEADER, member("srv-2", NONE_TAKEN)), 6).to_json()
    assert found["newest_snapshot"] == {
        "member": "srv-1", "newest_at": "2026-11-22T00:00:00Z", "newest_age_s": 4000.0, "data_age_s": 9e6,
    }  # fmt: skip
    assert found["overdue_snapshot"] is None


def test_the_facts_that_are_named_are_there() -> None:
    assert import_module(status.FACT).State.__name__ == "State"
    assert import_module(status.SNAPSHOTS).Kept.__name__ == "Kept"
