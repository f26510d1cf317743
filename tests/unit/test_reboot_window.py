from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unterbau.domain.reboot_window import slots

NODES = ["srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"]


def test_each_node_has_its_own_time() -> None:
    assert slots("02:00", 120, 20, NODES) == {
        "srv-1": "02:00", "srv-2": "02:20", "srv-3": "02:40", "wrk-1": "03:00", "wrk-2": "03:20",
    }  # fmt: skip


def test_a_window_may_pass_midnight() -> None:
    assert slots("23:45", 30, 15, ["a", "b"]) == {"a": "23:45", "b": "00:00"}


def test_a_full_window_fits_exactly() -> None:
    assert slots("00:00", 100, 20, NODES)["wrk-2"] == "01:20"


def test_a_node_added_at_the_end_moves_no_other() -> None:
    before, after = slots("02:00", 120, 20, NODES), slots("02:00", 120, 20, [*NODES, "wrk-3"])
    assert {name: after[name] for name in NODES} == before


def test_too_small_a_window_shows_the_arithmetic() -> None:
    with pytest.raises(ValueError) as caught:
        slots("02:00", 60, 20, NODES)
    assert str(caught.value) == (
        "5 nodes x 20 min = 100 min, but the window has 60 min; widen it to 100 min or shorten the slots to 12 min"
    )


@pytest.mark.parametrize("start", ["24:00", "2:00", "02:60", "", "02:00\n", "ab:cd"])
def test_a_time_that_is_none(start: str) -> None:
    with pytest.raises(ValueError, match="cannot read the time"):
        slots(start, 60, 20, ["a"])


@pytest.mark.parametrize(("window", "slot"), [(0, 20), (1440, 20), (60, 0), (60, -5)])
def test_lengths_that_are_none(window: int, slot: int) -> None:
    with pytest.raises(ValueError, match=r"cannot cut a window of \S+ min into slots of \S+ min"):
        slots("02:00", window, slot, [])


def test_a_name_twice_would_lose_a_slot() -> None:
    with pytest.raises(ValueError, match="b named more than once"):
        slots("02:00", 120, 20, ["a", "b", "b"])


@settings(deadline=None)
@given(
    start=st.integers(0, 1439), count=st.integers(0, 40), slot=st.integers(1, 60), spare=st.integers(0, 60)
)  # fmt: skip
def test_slots_never_overlap_and_stay_in_the_window(start: int, count: int, slot: int, spare: int) -> None:
    window = count * slot + spare
    if not 1 <= window < 1440:
        return
    times = slots(f"{start // 60:02}:{start % 60:02}", window, slot, [f"n{index}" for index in range(count)])
    after_start = sorted((int(t[:2]) * 60 + int(t[3:]) - start) % 1440 for t in times.values())
    assert len(after_start) == count
    assert all(later - earlier >= slot for earlier, later in pairwise(after_start))
    assert all(minute + slot <= window for minute in after_start)
