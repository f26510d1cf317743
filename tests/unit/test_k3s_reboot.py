"""Who needs a reboot, and how a machine is waited for that takes its connection and our lock with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import ConnectError

from facts.reboot import BOOT_ID, BootState
from operations import k3s_drain, k3s_reboot
from operations.k3s_config import Cluster, Node
from operations.k3s_hardening import kubelet_config
from operations.k3s_reboot import REBOOT, UPGRADE_S, Beside, reason, reboot
from unterbau.connectors.node import NodeConnector
from unterbau.domain.reboot_need import newer_kernel, version_and_flavour

BOOTED_S, BEFORE_S, AFTER_S = 1000.0, 900.0, 1100.0
OLD, NEW = "00000000-old", "11111111-new"


@pytest.mark.parametrize(
    ("kernel", "version", "flavour"),
    [
        ("6.1.0-28-amd64", (6, 1, 0, 28), "amd64"),
        ("6.1.0-28-cloud-amd64", (6, 1, 0, 28), "cloud-amd64"),
        ("6.12.48+deb13-amd64", (6, 12, 48, 13), "amd64"),
        ("6.1.0-0.deb11.21-arm64", (6, 1, 0, 0, 11, 21), "arm64"),
        ("6.8.0-51-generic", (6, 8, 0, 51), "generic"),
        ("6.12.1", (6, 12, 1), ""),
        ("", (), ""),
    ],
)
def test_a_kernels_release_is_numbers_and_a_flavour(kernel: str, version: tuple[int, ...], flavour: str) -> None:
    assert version_and_flavour(kernel) == (version, flavour)


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ({}, None),  # somebody else's kernel: a container, a cloud's own
        ({"6.1.0-9-amd64": AFTER_S}, None),
        ({"6.1.0-28-amd64": AFTER_S}, None),  # installed again
        ({"6.1.0-30-amd64": AFTER_S}, "6.1.0-30-amd64"),
        ({"6.1.0-30-amd64": BEFORE_S}, None),  # it was there at the boot, and was not what was booted
        ({"6.1.0-30-cloud-amd64": AFTER_S}, None),
        ({"6.1.0-30-amd64": AFTER_S, "6.1.0-100-amd64": AFTER_S, "6.1.0-200-amd64": BEFORE_S}, "6.1.0-100-amd64"),
    ],
)
def test_a_newer_kernel_is_one_that_another_boot_would_bring(installed: dict[str, float], found: str | None) -> None:
    assert newer_kernel("6.1.0-28-amd64", installed, BOOTED_S) == found


def need(**changed: Any) -> BootState:
    found: Any = {
        "boot_id": OLD, "booted_s": BOOTED_S, "running": "6.1.0-28-amd64",
        "required_s": None, "packages": [], "kernels": {}, **changed,
    }  # fmt: skip
    return cast("BootState", found)


def test_the_reason_says_since_when_and_who() -> None:
    assert reason(need()) is None
    mark = "needed since 1970-01-01 00:00 UTC, because /run/reboot-required is there"
    assert reason(need(required_s=0.0)) == mark
    assert reason(need(required_s=0.0, packages=["libc6", "dbus", "libc6"])) == f"{mark} (libc6, dbus)"
    said = reason(need(kernels={"6.1.0-30-amd64": 86400.0}))
    assert said == "needed since 1970-01-02 00:00 UTC, because 6.1.0-28-amd64 runs and 6.1.0-30-amd64 is installed"


class Machine:
    """A host and its connector: what it answers, one entry a command; an exception is a connection that is lost."""

    def __init__(
        self, answers: Iterable[tuple[bool, str] | OSError], entered: Iterable[ConnectError | None] = ()
    ) -> None:
        self.answers, self.entries = list(answers), list(entered)
        self.commands: list[str] = []
        self.said: list[str] = []
        self.entered = 0
        self.data: dict[str, Any] = {"_sudo": True}
        self.connector = self

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, Any]:
        assert arguments["_sudo"] is True
        self.commands.append(command.get_raw_value())
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        done, text = answer
        return done, SimpleNamespace(stdout=text, stderr_lines=[] if done else text.splitlines())

    def enter_again(self) -> None:
        self.entered += 1
        error = self.entries.pop(0)
        if error is not None:
            raise error

    def log_styled(self, sentence: str, **_: Any) -> None:
        self.said.append(sentence)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k3s_reboot, "POLL_S", 0)


def rebooted(machine: Any) -> bool:
    return reboot(cast("Any", None), machine, "srv-1", REBOOT)


def test_it_is_back_when_it_has_another_boot_id_and_all_its_services_are_started() -> None:
    machine = Machine(
        answers=[
            (True, OLD), (True, ""),
            (True, OLD),  # logind waits for the kubelet
            OSError("lost"), OSError("lost"),
            (True, OLD),  # entered once more before it went down
            OSError("lost"),
            (True, NEW), (False, ""),  # no answer in time
            (True, NEW), (False, "starting"),
            (True, NEW), (True, "running"),
        ],
        entered=[ConnectError("refused"), None, None],
    )  # fmt: skip
    assert rebooted(machine) is True
    assert (machine.answers, machine.entries, machine.said) == ([], [], [])
    assert machine.commands[:3] == [f"cat {BOOT_ID}", REBOOT, f"cat {BOOT_ID}"]
    assert machine.commands.count(REBOOT) == 1


def test_a_connection_that_goes_with_the_command_is_no_failure() -> None:
    machine = Machine([(True, OLD), OSError("lost"), OSError("lost"), (True, NEW), (False, "degraded")], [None])
    assert rebooted(machine) is True


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((False, "Call to Reboot failed: Access denied"), "cannot reboot srv-1: Call to Reboot failed: Access denied"),
        ((False, ""), f"cannot reboot srv-1: an upgrade of packages has taken {UPGRADE_S} s"),
    ],
)
def test_what_refuses_to_reboot_is_told(answer: tuple[bool, str], words: str) -> None:
    machine = Machine([(True, OLD), answer])
    assert rebooted(machine) is False
    assert words in machine.said[0]
    assert machine.said[0].endswith("then apply again")
    assert machine.entered == 0


def test_without_its_boot_id_nothing_is_rebooted() -> None:
    machine = Machine([(True, "")])
    assert rebooted(machine) is False
    assert machine.commands == [f"cat {BOOT_ID}"]
    assert "its boot id could not be read" in machine.said[0]


@pytest.mark.parametrize(
    ("answers", "entered", "words"),
    [
        ([(True, OLD)], [], "it has not gone down"),
        ([OSError("lost")], [ConnectError("another run holds it")], "it cannot be entered: another run holds it"),
        ([(True, NEW), (False, "")], [], "it is still starting its services"),
    ],
)
def test_what_does_not_come_back_is_told_with_what_is_missing(
    answers: list[Any], entered: list[Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k3s_reboot, "BACK_S", -1)
    machine = Machine([(True, OLD), (True, ""), *answers], entered)
    assert rebooted(machine) is False
    assert words in machine.said[0]


def test_what_could_not_be_entered_again_is_not_rebooted() -> None:
    machine = Machine([])
    machine.connector = cast("Any", object())
    assert rebooted(machine) is False
    assert machine.commands == []
    assert "@node/<name>" in machine.said[0]


class Entered(NodeConnector):
    """A connector that notes what it does."""

    def __init__(self, notes: list[str], *, held_by: str | None) -> None:
        self.notes, self.held_by = notes, held_by
        self.get_file_transfer_connection = cast("Any", SimpleNamespace(cache={}))
        self.client = cast("Any", SimpleNamespace(close=lambda: notes.append("closed")))
        self._lock = cast("Any", SimpleNamespace(holder="me", release=lambda: notes.append("released"), lost=True))

    def connect(self) -> None:
        self.notes.append("connected")

    def lock(self, holder: str) -> None:
        if self.held_by is not None:
            raise ConnectError(f"{self.held_by} holds it")
        self.notes.append(f"locked for {holder}")


def test_entering_again_takes_the_lock_again() -> None:
    notes: list[str] = []
    Entered(notes, held_by=None).enter_again()
    assert notes == ["released", "closed", "connected", "locked for me"]


def test_a_node_that_another_run_took_meanwhile_is_not_ours() -> None:
    connector = Entered([], held_by="another run")
    with pytest.raises(ConnectError, match="another run holds it"):
        connector.enter_again()
    assert connector.lock_lost is True  # so no command is sent


def test_a_run_without_a_lock_enters_without_one() -> None:
    notes: list[str] = []
    connector = Entered(notes, held_by=None)
    connector._lock = None
    connector.enter_again()
    assert notes == ["closed", "connected"]


def test_a_kubelet_wants_no_longer_than_logind_waits() -> None:
    found = json.loads(kubelet_config().partition("\n")[2])
    seconds = [
        int(found[name].removesuffix("s")) for name in ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods")
    ]
    assert 30 >= seconds[0] > seconds[1] > 0


@pytest.mark.parametrize(("mark", "verbs"), [("reboot", ["get", "uncordon", "annotate"]), ("", ["get"])])
def test_what_somebody_else_has_cordoned_stays_cordoned(mark: str, verbs: list[str], tmp_path: Path) -> None:
    program, log = tmp_path / "kubectl", tmp_path / "log"
    program.write_text(f"#!/bin/sh\necho \"$1\" >> {log}\n[ \"$1\" != get ] || printf '%s' '{mark}'\n")
    program.chmod(0o755)
    command = k3s_drain.uncordon_command("srv-1").replace(k3s_drain.KUBECTL, str(program))
    subprocess.run(["sh", "-c", command], check=True)
    assert log.read_text().split() == verbs
    assert r"'jsonpath={.metadata.annotations.unterbau\.io/cordoned}'" in command


def test_other_clusters_on_the_machine_are_asked_before_and_after() -> None:
    cluster = Cluster(servers={"srv-1": "10.77.0.11"}, agents={})
    node = Node("srv-1", "server", cluster, "/opt/k3s", "v1.34.4+k3s1")
    beside = [Beside(gate("vault before"), gate("vault after")), Beside(gate("s3 before"), gate("s3 after"))]
    found: Any = {"node": {}}
    steps = [one.args[0] for one in k3s_reboot._around(node, found, beside) if isinstance(one, FunctionCommand)]
    before = ["vault before", "s3 before", "srv-1"]
    assert steps == [*before, "srv-1", *before, "srv-1", "vault after", "s3 after", "srv-1", "srv-1"]


def gate(words: str) -> FunctionCommand:
    return FunctionCommand(cast("Any", lambda: True), (words,), {})
