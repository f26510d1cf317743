"""What cases as data cannot say of the base layer: scripts that are really run, pure functions, and broken output."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError

from deploys import base
from facts import core_dump, kernel_module, package, service, swap, sysctl
from facts.config_file import parsed, reading
from operations import security_upgrade, time_sync
from operations.config_file import Wanted, write
from operations.service import _restart_reason
from operations.swap import swapoff, without_swap
from operations.sysctl import by_effect, conf, differing
from unterbau.declaration import SecurityUpgrades

USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


def run(script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], input=stdin, text=True, capture_output=True, check=False)


def put(path: Path, content: str, arrives: str | None = None, **wanted: str) -> subprocess.CompletedProcess[str]:
    command = write(str(path), Wanted(content, user=USER, group=GROUP, **wanted))
    return run(command.get_raw_value(), content if arrives is None else arrives)


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "it's; reboot"
    assert put(file, "a = $(reboot)\n", mode="640").returncode == 0
    assert (file.read_text(), file.stat().st_mode & 0o7777) == ("a = $(reboot)\n", 0o640)
    assert list(file.parent.iterdir()) == [file]


def test_content_that_breaks_off_replaces_nothing(tmp_path: Path) -> None:
    """What a killed controller looks like from the node: the end of the input."""
    file = tmp_path / "app.conf"
    file.write_text("old\n")
    assert put(file, "first\nsecond\n", arrives="first\n").returncode != 0
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old\n", [file])


def test_what_its_validator_refuses_replaces_nothing(tmp_path: Path) -> None:
    file = tmp_path / "app.conf"
    file.write_text("old\n")
    assert put(file, "new\n", validate="grep -q valid").returncode != 0
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old\n", [file])
    assert put(file, "valid\n", validate="grep -q valid").returncode == 0
    assert file.read_text() == "valid\n"


def test_a_symlink_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    target, file = tmp_path / "target", tmp_path / "link"
    target.write_text("somebody else's\n")
    file.symlink_to(target)
    assert put(file, "ours\n").returncode == 0
    assert (file.is_symlink(), file.read_text(), target.read_text()) == (False, "ours\n", "somebody else's\n")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_is_read_back_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("text") / "x; reboot"
    file.write_bytes(text.encode())
    path, state = parsed(run(reading([str(file)])).stdout.rstrip("\n"))
    assert (path, state["content"], state["kind"]) == (str(file), text, "file")
    assert state["sha256"] == parsed(run(reading([str(file)], content=False)).stdout.rstrip("\n"))[1]["sha256"]


@pytest.mark.parametrize(
    ("fact", "output"),
    [
        (service.State, ["ActiveState=active"]),
        (service.State, ["Failed to connect to bus"]),
        (package.Installed, ["dpkg-query: error"]),
        (package.Installed, ["whole", "installed chrony"]),
        (sysctl.Values, ["/p\tabsent", "kernel.panic = 1"]),
        (kernel_module.States, ["/p\tabsent", "overlay\tperhaps"]),
        (swap.State, ["/etc/fstab\tabsent", "what\t/swapfile"]),
        (core_dump.State, ["nothing"]),
        (core_dump.State, ["DefaultLimitCORE=0", "/p\tf\t644"]),
        (core_dump.State, ["DefaultLimitCORE=0", "/p\tf\t644\troot\troot\t1.0\tbase64:not base64"]),
    ],
)
def test_output_that_is_not_understood_is_an_error_of_that_fact(fact: type, output: list[str]) -> None:
    with pytest.raises(FactProcessError, match="cannot read"):
        fact().process(output)


def unit(ctime_s: float = 1.0, started_s: float = 2.0, reload: bool = False) -> service.UnitState:
    files = {"/etc/app.conf": {"ctime_s": ctime_s}}
    return {"files": files, "started_s": started_s, "now_s": 5.0, "needs_daemon_reload": reload}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("state", "changed", "reason"),
    [
        (unit(), [], None),
        (unit(ctime_s=3.0), [], "/etc/app.conf is newer"),
        (unit(ctime_s=6.0), [], None),
        (unit(reload=True), [], "its unit file is newer"),
        (unit(), ["/etc/app.conf"], "/etc/app.conf changes"),
    ],
)
def test_a_restart_has_a_reason(state: service.UnitState, changed: list[str], reason: str) -> None:
    assert _restart_reason(state, changed) == reason


ISLAND = ["10.0.0.2", "10.0.0.1", "10.0.0.3"]


@pytest.mark.parametrize(
    ("address", "servers", "island", "asks"),
    [
        ("10.0.0.1", [], ISLAND, ["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.1", ["ntp"], ISLAND, ["ntp", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.9", ["ntp"], ISLAND, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.9", ["ntp"], [], ["ntp"]),
    ],
)
def test_whom_a_node_asks_for_the_time(address: str, servers: list[str], island: list[str], asks: list[str]) -> None:
    assert [line.split()[1] for line in time_sync.sources(address, servers, island)] == asks


def test_only_members_of_the_island_serve_time() -> None:
    member = time_sync.chrony_conf("10.0.0.1", [], ISLAND, "10.0.0.0/24", True)
    other = time_sync.chrony_conf("10.0.0.9", [], ISLAND, "10.0.0.0/24", True)
    assert ("allow 10.0.0.0/24" in member, "local stratum 10 orphan" in member, "\nport 0\n" in member) == (
        True,
        True,
        False,
    )
    assert ("allow" in other, "local" in other, "\nport 0\n" in other) == (False, False, True)


def test_a_clock_that_is_the_hosts_is_never_stepped() -> None:
    assert "makestep" in time_sync.chrony_conf("10.0.0.1", ["ntp"], [], "10.0.0.0/24", True)
    assert "makestep" not in time_sync.chrony_conf("10.0.0.1", ["ntp"], [], "10.0.0.0/24", False)


@pytest.mark.parametrize(
    ("at", "minutes", "then"),
    [("02:20", 10, "02:30"), ("23:55", 10, "00:05"), ("00:00", 0, "00:00"), ("00:20", -30, "23:50")],
)
def test_minutes_later(at: str, minutes: int, then: str) -> None:
    assert security_upgrade.later(at, minutes) == then


def slot_of(names: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """{name: start of its slot} in an inventory with these nodes in this order."""
    upgrades = SecurityUpgrades(reboot_window_start="02:00", reboot_window_minutes=120, slot_minutes=20)
    nodes = [SimpleNamespace(name=name, address="10.0.0.1") for name in names]
    hosts = [SimpleNamespace(data=Data(node=node, security_upgrades=upgrades)) for node in nodes]
    monkeypatch.setattr(base, "inventory", hosts)
    starts = {}
    for each in hosts:
        monkeypatch.setattr(base, "host", each)
        starts[each.data.node.name] = base.slot_start()
    return starts


class Data(SimpleNamespace):
    """As pyinfra's host.data."""

    def get(self, name: str) -> object:
        return getattr(self, name, None)


