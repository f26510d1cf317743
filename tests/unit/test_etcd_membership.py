"""Who leaves an etcd cluster, in which order, and what each step leaves behind."""

from __future__ import annotations

from itertools import product

import pytest

from unterbau.domain.etcd_membership import Disk, Findings, Member, findings, removal, steps
from unterbau.domain.quorum import needed


def member(number: int, healthy: bool = True, learner: bool = False, mark: str = "aaaaaaaa") -> Member:
    return Member(f"{number:x}", f"srv-{number}-{mark}", f"10.77.0.1{number}", learner, healthy)


THREE = [member(1), member(2), member(3)]
ONE_DOWN = [member(1), member(2), member(3, healthy=False)]


@pytest.mark.parametrize(
    ("name", "node"),
    [("srv-1-8a7f3c21", "srv-1"), ("a-1b2c3d4e", "a-1b2c3d4e"), ("nohyphen", "nohyphen"), ("", "10.77.0.19")],
)
def test_the_node_that_a_member_is_named_after(name: str, node: str) -> None:
    assert Member("1", name, "10.77.0.19").node == node


def test_the_healthy_one_does_not_leave_while_another_is_down() -> None:
    (step,) = steps(ONE_DOWN, ["2"])
    assert not step.verdict.passed
    assert step.verdict.arithmetic == (
        "removing srv-2-aaaaaaaa leaves 1 healthy of 2 voters, quorum of 2 needs 2; "
        "bring srv-3-aaaaaaaa back, or remove srv-3-aaaaaaaa first if it is gone for good"
    )


def test_of_two_that_leave_the_dead_one_is_first_and_each_has_its_own_arithmetic() -> None:
    found = steps(ONE_DOWN, ["2", "3"])
    assert [(step.member.node, step.verdict.passed) for step in found] == [("srv-3", True), ("srv-2", True)]
    assert [step.verdict.arithmetic for step in found] == [
        "removing srv-3-aaaaaaaa leaves 2 healthy of 2 voters, quorum of 2 needs 2",
        "removing srv-2-aaaaaaaa leaves 1 healthy of 1 voter, quorum of 1 needs 1",
    ]


def test_three_become_one() -> None:
    assert [step.verdict.passed for step in steps(THREE, ["2", "3"])] == [True, True]


def test_the_last_one_stays_and_so_do_those_behind_what_is_refused() -> None:
    found = steps(THREE, ["1", "2", "3"])
    assert [step.verdict.passed for step in found] == [True, True, False]
    assert found[-1].verdict.arithmetic.endswith("is the only voter: without it there are no data; add a server first")
    five = [member(1), member(2), member(3), member(4, healthy=False), member(5, healthy=False)]
    assert [step.verdict.passed for step in steps(five, ["1", "2"])] == [False]  # srv-2 is not even judged


