"""Schedules: what comes round, and what is wrong with one that does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain import cron

GOOD = (
    "0 */6 * * *", "30 2 * * 1-5", "*/15 8-18/2 1,15 jan-mar mon", "59 23 31 12 6", "0 0 29 2 *", "5/10 * ? * SUN",
    "0 0 31 4 1",  # a Monday comes, whatever the day
)  # fmt: skip
BAD = {
    "": "0 fields, not the five minute, hour, day, month and weekday with blanks between",
    "@daily": "1 field, not the five minute, hour, day, month and weekday with blanks between",
    "0 0 * *": "4 fields, not the five minute, hour, day, month and weekday with blanks between",
    "0 0 * * * *": "6 fields, not the five minute, hour, day, month and weekday with blanks between",
    "0  0 * * *": "5 fields, not the five minute, hour, day, month and weekday with blanks between",
    "60 * * * *": "the minute '60' is none of 0 to 59",
    "0 24 * * *": "the hour '24' is none of 0 to 23",
    "0 0 0 * *": "the day of month '0' is none of 1 to 31",
    "0 0 1 13 *": "the month '13' is none of 1 to 12",
    "0 0 * * 7": "the day of week '7' is none of 0 to 6",
    "0 0 * * fun": "the day of week 'fun' is none of 0 to 6",
    "*/0 * * * *": "the step '0' of the minute is no number from 1",
    "*/x * * * *": "the step 'x' of the minute is no number from 1",
    "1,,2 * * * *": "the minute '' is none of 0 to 59",
    "5- * * * *": "the minute '' is none of 0 to 59",
    "30-10 * * * *": "the minute '30-10' goes from high to low",
    "0 0 30 2 *": "day 30 is in none of its months",
    "0 0 31 4,6,9 *": "day 31 is in none of its months",
    "0 0 * * *; reboot": "6 fields, not the five minute, hour, day, month and weekday with blanks between",
    "\u0661 * * * *": "the minute '\u0661' is none of 0 to 59",
}


@pytest.mark.parametrize("schedule", GOOD)
def test_good(schedule: str) -> None:
    assert cron.problem(schedule) == ""


@pytest.mark.parametrize(("schedule", "said"), BAD.items(), ids=BAD)
def test_bad(schedule: str, said: str) -> None:
    assert cron.problem(schedule) == said


@pytest.mark.parametrize(
    ("part", "name", "numbers"),
    [
        ("*/20", "minute", {0, 20, 40}),
        ("50/5", "minute", {50, 55}),
        ("1-6/2,23", "hour", {1, 3, 5, 23}),
        ("jan,DEC", "month", {1, 12}),
        ("sat", "day of week", {6}),
        ("?", "day of week", set(range(7))),
    ],
)
def test_what_a_field_stands_for(part: str, name: str, numbers: set[int]) -> None:
    assert cron.values(part, name) == numbers


def test_a_part_of_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="the hour '24' is none of 0 to 23"):
        cron.values("24", "hour")


@given(st.text(max_size=40) | st.text("0123456789*/,-? jan", max_size=30))
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(cron.problem(text), str)


@given(st.integers(0, 59), st.integers(0, 59), st.integers(1, 70))
def test_a_range_with_a_step_is_what_counting_gives(first: int, last: int, step: int) -> None:
    counted = {number for number in range(60) if first <= number <= last and (number - first) % step == 0}
    if counted:
        assert cron.values(f"{first}-{last}/{step}", "minute") == counted
    else:
        assert (
            cron.problem(f"{first}-{last}/{step} * * * *")
            == f"the minute '{first}-{last}/{step}' goes from high to low"
        )
