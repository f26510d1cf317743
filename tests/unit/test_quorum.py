"""Whether a member of a replicated service may be restarted, removed or added."""

from __future__ import annotations

from itertools import product

import pytest

from unterbau.domain.quorum import add, needed, remove, restart


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


@pytest.mark.parametrize(
    ("healthy", "passed", "said"),
    [
        ((True, True, True), True, "removing srv-1 leaves 2 healthy of 2 voters, quorum of 2 needs 2"),
        (
            (True, True, False),
            False,
            "removing srv-1 leaves 1 healthy of 2 voters, quorum of 2 needs 2; bring srv-3 back, or remove srv-3 first"
            " if it is gone for good",
        ),
        ((False, True, True), True, "removing srv-1 leaves 2 healthy of 2 voters, quorum of 2 needs 2"),
        ((True, False, False), False, "1 of 3 voters healthy, quorum needs 2, so nobody can be removed; bring srv-2, "),
        ((False, False, True), False, "1 of 3 voters healthy, quorum needs 2, so nobody can be removed"),
        ((True, True), True, "removing srv-1 leaves 1 healthy of 1 voter, quorum of 1 needs 1"),
        ((False, True), False, "1 of 2 voters healthy, quorum needs 2, so nobody can be removed; bring srv-1 back"),
        ((True,), False, "srv-1 is the only voter: without it there are no data; add a server first"),
        ((False, False, True, True, True), True, "removing srv-1 leaves 3 healthy of 4 voters, quorum of 4 needs 3"),
        ((True, False, False, True, True), False, "removing srv-1 leaves 2 healthy of 4 voters, quorum of 4 needs 3"),
    ],
)  # fmt: skip
def test_a_removal(healthy: tuple[bool, ...], passed: bool, said: str) -> None:
    verdict = remove(members(*healthy), "srv-1")
    assert verdict.passed is passed
    assert verdict.arithmetic.startswith(said)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
def test_no_removal_that_passes_ever_leaves_less_than_a_majority_and_no_useful_one_is_refused(size: int) -> None:
    for healthy in product((True, False), repeat=size):
        found = members(*healthy)
        for name in found:
            after = {member: works for member, works in found.items() if member != name}
            agreed = sum(healthy) >= needed(size)
            works_after = bool(after) and sum(after.values()) >= needed(len(after))
            assert remove(found, name).passed is (agreed and works_after)


def test_a_dead_voter_can_always_be_removed_while_there_is_a_quorum() -> None:
    for healthy in product((True, False), repeat=5):
        found = members(*healthy)
        dead = [name for name, works in found.items() if not works]
        if sum(healthy) >= needed(5):
            assert all(remove(found, name).passed for name in dead)


@pytest.mark.parametrize(
    ("healthy", "passed", "said"),
    [
        ((), True, "srv-9 is the first voter"),
        ((True,), True, "adding srv-9 makes 2 voters, quorum needs 2, 1 are healthy before it"),
        ((True, True, True), True, "adding srv-9 makes 4 voters, quorum needs 3, 3 are healthy before it"),
        ((True, True, False), False, "adding srv-9 makes 4 voters, quorum needs 3, 2 are healthy before it; bring "),
        ((True, False, False), False, "1 of 3 voters healthy, quorum needs 2, so nobody can be added"),
        ((True, True, True, True, False), True, "adding srv-9 makes 6 voters, quorum needs 4, 4 are healthy before it"),
    ],
)  # fmt: skip
def test_an_addition(healthy: tuple[bool, ...], passed: bool, said: str) -> None:
    verdict = add(members(*healthy), "srv-9")
    assert verdict.passed is passed
    assert verdict.arithmetic.startswith(said)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_an_addition_that_fails_never_costs_the_quorum_unless_all_were_healthy(size: int) -> None:
    for healthy in product((True, False), repeat=size):
        if add(members(*healthy), "srv-9").passed and not all(healthy):
            assert sum(healthy) >= needed(size + 1)
