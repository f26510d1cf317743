"""The machines that lab tests run against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from filelock import FileLock

from tests.lab.commands import converge
from unterbau.lab.layout import Lab, lab_from


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no machine of the usual lab can run beside it: `tests.run` does."""
    for item in items:
        if {"spare_command", "spare"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.beside)


@dataclass(frozen=True)
class LabCommand:
    """The `lab` command line for one lab."""

    environment: dict[str, str] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        return lab_from(self.environment)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "unterbau.lab", *arguments],
            env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, *arguments: str) -> str:
        result = self(*arguments)
        assert result.returncode == 0, f"lab {' '.join(arguments)}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.must("status", "--json"))["machines"]}


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The usual lab, up; it stays up."""
    command = LabCommand(dict(os.environ))
    command.must("up")
    return command.lab


@pytest.fixture(scope="session")
def spare_command() -> Iterator[LabCommand]:
    """A lab beside the usual one, for tests that take a lab down or break it; gone after the tests."""
    command = LabCommand({"UNTERBAU_LAB_NAME": "spare", "UNTERBAU_LAB_SUBNET": "10.78.250.0/24"})
    command.lab.cache.mkdir(parents=True, exist_ok=True)
    with FileLock(command.lab.cache / "spare-tests.lock"):  # a second run of the tests on this machine waits
        command.must("down")
        yield command
        command.must("down")


@pytest.fixture
def spare(spare_command: LabCommand) -> LabCommand:
    """The lab beside the usual one, up and without faults."""
    spare_command.must("fault", "undo")
    spare_command.must("up")
    return spare_command


@pytest.fixture(scope="session")
def converged(lab: Lab) -> None:
    """The usual lab as `inventories/lab.py` declares it; whoever breaks something heals it again."""
    assert lab.machines
    converge()