def test_a_learner_counts_for_nothing_but_leaves_by_agreement() -> None:
    learner = member(4, learner=True)
    assert removal([*THREE, learner], member(1)).arithmetic == (
        "removing srv-1-aaaaaaaa leaves 2 healthy of 2 voters, quorum of 2 needs 2"
    )
    assert removal([*THREE, learner], learner).passed
    lost = [member(1), member(2, healthy=False), member(3, healthy=False), learner]
    assert removal(lost, learner).arithmetic == (
        "srv-4-aaaaaaaa has no vote: 1 of 3 voters are healthy, quorum needs 2: nobody can be removed"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_whatever_leaves_there_is_a_quorum_after_every_step(size: int) -> None:
    """By brute force: every health, every set of leaving members, after each step that passed."""
    for health in product((True, False), repeat=size):
        there = [member(number, healthy) for number, healthy in enumerate(health, start=1)]
        for chosen in product((True, False), repeat=size):
            left = list(there)
            for step in steps(there, [one.id for one, goes in zip(there, chosen, strict=True) if goes]):
                if not step.verdict.passed:
                    break
                assert sum(one.healthy for one in left) >= needed(len(left))  # who agrees to it
                left.remove(step.member)
                assert sum(one.healthy for one in left) >= needed(len(left))


NODES = ["srv-1", "srv-2", "srv-3", "wrk-1"]
DISKS = {f"srv-{number}": Disk(f"srv-{number}-aaaaaaaa", password=True) for number in (1, 2, 3)}
DISKS["wrk-1"] = Disk(None, password=True)
CLEAN = Findings((), (), (), (), ())


def found(
    members: list[Member] | None = None,
    nodes: list[str] | None = None,
    removed: tuple[str, ...] = (),
    declared: list[str] | None = None,
    **disks: Disk | None,
) -> Findings:
    there = {**DISKS, **{name.replace("_", "-"): disk for name, disk in disks.items()}}
    answered = {name: disk for name, disk in there.items() if disk is not None}
    known = NODES if nodes is None else nodes
    return findings(known, known, THREE if members is None else members, declared or NODES, removed, answered)


def test_as_declared() -> None:
    assert found() == CLEAN


def test_a_new_machine_under_an_old_name() -> None:
    """The first server: its disk is empty, its member is dead. It is not taken for one that founds a cluster."""
    there = [member(1, healthy=False), member(2), member(3)]
    new = Disk(None, password=False)
    assert found(there, srv_1=new) == Findings((), (), ("srv-1",), (there[0],), ())


def test_a_new_agent_under_an_old_name() -> None:
    assert found(wrk_1=Disk(None, password=False)).replaced == ("wrk-1",)


def test_a_machine_that_does_not_answer_is_left_alone() -> None:
    assert found([member(1, healthy=False), member(2), member(3)], srv_1=None) == CLEAN


def test_a_server_whose_data_were_cleared_keeps_its_node_and_loses_its_member() -> None:
    """As after a restore on another server: the password is there, so its Node is its own."""
    there = [member(1, healthy=False), member(2), member(3)]
    assert found(there, srv_1=Disk(None, password=True)) == Findings((), (), (), (there[0],), ())


def test_two_members_of_the_same_name_only_the_one_without_a_disk_is_stale() -> None:
    old = Member("9", "srv-1-bbbbbbbb", "10.77.0.21", healthy=False)
    assert found([*THREE, old]) == Findings((), (), (), (old,), ())


def test_an_empty_disk_and_a_member_that_works_do_not_go_together() -> None:
    (said,) = found(srv_1=Disk(None, password=False)).impossible
    assert said == (
        "srv-1 has no data of the etcd member srv-1-aaaaaaaa, and yet that member is healthy; "
        "see which machine has the address 10.77.0.11"
    )


def test_who_is_not_declared_leaves_only_if_it_is_named() -> None:
    declared = ["srv-1", "srv-3", "wrk-1"]
    assert found(declared=declared).undeclared == ("srv-2",)
    assert found(declared=declared, removed=("srv-2",)).leaving == ("srv-2",)
    assert found(declared=declared, removed=("srv-2",)).undeclared == ()


def test_a_stale_member_without_a_node_is_somebody_too() -> None:
    old = Member("9", "srv-9-bbbbbbbb", "10.77.0.19", healthy=False)
    assert found([*THREE, old]).undeclared == ("srv-9",)
    assert found([*THREE, old], removed=("srv-9",)).leaving == ("srv-9",)


def test_somebody_on_the_way_in_is_left_to_k3s() -> None:
    assert found([*THREE, Member("9", "", "10.77.0.19", learner=True)]) == CLEAN


def test_a_password_that_is_left_over_is_removed_only_of_a_node_that_was_named() -> None:
    clean = findings(NODES, [*NODES, "old-1"], THREE, NODES, (), DISKS)
    assert clean == CLEAN
    assert findings(NODES, [*NODES, "old-1"], THREE, NODES, ("old-1",), DISKS).leaving == ("old-1",)