def test_a_node_at_the_end_of_the_inventory_moves_no_other_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    before = slot_of(["srv-1", "wrk-1"], monkeypatch)
    assert before == {"srv-1": "02:00", "wrk-1": "02:20"}
    assert slot_of(["srv-1", "wrk-1", "gpu-1"], monkeypatch) == {**before, "gpu-1": "02:40"}


@pytest.mark.parametrize(
    ("fstab", "left"),
    [
        ("/swapfile none swap sw 0 0\n", ""),
        ("/dev/sda1 / ext4 defaults\n/dev/sda2\tnone\tswap\tsw\n", "/dev/sda1 / ext4 defaults\n"),
        ("# /dev/sda2 none swap sw\n", "# /dev/sda2 none swap sw\n"),
        ("/dev/sda3 /swap ext4 defaults\n\nproc /proc proc\n", "/dev/sda3 /swap ext4 defaults\n\nproc /proc proc\n"),
        ("swap none ext4", "swap none ext4"),
    ],
)
def test_fstab_without_swap(fstab: str, left: str) -> None:
    assert without_swap(fstab) == left


def test_swap_that_is_off_already_is_not_turned_off_again() -> None:
    assert run(swapoff("/no; such/swap").get_raw_value()).returncode == 0


@pytest.mark.parametrize(
    ("key", "path", "dotted"),
    [
        ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        (
            "net/ipv4/conf/eth0.1/rp_filter",
            "/proc/sys/net/ipv4/conf/eth0.1/rp_filter",
            "net.ipv4.conf.eth0/1.rp_filter",
        ),
        (
            "net.ipv4.conf.eth0/1.rp_filter",
            "/proc/sys/net/ipv4/conf/eth0.1/rp_filter",
            "net.ipv4.conf.eth0/1.rp_filter",
        ),
    ],
)
def test_names_of_kernel_parameters(key: str, path: str, dotted: str) -> None:
    assert (sysctl.proc_path(key), sysctl.dotted(key)) == (path, dotted)


def test_forwarding_is_set_before_what_it_resets() -> None:
    wanted = by_effect({"net.ipv4.conf.all.accept_redirects": 0, "kernel.panic": 10, "net.ipv4.ip_forward": 1})
    assert list(wanted) == ["net.ipv4.ip_forward", "kernel.panic", "net.ipv4.conf.all.accept_redirects"]
    assert conf(wanted).splitlines()[1:] == [f"{key} = {value}" for key, value in wanted.items()]


@pytest.mark.parametrize(
    ("forwarding", "redirects", "wanted_redirects", "to_set"),
    [
        ("0", "1", "0", ["net.ipv4.ip_forward"]),
        ("0", "0", "1", ["net.ipv4.ip_forward", "net.ipv4.conf.all.accept_redirects"]),
        ("0", "1", "1", ["net.ipv4.ip_forward", "net.ipv4.conf.all.accept_redirects"]),
        ("1", "1", "0", ["net.ipv4.conf.all.accept_redirects"]),
        ("1", "0", "0", []),
    ],
)
def test_the_kernel_sets_redirects_with_forwarding(
    forwarding: str, redirects: str, wanted_redirects: str, to_set: list[str]
) -> None:
    present = {"net.ipv4.ip_forward": forwarding, "net.ipv4.conf.all.accept_redirects": redirects}
    wanted = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.accept_redirects": wanted_redirects}
    assert list(differing(present, wanted)) == to_set
