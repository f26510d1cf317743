"""What the lab looks at may end while it looks: a process, a control group, a fault. None of these is an error."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unterbau.lab import cgroup, faults, machine
from unterbau.lab.cgroup import Group
from unterbau.lab.layout import lab_from


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """A group with one that is left, and one that is removed after its files were opened: then Linux says ENODEV."""
    monkeypatch.setattr(cgroup, "_unified", lambda: tmp_path)
    for name, pid in (("", 10), ("left", 11), ("removed", 12)):
        (tmp_path / "ub-x" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "ub-x" / name / "cgroup.procs").write_text(f"{pid}\n")
        (tmp_path / "ub-x" / name / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    whole = Path.read_text

    def read_text(path: Path, *arguments: str) -> str:
        if path.parent.name == "removed":
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return whole(path, *arguments)

    monkeypatch.setattr(Path, "read_text", read_text)
    return Group("ub-x")


def test_a_group_that_is_removed_while_it_is_read_has_no_processes(group: Group) -> None:
    assert sorted(group.processes()) == [10, 11]


def test_a_group_that_is_removed_while_it_is_asked_is_neither_populated_nor_frozen(group: Group) -> None:
    assert (group.populated(), group.frozen()) == (True, True)
    for name in ("removed", "never-there"):
        gone = Group(f"ub-x/{name}")
        assert (gone.populated(), gone.frozen()) == (False, False)


def test_a_fault_that_is_taken_back_while_they_are_listed_is_not_on(tmp_path: Path) -> None:
    lab = lab_from({"UNTERBAU_LAB_DIR": str(tmp_path)})
    lab.state.mkdir()
    faults._write(lab, lab.machine("srv-1"), "cut", {"direction": "in"})
    (lab.state / "faults" / "srv-2.cut.json").symlink_to("taken-back")  # it is listed, and not there
    assert [(fault.node, fault.kind) for fault in faults.active(lab)] == [("srv-1", "cut")]


@contextmanager
def sleeping(called: bytes, program: Path) -> Iterator[int]:
    """The id of a process with this first word and program."""
    process = subprocess.Popen([called, b"1000"], executable=program)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_process_that_has_ended_has_no_program() -> None:
    with sleeping(b"sleep", Path("/bin/sleep")) as pid:
        assert machine.program(pid) == "sleep"
    assert machine.program(pid) == ""


def test_a_name_that_is_no_text_hides_no_process(tmp_path: Path) -> None:
    """Linux cuts a name after 15 bytes, in the middle of a letter if need be; the first word is anything."""
    program = tmp_path / ("ü" * 8)
    shutil.copy("/bin/sleep", program)
    with sleeping(b"\xff", program) as pid:
        assert machine._status(pid)["Pid"] == str(pid)
        assert machine.program(pid) == "\ufffd"
