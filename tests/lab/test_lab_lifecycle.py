"""A lab comes up, stays, goes, and comes up again after whatever happened to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.commands import LIMIT_S
from tests.lab.conftest import LabCommand
from unterbau.lab import machine, network, ssh
from unterbau.lab.cgroup import Group
from unterbau.lab.layout import Lab

pytestmark = pytest.mark.lab


def eventually(condition: Callable[[], bool], timeout_s: float = 120) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def leaders(lab: Lab) -> dict[str, int | None]:
    return {one.name: machine.leader(lab, one) for one in lab.machines}


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def traces(lab: Lab) -> list[str]:
    """Everything on this host that says a lab is or was there."""
    found = [f"hosts: {line}" for line in network.HOSTS.read_text().splitlines() if str(lab.subnet)[:-4] in line]
    found += [f"interface: {line}" for line in Path("/sys/class/net").iterdir() if lab.name in line.name]
    found += [f"nft: {line}" for line in output("nft", "list", "tables").splitlines() if lab.table in line]
    found += [f"loop: {line}" for line in output("losetup", "-a").splitlines() if str(lab.state) in line]
    # Others come and go meanwhile: `os.walk` passes over them, `Path.rglob` fails.
    found += [f"cgroup: {folder}" for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == lab.group]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (process / "mountinfo").read_text()
        except OSError:
            continue  # that process has ended
        found += [f"process: {command}"] if str(lab.state) in command else []
        found += [f"mount of {process.name}"] if str(lab.state) in mounts else []
    return found + ([f"files: {lab.state}"] if lab.state.exists() else [])


def test_up_brings_five_machines_and_a_second_up_changes_nothing(spare: LabCommand) -> None:
    spare.must("down")
    first = json.loads(spare.must("up", "--json"))
    assert first["changed"]
    assert [row["state"] for row in first["machines"]] == ["running"] * 5
    assert all(row["login_s"] > 0 for row in first["machines"])
    assert all(row["memory_mib"] > 1 for row in first["machines"])

    before, pins = leaders(spare.lab), spare.lab.known_hosts.read_text()
    second = json.loads(spare.must("up", "--json"))
    assert (second["changed"], second["put_in_place"]) == (False, [])
    assert "nothing to do" in spare.must("up")
    assert leaders(spare.lab) == before
    assert spare.lab.known_hosts.read_text() == pins


def test_a_directory_with_other_things_in_it_stays_as_it_was(tmp_path: Path) -> None:
    """Whoever points the lab at /srv gets a folder in it: neither its mode nor its content is the lab's to change."""
    (tmp_path / "precious").write_text("kept")
    tmp_path.chmod(0o755)
    command = LabCommand({
        "UNTERBAU_LAB_NAME": "other", "UNTERBAU_LAB_SUBNET": "10.78.252.0/24", "UNTERBAU_LAB_DIR": str(tmp_path),
    })  # fmt: skip
    try:
        command.must("up")
        assert {path.name for path in tmp_path.iterdir()} == {"precious", "unterbau-other"}
    finally:
        command.must("down")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("precious", "kept")]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_the_labs_store_is_made_once_and_an_identity_that_does_not_open_it_is_told(spare: LabCommand) -> None:
    store, identity = spare.lab.store, spare.lab.identity
    assert {path.stat().st_mode & 0o777 for path in (store, identity)} == {0o600}
    before, kept = store.read_bytes(), identity.read_bytes()
    identity.unlink()
    for _ in range(2):
        refused = spare("up")
        assert refused.returncode == 1
        assert "put it back, or start over with `unterbau lab down`" in refused.stderr
    assert store.read_bytes() == before
    assert not identity.exists()
    identity.write_bytes(kept)
    spare.must("up")
    assert (store.read_bytes(), identity.read_bytes()) == (before, kept)


def test_down_leaves_nothing_and_can_be_said_twice(spare: LabCommand) -> None:
    kinds = {trace.split(":")[0].split()[0] for trace in traces(spare.lab)}
    assert kinds == {"hosts", "interface", "nft", "loop", "cgroup", "process", "mount", "files"}  # the search does find
    mangled = "table ip mangle" in output("nft", "list", "tables")  # somebody else's, then
    spare.must("fault", "slow", "spare-srv-1", "--delay-ms", "5", "--loss-percent", "1")
    spare.must("fault", "pause", "spare-srv-2")
    spare.must("fault", "cut", "spare-srv-3")
    spare.must("fault", "kill", "spare-wrk-1")
    spare.must("down")
    assert traces(spare.lab) == []
    assert mangled or "table ip mangle" not in output("nft", "list", "tables")
    assert "nothing to do" in spare.must("down")


def test_two_ups_at_once_do_not_fight(spare: LabCommand) -> None:
    spare.must("down")
    both = [spare.start("up", "--json") for _ in range(2)]
    outcomes = [(process.communicate(timeout=LIMIT_S), process.returncode) for process in both]
    assert [code for _, code in outcomes] == [0, 0]
    assert sorted(json.loads(out)["changed"] for (out, _), _ in outcomes) == [False, True]
    assert any("which is working on the lab" in err for (_, err), _ in outcomes)


def test_a_killed_up_is_repaired_by_the_next(spare: LabCommand) -> None:
    moments = random.Random(2)  # noqa: S311  # moments, not secrets
    cut_short = 0
    for _ in range(4):
        spare.must("down")
        process = spare.start("up")
        try:
            process.communicate(timeout=moments.uniform(0.15, 1.6))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            cut_short += 1
        spare.must("up")
        assert all(spare("shell", name, "--", "true").returncode == 0 for name in spare.status())
    assert cut_short > 0


