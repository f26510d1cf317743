"""When snapshots are overdue."""

from __future__ import annotations

import pytest

from unterbau.domain.snapshot_age import Kept, newest, overdue, words

HOUR = 3600.0


def kept(member: str, age_h: float | None, data_h: float | None = 1000) -> Kept:
    return Kept(
        member, None if age_h is None else "at", age_h and age_h * HOUR, None if data_h is None else data_h * HOUR
    )


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([kept("a", 11.9), kept("b", None)], None),
        ([kept("a", 12), kept("b", 300)], None),
        ([kept("a", 12.5), kept("b", 49)], "the newest snapshot is 12 h 30 min old, one is due every 6 h"),
        ([kept("a", None, 11), kept("b", None, None)], None),
        (
            [kept("a", None, 3), kept("b", None, 13)],
            "there is no snapshot, one is due every 6 h, and the cluster is 13 h 0 min old",
        ),
        ([], None),
    ],
)
def test_overdue_after_two_periods(members: list[Kept], said: str | None) -> None:
    assert overdue(members, 6) == said


def test_the_newest_is_that_of_any_member() -> None:
    found = newest([kept("a", 5), kept("b", 0.0), kept("c", None)])
    assert found is not None
    assert found.member == "b"
    assert newest([kept("c", None)]) is None


@pytest.mark.parametrize(
    ("age_s", "said"), [(0, "0 min"), (59, "0 min"), (3599, "59 min"), (7260, "2 h 1 min"), (172800, "2 days")]
)
def test_words(age_s: float, said: str) -> None:
    assert words(age_s) == said
