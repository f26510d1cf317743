"""Nodes outside of a run: files come and go without a copy that others could read, and one run has them at a time."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from unterbau.etcd import connection
from unterbau.etcd.connection import Remote
from unterbau.etcd.restore import RestoreError
from unterbau.plan.session import SessionError

CONTENT = os.urandom(100_001)


class Host:
    """A node of pyinfra that has a shell here, and no file transfer."""

    def __init__(self) -> None:
        self.data = SimpleNamespace(node=SimpleNamespace(name="srv-1"), get=lambda _name: True)
        self.commands: list[str] = []

    def run_shell_command(self, command: Any, *, _stdin: str | None, _sudo: bool, **_: Any) -> Any:
        assert _sudo
        self.commands.append(command.get_raw_value())
        done = subprocess.run(
            ["sh", "-c", self.commands[-1]], input=_stdin or "", capture_output=True, text=True, check=False
        )
        lines = done.stdout.splitlines()
        return done.returncode == 0, SimpleNamespace(stdout_lines=lines, output_lines=done.stderr.splitlines())


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setattr(connection, "BLOCK_BYTES", 30_000)
    return Remote(cast("Any", SimpleNamespace(on=lambda _host: nullcontext())), cast("Any", Host()))


def test_a_file_goes_there_and_comes_back_whole(remote: Remote, tmp_path: Path) -> None:
    source, there, back = tmp_path / "it", tmp_path / "a folder; x/it's there", tmp_path / "back"
    source.write_bytes(CONTENT)
    back.touch(0o600)
    remote.send(source, str(there))
    assert there.stat().st_mode & 0o777 == 0o600
    remote.fetch(str(there), back)
    assert back.read_bytes() == there.read_bytes() == CONTENT
    assert sorted(one.name for one in there.parent.iterdir()) == ["it's there"]
    assert not any("/tmp/pyinfra" in command for command in cast("Any", remote)._host.commands)


def test_what_is_not_there_does_not_come(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(RestoreError, match="cannot go on on srv-1"):
        remote.fetch(str(tmp_path / "gone"), tmp_path / "back")


class Session:
    """Two nodes of three are connected."""

    def __init__(self, held_by_another: str) -> None:
        self.problems: dict[str, list[str]] = defaultdict(list, {"srv-3": ["it cannot be reached"]})
        self.environment = SimpleNamespace(name="lab")
        self.held: list[str] = []
        self.ready = [self._host(name, held_by_another) for name in ("srv-1", "srv-2")]

    def _host(self, name: str, held_by_another: str) -> Any:
        def lock(_holder: str) -> None:
            if name == held_by_another:
                self.problems[name].append("another run holds it")
            else:
                self.held.append(name)

        return SimpleNamespace(name=name, connector=SimpleNamespace(lock=lock))

    def each(self, action: Any, hosts: Any) -> None:
        for host in hosts:
            action(host)


def test_all_that_can_be_reached_are_held() -> None:
    session = Session("")
    connection._hold(cast("Any", session))
    assert session.held == ["srv-1", "srv-2"]


@pytest.mark.parametrize("name", ["srv-1", "srv-2"])
def test_a_node_that_another_run_holds_ends_it(name: str) -> None:
    with pytest.raises(SessionError, match=f"{name}: another run holds it; wait for that run"):
        connection._hold(cast("Any", Session(name)))