def test_a_killed_build_of_the_root_file_system_leaves_nothing(tmp_path: Path) -> None:
    command = LabCommand({
        "UNTERBAU_LAB_NAME": "build", "UNTERBAU_LAB_SUBNET": "10.78.251.0/24", "UNTERBAU_CACHE_DIR": str(tmp_path),
    })  # fmt: skip
    process = command.start("up")
    try:
        assert eventually((tmp_path / "building-build" / "var").exists)
        Group("ub-build/build").freeze(frozen=True)  # or it ends by itself, as soon as nobody reads what it says
        process.kill()
        process.communicate()
        assert Group("ub-build/build").populated()
    finally:
        process.kill()
        command.must("down")
    assert traces(command.lab) == []
    assert not (tmp_path / "building-build").exists()


def test_a_machine_whose_supervisor_is_killed_is_booted_again_with_its_disk(spare: LabCommand) -> None:
    one = spare.lab.machine("spare-srv-2")
    spare.must("shell", one.name, "--", "touch", "/root/kept", "/mnt/drive-1/kept")
    before, key = leaders(spare.lab), spare.must("shell", one.name, "--", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    nspawn = [pid for pid in machine.group(spare.lab, one).processes() if machine.program(pid) == "systemd-nspawn"]
    assert len(nspawn) == 1
    os.kill(nspawn[0], signal.SIGKILL)
    assert eventually(lambda: spare.status()[one.name]["state"] == "down")

    again = json.loads(spare.must("up", "--json"))
    assert [row["name"] for row in again["machines"] if row["login_s"]] == [one.name]
    after = leaders(spare.lab)
    assert {name for name in after if after[name] != before[name]} == {one.name}
    spare.must("shell", one.name, "--", "ls", "/root/kept", "/mnt/drive-1/kept")
    assert spare.must("shell", one.name, "--", "cat", "/etc/ssh/ssh_host_ed25519_key.pub") == key


def test_what_was_taken_from_the_network_comes_back(spare: LabCommand) -> None:
    lab, before = spare.lab, leaders(spare.lab)
    output("nft", "delete", "table", "inet", lab.table)
    hosts = network.HOSTS.read_text()
    network.HOSTS.write_text(network.without_block(lab, hosts))
    Group(f"{lab.group}/proxy").kill()
    said = json.loads(spare.must("up", "--json"))
    assert (said["changed"], said["put_in_place"]) == (True, ["rules", "names", "proxy"])
    assert network.is_up(lab)
    assert leaders(lab) == before
    Group(f"{lab.group}/proxy").kill()
    assert "put in place: proxy; all 5 machines were up" in spare.must("up")


def test_a_machine_that_switched_itself_off_is_down_and_one_that_rebooted_is_back(spare: LabCommand) -> None:
    off, again = spare.lab.machine("spare-srv-1"), spare.lab.machine("spare-srv-3")
    before = machine.leader(spare.lab, again)
    spare("shell", off.name, "--", "poweroff")
    spare("shell", again.name, "--", "reboot")
    assert eventually(lambda: spare.status()[off.name]["state"] == "down")
    assert eventually(lambda: machine.leader(spare.lab, again) not in (None, before))
    booted = [row["name"] for row in json.loads(spare.must("up", "--json"))["machines"] if row["login_s"]]
    assert booted == [off.name]


def test_shell_passes_arguments_and_exit_code_on(spare: LabCommand) -> None:
    assert spare("shell", "spare-wrk-1", "--", "sh", "-c", "exit 7").returncode == 7
    words = ("a b", "$HOME", "; reboot")
    assert spare.must("shell", "spare-wrk-1", "--", "printf", "%s|", *words) == "a b|$HOME|; reboot|"


def test_an_unknown_machine_is_an_error_that_names_the_five(spare: LabCommand) -> None:
    for arguments in (("shell", "srv-9"), ("fault", "kill", "srv-9"), ("fault", "undo", "srv-9")):
        result = spare(*arguments)
        assert result.returncode == 1
        assert "spare-srv-1, spare-srv-2, spare-srv-3, spare-wrk-1, spare-wrk-2" in result.stderr


def test_a_machine_with_another_host_key_is_refused(spare: LabCommand, tmp_path: Path) -> None:
    one, other = spare.lab.machine("spare-srv-1"), spare.lab.machine("spare-srv-2")
    good = subprocess.run(ssh.command(spare.lab, one, "true"), capture_output=True, text=True, check=False)
    assert good.returncode == 0
    pins = spare.lab.known_hosts.read_text().replace(str(one.address), "ADDRESS")
    pins = pins.replace(str(other.address), str(one.address)).replace("ADDRESS", str(other.address))
    wrong = tmp_path / "ssh"
    wrong.mkdir()
    (wrong / "known_hosts").write_text(pins)
    (wrong / "id_ed25519").write_text(spare.lab.key.read_text())
    (wrong / "id_ed25519").chmod(0o600)
    refused = ssh.command(replace(spare.lab, state=tmp_path), one, "true")
    result = subprocess.run(refused, capture_output=True, text=True, check=False)
    assert result.returncode == 255
    assert "Host key verification failed" in result.stderr

    (wrong / "known_hosts").write_text("")
    result = subprocess.run(refused, capture_output=True, text=True, check=False)
    assert result.returncode == 255
    assert (wrong / "known_hosts").read_text() == ""  # nothing is ever learned
