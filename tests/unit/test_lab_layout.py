"""Names, addresses and paths of a lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from unterbau.lab.errors import LabError
from unterbau.lab.layout import lab_from


def test_the_usual_lab() -> None:
    lab = lab_from({})
    assert {one.name: str(one.address) for one in lab.machines} == {
        "srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13",
        "wrk-1": "10.77.0.21", "wrk-2": "10.77.0.22",
    }  # fmt: skip
    assert (str(lab.gateway), lab.bridge) == ("10.77.0.1", "ub-lab0")
    assert str(lab.key) == "/var/lib/unterbau/lab/ssh/id_ed25519"
    assert str(lab.known_hosts) == "/var/lib/unterbau/lab/ssh/known_hosts"


def test_a_second_lab_shares_no_name_and_no_place() -> None:
    first, second = lab_from({}), lab_from({"UNTERBAU_LAB_NAME": "five5", "UNTERBAU_LAB_SUBNET": "10.78.1.0/24"})
    for name in ("name", "subnet", "state", "bridge", "table", "group", "lock", "key"):
        assert getattr(first, name) != getattr(second, name)
    assert not {one.name for one in first.machines} & {one.name for one in second.machines}
    assert all(len(one.port) <= 15 for one in second.machines)  # the kernel's limit for interface names
    assert len(second.bridge) <= 15


def test_directories_can_be_put_elsewhere() -> None:
    lab = lab_from({"UNTERBAU_LAB_DIR": "/a", "UNTERBAU_CACHE_DIR": "/b"})
    assert str(lab.machines[0].upper) == "/a/unterbau-lab/machines/srv-1/upper"
    assert str(lab.lock) == "/b/lab.lock"


def test_two_labs_in_one_directory_have_a_folder_each_and_the_directory_is_neithers() -> None:
    second = {"UNTERBAU_LAB_NAME": "b", "UNTERBAU_LAB_SUBNET": "10.78.1.0/24"}
    folders = {lab_from({"UNTERBAU_LAB_DIR": "/srv", **which}).state for which in ({}, second)}
    assert folders == {Path("/srv/unterbau-lab"), Path("/srv/unterbau-b")}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"UNTERBAU_LAB_NAME": "toolong"}, "toolong"),
        ({"UNTERBAU_LAB_NAME": "x; reboot"}, "x; reboot"),
        ({"UNTERBAU_LAB_NAME": "b"}, "set UNTERBAU_LAB_SUBNET"),
        ({"UNTERBAU_LAB_NAME": "b", "UNTERBAU_LAB_SUBNET": "10.77.0.0/24"}, "the usual lab lives there"),
        ({"UNTERBAU_LAB_SUBNET": "10.0.0.0/16"}, "not a private /24"),
        ({"UNTERBAU_LAB_SUBNET": "8.8.8.0/24"}, "not a private /24"),
        ({"UNTERBAU_LAB_SUBNET": "10.77.0.1/24"}, "has host bits set"),
        ({"UNTERBAU_LAB_SUBNET": "somewhere"}, "somewhere"),
        ({"UNTERBAU_LAB_DIR": "here"}, "UNTERBAU_LAB_DIR 'here'"),
        ({"UNTERBAU_LAB_DIR": ""}, "use an absolute path"),
        ({"UNTERBAU_CACHE_DIR": "../cache"}, "UNTERBAU_CACHE_DIR '../cache'"),
    ],
)
def test_a_lab_that_cannot_be_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(LabError, match="cannot") as refused:
        lab_from(environment)
    assert said in str(refused.value)


def test_an_unknown_machine_names_the_known() -> None:
    with pytest.raises(LabError, match="srv-1, srv-2, srv-3, wrk-1, wrk-2"):
        lab_from({}).machine("srv-4")
