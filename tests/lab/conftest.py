"""The machines that lab tests run against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.lab import commands
from tests.lab.checkouts import ground, platform
from unterbau.lab.layout import Lab, lab_from


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs no machine of the usual lab can run beside it: `tests.run` does. The whole site comes last."""
    for item in items:
        if {"spare_command", "spare"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.beside)
    items.sort(key=lambda item: "whole_site" in getattr(item, "fixturenames", ()))


@dataclass(frozen=True)
class LabCommand:
    """The `lab` command line for one lab."""

    environment: dict[str, str] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        return lab_from(self.environment)

    @property
    def k3s_was_here(self) -> Path:
        """A file that says that tests of K3s have left a cluster, for the next one's; it goes with the machines."""
        return self.lab.state / "k3s-tests"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._line(*arguments),
            env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _line(self, *arguments: str) -> list[str]:
        """What `shell` runs is run without another Python before it: tests do so a few thousand times."""
        if arguments[0] == "shell" and arguments[2:3] == ("--",):
            return commands.shell(self.lab, arguments[1], *arguments[3:])
        return [sys.executable, "-m", "unterbau.lab", *arguments]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=commands.LIMIT_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, *arguments: str) -> str:
        result = self(*arguments)
        assert result.returncode == 0, f"lab {' '.join(arguments)}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.must("status", "--json"))["machines"]}


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The usual lab, up, with the machines that its pools declare; it stays up."""
    command = LabCommand(dict(os.environ))
    command.must("cloud", "up")
    made = commands.unterbau("apply", "lab", "-y", "--limit", "secrets", "--limit", "cloud", cwd=commands.ROOT)
    assert made.returncode == 0, made.stdout + made.stderr
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
    spare_command.environment.pop("UNTERBAU_LAB_PACKAGES", None)
    if spare_command.k3s_was_here.exists():
        spare_command.must("down")
    spare_command.must("fault", "undo")
    spare_command.must("up")
    return spare_command


@pytest.fixture(scope="session")
def converged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The usual lab as `inventories/lab.py` declares it, but for K3s; whoever breaks something heals it again."""
    assert lab.cloud.exists()
    commands.checkouts[:] = [platform(tmp_path_factory.mktemp("platform"))]
    commands.converge()


@pytest.fixture(scope="module")
def whole_site(converged: None) -> Iterator[None]:
    """The usual lab, all of it. Tests of it come last: its K3s goes on running."""
    commands.checkouts.append(commands.ROOT)
    commands.converge()
    yield
    commands.checkouts.pop()


@pytest.fixture(scope="module")
def on_the_ground(converged: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of this module declare the ground of the usual lab: nothing else is read, and nothing else is changed."""
    commands.checkouts.append(ground(tmp_path_factory.mktemp("ground")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))  # what is read ahead is another thing
        yield
    commands.checkouts.pop()
    commands.converge()  # and the rest of the platform is as it was


@pytest.fixture
def whole_platform(on_the_ground: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runs of one test declare the whole platform nevertheless, but for K3s."""
    commands.checkouts.append(commands.checkouts[0])
    monkeypatch.delenv("XDG_CACHE_HOME")
    yield
    commands.checkouts.pop()
