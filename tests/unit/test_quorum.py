"""Whether a member of a replicated service may be restarted."""

from __future__ import annotations

from itertools import product

import pytest

from unterbau.domain.quorum import needed, restart


def test_a_majority() -> None:
    assert [needed(members) for members in (1, 2, 3, 4, 5, 7)] == [1, 2, 2, 3, 3, 4]


def members(*serving: bool) -> dict[str, bool]:
    return {f"srv-{number}": serves for number, serves in enumerate(serving, start=1)}


@pytest.mark.parametrize(
    ("serving", "passed", "said"),
    [
        ((True, True, True), True, "restarting srv-1 leaves 2 of 3 members, quorum needs 2"),
        ((True, True, False), False, "restarting srv-1 leaves 1 of 3 members, quorum needs 2; srv-3 must serve first"),
        ((True, False, False), True, "1 of 3 members serve, quorum needs 2: there is none to lose"),
        ((False, True, True), True, "srv-1 does not serve: 2 of 3 members do with or without it"),
        ((False, True, False), True, "srv-1 does not serve: 1 of 3 members do with or without it"),
        ((True,), True, "srv-1 is the only member: requests wait until it is back"),
        ((True, True), False, "restarting srv-1 leaves 1 of 2 members, quorum needs 2"),
        ((True, True, True, False, True), True, "restarting srv-1 leaves 3 of 5 members, quorum needs 3"),
        (
            (True, True, True, False, False),
            False,
            "restarting srv-1 leaves 2 of 5 members, quorum needs 3; srv-4, srv-5",
        ),
    ],
)
def test_a_restart(serving: tuple[bool, ...], passed: bool, said: str) -> None:
    verdict = restart(members(*serving), "srv-1")
    assert verdict.passed is passed
    assert verdict.arithmetic.startswith(said)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_no_restart_that_passes_ever_breaks_a_majority(size: int) -> None:
    for serving in product((True, False), repeat=size):
        found = members(*serving)
        for name in found:
            after = sum(serves for member, serves in found.items() if member != name)
            if sum(serving) >= needed(size) and restart(found, name).passed:
                assert after >= needed(size)


def test_two_members_have_no_spare_one_and_the_sentence_names_no_member_to_repair() -> None:
    assert "must serve" not in restart(members(True, True), "srv-1").arithmetic
