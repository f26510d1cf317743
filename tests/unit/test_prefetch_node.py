"""The connector: when it reads ahead, when it does not, and that a fact cannot tell the difference."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import StringCommand
from pyinfra.api.state import StateStage
from pyinfra.connectors.util import OutputLine

from tests.unit.test_prefetch import Channel, answered, frame
from unterbau.connectors.node import NodeConnector
from unterbau.connectors.prefetch_memory import memory_of
from unterbau.connectors.prefetch_on_node import HELLO

NODE = ("srv-1", "192.0.2.1", "22", "root")
FACT = dict.fromkeys(CONNECTOR_ARGUMENT_KEYS) | {"_shell_executable": "sh"}
REMEMBERED = ("sh -c first", "sh -c second")


class Node:
    """A connected node: `link` is the channel of what is read ahead, `alone` what was run by itself."""

    def __init__(self, folder: Path, link: Channel, **data: Any) -> None:
        (folder / "key").write_text("private key")
        self.alone: list[str] = []
        self.active, self.channels = True, [link]
        self.state: Any = SimpleNamespace(
            config=SimpleNamespace(CONNECT_TIMEOUT=10), current_stage=StateStage.Prepare, cwd=str(folder),
            current_deploy_filename="deploys/site.py", failed_hosts=[],
        )  # fmt: skip
        data = {"ssh_hostname": NODE[1], "ssh_port": 22, "ssh_user": "root", "ssh_key": "key", **data}
        self.host: Any = SimpleNamespace(name="srv-1", data=data, connector_data={}, print_prefix="")
        self.connector = NodeConnector(self.state, self.host)
        client: Any = SimpleNamespace(exec_command=self._exec, get_transport=lambda: self, close=lambda: None)
        self.connector.client = client
        self.connector._listen_to_commands()

    def read(self, command: str, **differently: Any) -> tuple[bool, list[OutputLine]]:
        done, output = self.connector.run_shell_command(StringCommand(command), **{**FACT, **differently})
        return done, output.combined_lines

    def is_active(self) -> bool:
        return self.active

    def open_session(self, timeout: float) -> Channel:
        return self.channels.pop()

    def close(self) -> None:
        self.active = False

    def _exec(self, command: str, get_pty: bool = False) -> tuple[Any, Any, Any]:
        self.alone.append(command)
        channel = SimpleNamespace(
            makefile=lambda _mode: [b"alone\n"], makefile_stderr=lambda _mode: [], recv_exit_status=lambda: 0
        )
        end = SimpleNamespace(channel=channel, close=lambda: None, write=lambda _text: None)
        return end, end, end


ALONE = (True, [OutputLine("stdout", "alone")])
AHEAD = HELLO + answered(0, b"ahead \xff\n\n", b"oh\n", 1) + answered(1, b"ahead\n")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def remembered(folder: Path) -> tuple[str, ...]:
    memory = memory_of(NODE, "key", str(folder))
    assert memory is not None
    return memory.read()


def remember(folder: Path, *commands: str) -> None:
    (folder / "key").write_text("private key")
    memory = memory_of(NODE, "key", str(folder))
    assert memory is not None
    memory.write(commands)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    remember(tmp_path, *REMEMBERED)
    return Node(tmp_path, Channel(AHEAD))


def test_what_was_asked_last_time_is_answered_without_being_run_again(node: Node) -> None:
    out = [OutputLine("stdout", "ahead \\xff"), OutputLine("stdout", ""), OutputLine("stderr", "oh")]
    done, lines = node.read("first")
    assert (done, sorted(lines, key=str)) == (False, sorted(out, key=str))
    assert node.read("first") == ALONE  # once
    assert node.read("second") == (True, [OutputLine("stdout", "ahead")])
    assert node.alone == ["sh -c first"]


def test_the_same_command_run_in_another_way_is_another_command(node: Node) -> None:
    assert node.read("second", _sudo=True) == ALONE
    assert node.read("second", _shell_executable="bash") == ALONE
    assert node.read("second", _chdir="/etc") == ALONE
    assert node.read("second", _success_exit_codes=[1])[0] is False  # the answer that was read ahead, judged anew
    assert node.alone == ["sudo -H -n sh -c second", "bash -c second", "sh -c 'cd /etc && second'"]


@pytest.mark.parametrize("what", ["stage", "call", "put", "get", "stdin"])
def test_after_whatever_may_change_the_node_nothing_that_was_read_before_is_used(
    node: Node, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.read("first")
    for name in ("put_file", "get_file"):
        monkeypatch.setattr(f"pyinfra.connectors.ssh.SSHConnector.{name}", lambda *_a, **_k: True)
    match what:
        case "stage":
            node.state.current_stage = StateStage.Execute
        case "call":
            node.connector.run_shell_command(StringCommand("touch /x"))
        case "put":
            node.connector.put_file("a", "b")
        case "get":
            node.connector.get_file("a", "b")
        case "stdin":
            node.read("cat", _stdin="x")
    assert node.read("second") == ALONE


@pytest.mark.parametrize("reply", [b"", b"python3: not found\n", HELLO, HELLO + frame("s", 0) + frame("o", 0, b"half")])
def test_what_could_not_be_read_ahead_is_read_alone(tmp_path: Path, reply: bytes) -> None:
    remember(tmp_path, *REMEMBERED)
    node = Node(tmp_path, Channel(reply))
    assert [node.read("first"), node.read("second")] == [ALONE, ALONE]


def test_outside_of_a_deploy_nothing_is_read_ahead_or_remembered(node: Node, tmp_path: Path) -> None:
    node.state.current_deploy_filename = None  # pyinfra INVENTORY fact …
    assert node.read("first") == ALONE
    node.connector.disconnect()
    assert remembered(tmp_path) == REMEMBERED


def test_what_this_run_asked_is_remembered_for_the_next(node: Node, tmp_path: Path) -> None:
    for command in ("second", "third", "second"):
        node.read(command)
    node.state.current_stage = StateStage.Execute
    node.read("gate")
    node.connector.disconnect()
    assert remembered(tmp_path) == ("sh -c second", "sh -c third")


def test_a_run_that_did_not_get_through_leaves_what_was_remembered(node: Node, tmp_path: Path) -> None:
    node.read("first")
    node.state.failed_hosts.append(node.host)
    node.connector.disconnect()
    assert remembered(tmp_path) == REMEMBERED


def test_a_connection_that_is_lost_meanwhile_is_the_error_that_it_ever_was(tmp_path: Path) -> None:
    remember(tmp_path, *REMEMBERED)
    node = Node(tmp_path, Channel(HELLO))
    node.active = False
    with pytest.raises(OSError, match="the connection to srv-1 was lost"):
        node.read("first")
    assert node.alone == []


def test_a_fact_that_takes_too_long_closes_the_connection(tmp_path: Path) -> None:
    remember(tmp_path, *REMEMBERED)
    node = Node(tmp_path, Channel(HELLO, frame("s", 0), ends=False), ssh_fact_timeout_s=1)
    with pytest.raises(OSError, match="srv-1 did not answer within 1 s"):
        node.read("first")
    assert not node.active
