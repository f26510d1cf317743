"""Which limits of the host a lab raises."""

from __future__ import annotations

from unterbau.lab.host_limits import WANTED, too_low


def test_only_what_is_too_low_is_raised() -> None:
    assert too_low(dict(WANTED)) == {}
    low = dict.fromkeys(WANTED, 128)
    assert too_low(low) == low
    assert too_low(dict.fromkeys(WANTED, 10**9)) == {}
