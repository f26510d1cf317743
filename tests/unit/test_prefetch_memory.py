"""What is remembered of a node: nothing but what this user's own run wrote is ever read back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unterbau.connectors import prefetch_memory
from unterbau.connectors.prefetch_memory import COMMAND_LIMIT_BYTES, MOST_COMMANDS, Memory, folder, memory_of

COMMANDS = ("sh -c 'cat /etc/hosts'", "sh -c 'printf \"ü\\n\"'")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(("srv-1", "10.0.0.1", "22", "root"), b"private key", tmp_path / "cache" / "prefetch")


@pytest.fixture
def written(memory: Memory) -> Memory:
    memory.write(COMMANDS)
    assert memory.read() == COMMANDS
    return memory


def test_it_is_for_this_user_only(written: Memory) -> None:
    assert (written.path.stat().st_mode & 0o777, written.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [path.name for path in written.folder.iterdir()] == [written.path.name]


def test_nothing_is_remembered_before_the_first_run(memory: Memory) -> None:
    assert memory.read() == ()


def test_any_changed_byte_makes_it_worthless(written: Memory) -> None:
    whole = written.path.read_bytes()
    for place in range(len(whole)):
        written.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert written.read() == ()
    for place in range(len(whole)):
        written.path.write_bytes(whole[:place])
        assert written.read() == ()


def test_who_has_another_key_can_write_nothing_that_is_run(written: Memory) -> None:
    forged = Memory(written.node, b"another key", written.folder)
    forged.write(["sh -c reboot"])
    assert (written.read(), forged.read()) == ((), ("sh -c reboot",))


def test_the_file_of_another_node_is_not_read(written: Memory) -> None:
    other = Memory(("srv-2", "10.0.0.2", "22", "root"), written.key, written.folder)
    other.path.write_bytes(written.path.read_bytes())
    other.path.chmod(0o600)
    assert other.read() == ()


def test_another_format_is_not_read(written: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch_memory, "FORMAT", 2)
    assert written.read() == ()


@pytest.mark.parametrize("mode", [0o640, 0o602])
def test_a_file_that_others_may_open_is_not_read(written: Memory, mode: int) -> None:
    written.path.chmod(mode)
    assert written.read() == ()


def test_neither_a_link_nor_a_pipe_nor_a_folder_is_read(written: Memory) -> None:
    elsewhere = written.folder / "elsewhere"
    written.path.rename(elsewhere)
    written.path.symlink_to(elsewhere)
    assert written.read() == ()
    written.path.unlink()
    os.mkfifo(written.path, 0o600)
    assert written.read() == ()  # and does not wait for a writer
    written.path.unlink()
    written.path.mkdir()
    assert written.read() == ()


def test_it_is_bounded(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write([f"sh -c {number}" for number in range(2 * MOST_COMMANDS)])
    assert len(memory.read()) == MOST_COMMANDS
    memory.write(["x" * (COMMAND_LIMIT_BYTES + 1), "a\0b", *COMMANDS])
    assert memory.read() == COMMANDS
    memory.write([str(number) + "x" * (COMMAND_LIMIT_BYTES - 10) for number in range(50)])  # more than a file may hold
    assert memory.read() == COMMANDS
    monkeypatch.setattr(prefetch_memory, "MOST_FILES", 3)
    for number in range(5):
        Memory((f"srv-{number}",), memory.key, memory.folder).write(COMMANDS)
    assert len(list(memory.folder.iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_no_error(memory: Memory) -> None:
    memory.folder.parent.write_text("a file")
    memory.write(COMMANDS)
    assert memory.read() == ()


def test_no_name_of_a_node_leads_out_of_the_folder(tmp_path: Path) -> None:
    hostile = Memory(("../../etc/x; reboot", "\n"), b"k", tmp_path)
    hostile.write(COMMANDS)
    assert hostile.path.parent == tmp_path
    assert hostile.read() == COMMANDS


def test_without_a_key_file_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("private key")
    assert memory_of(("srv-1",), None, None) is None
    assert memory_of(("srv-1",), "missing", str(tmp_path)) is None
    found = memory_of(("srv-1",), "key", str(tmp_path))
    assert found is not None
    assert found.key == b"private key"


def test_the_file_says_nothing_beyond_commands_and_node(written: Memory) -> None:
    seal, body = written.path.read_bytes().split(b"\n")
    assert json.loads(body) == {"format": 1, "node": list(written.node), "commands": list(COMMANDS)}
    assert len(seal) == 64


def test_it_is_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/cache")
    assert folder() == Path("/srv/cache/unterbau/prefetch")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path.home() / ".cache" / "unterbau" / "prefetch"
