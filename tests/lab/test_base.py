"""The base layer on real machines: what is broken by hand is named by the plan and healed by the apply, no more."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.commands import ADDRESS, converge, on, plan, unterbau

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("on_the_ground")]

ACTIVE = "systemctl is-active {0}; systemctl is-enabled {0}"


@dataclass(frozen=True)
class Break:
    """What somebody does to a node, what the plan then says of it, and what shows that it was healed.

    `named` is {subject: (old, new)}, or {subject: a line of the diff}.
    """

    node: str
    by_hand: str
    named: dict[str, tuple[str | None, str | None] | str]
    check: str
    healed: str


def restarted(reason: str) -> tuple[str, str]:
    return "running", f"restarted, {reason}"


BREAKS = {
    "sysctl set": Break(
        "wrk-1", "sysctl -qw net.ipv4.ip_forward=0", {"net.ipv4.ip_forward": ("0", "1")},
        "cat /proc/sys/net/ipv4/ip_forward", "1",
    ),
    "sysctl file removed": Break(
        "wrk-2", "rm /etc/sysctl.d/99-unterbau.conf", {"/etc/sysctl.d/99-unterbau.conf": "+kernel.panic = 10"},
        "grep panic_on_oops /etc/sysctl.d/99-unterbau.conf", "kernel.panic_on_oops = 1",
    ),
    "hosts edited": Break(
        "wrk-1", "echo '192.0.2.1 srv-1' >> /etc/hosts", {"/etc/hosts": "-192.0.2.1 srv-1"},
        "grep -c 192.0.2.1 /etc/hosts || true", "0",
    ),
    "host name changed": Break(
        "wrk-2", "hostname other", {"kernel.hostname": ("other", "wrk-2")}, "uname -n", "wrk-2",
    ),
    "host name of the next boot changed": Break(
        "srv-1", "echo other > /etc/hostname", {"/etc/hostname": "-other"}, "cat /etc/hostname", "srv-1",
    ),
    "package removed": Break(
        "wrk-1", "dpkg --purge --force-depends conntrack >/dev/null", {"package conntrack": (None, "installed")},
        "dpkg-query -W -f '${db:Status-Status}' conntrack", "installed",
    ),
    "package half configured": Break(
        "wrk-2",
        "sed -i '/^Package: conntrack$/,/^$/ s/^Status: install ok installed/Status: install ok half-configured/' "
        "/var/lib/dpkg/status",
        {"package conntrack": ("half-configured", "installed")},
        "dpkg-query -W -f '${db:Status-Status}' conntrack", "installed",
    ),
    "dpkg killed while it wrote": Break(
        "srv-1", "echo > /var/lib/dpkg/updates/0001", {"dpkg database": ("interrupted", "whole")},
        "ls /var/lib/dpkg/updates", "",
    ),
    "unit stopped": Break(
        "srv-1", "systemctl stop chrony", {"chrony.service active": ("inactive", "active")},
        ACTIVE.format("chrony"), "active\nenabled",
    ),
    "unit disabled": Break(
        "srv-2", "systemctl -q disable chrony", {"chrony.service at boot": ("disabled", "enabled")},
        ACTIVE.format("chrony"), "active\nenabled",
    ),
    "unit masked and stopped": Break(
        "srv-3", "systemctl -q mask --now chrony",
        {"chrony.service at boot": ("masked", "enabled"), "chrony.service active": ("inactive", "active")},
        ACTIVE.format("chrony"), "active\nenabled",
    ),
    "configuration edited": Break(
        "wrk-1", "echo 'server 192.0.2.1' >> /etc/chrony/chrony.conf",
        {
            "/etc/chrony/chrony.conf": "-server 192.0.2.1",
            "chrony.service process": restarted("/etc/chrony/chrony.conf changes"),
        },
        "chronyc -n sources | grep -c 192.0.2.1 || true", "0",
    ),
    "configuration writable for all": Break(
        "wrk-2", "chmod 666 /etc/chrony/chrony.conf",
        {
            "/etc/chrony/chrony.conf mode": ("666", "644"),
            "chrony.service process": restarted("/etc/chrony/chrony.conf changes"),
        },
        "stat -c %a /etc/chrony/chrony.conf", "644",
    ),
    "written but not restarted": Break(
        "wrk-2", "touch /etc/systemd/journald.conf.d/unterbau.conf",
        {
            "systemd-journald.service process": restarted(
                "/etc/systemd/journald.conf.d/unterbau.conf is newer"
            )
        },
        "systemctl is-active systemd-journald", "active",
    ),
    "journal limits removed": Break(
        "wrk-1", "rm /etc/systemd/journald.conf.d/unterbau.conf",
        {
            "/etc/systemd/journald.conf.d/unterbau.conf": "+SystemMaxUse=512M",
            "systemd-journald.service process": restarted("/etc/systemd/journald.conf.d/unterbau.conf changes"),
        },
        "grep SystemMaxUse /etc/systemd/journald.conf.d/unterbau.conf", "SystemMaxUse=512M",
    ),
    "swap in fstab": Break(
        "srv-2", "echo '/swapfile none swap sw 0 0' >> /etc/fstab", {"/etc/fstab": "-/swapfile none swap sw 0 0"},
        "grep -c swap /etc/fstab || true", "0",
    ),
    "swap unit": Break(
        "srv-3", "printf '[Swap]\\nWhat=/data\\n[Install]\\nWantedBy=swap.target\\n' > /etc/systemd/system/data.swap; "
        "systemctl -q enable data.swap", {"data.swap": ("brings swap", "masked")},
        "systemctl is-enabled data.swap; rm /etc/systemd/system/data.swap*", "masked",
    ),
    "modules at boot": Break(
        "srv-2", "echo loop > /etc/modules-load.d/unterbau.conf", {"/etc/modules-load.d/unterbau.conf": "-loop"},
        "ls /etc/modules-load.d", "modules.conf",
    ),
    "core dumps on": Break(
        "wrk-1", "rm /etc/systemd/system.conf.d/unterbau.conf; systemctl daemon-reexec",
        {
            "/etc/systemd/system.conf.d/unterbau.conf": "+DefaultLimitCORE=0",
            "systemd DefaultLimitCORE": ("infinity", "0"),
        },
        "systemctl show --property=DefaultLimitCORE", "DefaultLimitCORE=0",
    ),
    "upgrades of everything": Break(
        "srv-1", "sed -i 's/Debian-Security/Debian/' /etc/apt/apt.conf.d/99unterbau",
        {
            "/etc/apt/apt.conf.d/99unterbau": '-  "origin=Debian,codename=${distro_codename},label=Debian";',
            "apt-daily-upgrade.timer process": restarted("/etc/apt/apt.conf.d/99unterbau changes"),
        },
        "apt-config dump | grep -c 'label=Debian\"' || true", "0",
    ),
    "upgrade timer stopped": Break(
        "srv-3", "systemctl stop apt-daily-upgrade.timer",
        {"apt-daily-upgrade.timer active": ("inactive", "active")},
        ACTIVE.format("apt-daily-upgrade.timer"), "active\nenabled",
    ),
    "package lists never fetched": Break(
        "wrk-2", "systemctl stop apt-daily.timer; systemctl -q mask apt-daily.timer",
        {"apt-daily.timer at boot": ("masked", "enabled"), "apt-daily.timer active": ("inactive", "active")},
        ACTIVE.format("apt-daily.timer"), "active\nenabled",
    ),
    "reboot slot edited without a reload": Break(
        "srv-3", "sed -i 's/OnCalendar=.*UTC/OnCalendar=daily/' /etc/systemd/system/unterbau-reboot.timer",
        {
            "/etc/systemd/system/unterbau-reboot.timer": "-OnCalendar=daily",
            "unterbau-reboot.timer process": restarted("/etc/systemd/system/unterbau-reboot.timer changes"),
        },
        "systemctl show --property=NeedDaemonReload unterbau-reboot.timer", "NeedDaemonReload=no",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def broken(on_the_ground: None) -> Iterator[dict[str, Any]]:
    """The plan of a lab in which everything in BREAKS is broken at once."""
    for node in ADDRESS:
        on(node, "\n".join(f"{{ {each.by_hand}; }} || exit 1" for each in BREAKS.values() if each.node == node))
    code, found = plan()
    assert code == 2, json.dumps(found["problems"])
    yield found
    converge()


@pytest.fixture(scope="module")
def healed(broken: dict[str, Any]) -> None:
    converge()


def test_the_plan_names_what_was_broken_and_nothing_else(broken: dict[str, Any]) -> None:
    found = sorted((c["host"], part["subject"]) for c in broken["changes"] for part in c["changes"])
    assert found == sorted((each.node, subject) for each in BREAKS.values() for subject in each.named)
    assert broken["problems"] == []


@pytest.mark.parametrize("name", BREAKS)
def test_the_plan_says_what_it_was_and_what_it_will_be(broken: dict[str, Any], name: str) -> None:
    said = {
        part["subject"]: part
        for change in broken["changes"] if change["host"] == BREAKS[name].node
        for part in change["changes"]
    }  # fmt: skip
    for subject, words in BREAKS[name].named.items():
        if isinstance(words, str):
            assert words in said[subject]["diff"].splitlines()
        else:
            assert (said[subject]["old"], said[subject]["new"]) == words


@pytest.mark.parametrize("name", BREAKS)
def test_the_apply_heals_it(healed: None, name: str) -> None:
    assert on(BREAKS[name].node, BREAKS[name].check).strip() == BREAKS[name].healed


def test_then_nothing_is_left_to_do(healed: None) -> None:
    code, found = plan()
    assert (code, found["changes"], found["problems"]) == (0, [], [])


@pytest.mark.parametrize("node", ADDRESS)
def test_every_node_knows_every_node_by_short_and_by_full_name(node: str) -> None:
    names = [name for short in ADDRESS for name in (short, f"{short}.lab.internal")]
    answers = [line.split() for line in on(node, f"getent ahostsv4 {' '.join(names)} | grep STREAM").splitlines()]
    assert [answer[0] for answer in answers] == [address for address in ADDRESS.values() for _ in range(2)]
    assert on(node, "hostname --fqdn").strip() == f"{node}.lab.internal"


def strata() -> dict[str, int]:
    """{node: chrony's stratum}; 0 is a node without a time."""
    return {node: int(on(node, "chronyc -n -c tracking").split(",")[2]) for node in ADDRESS}


def test_all_nodes_keep_one_time() -> None:
    """One server leads the island, the others follow it, and workers follow them. They come to agree by themselves."""
    deadline = time.monotonic() + 300  # those that were just restarted ask each other every 16 to 64 s
    while not agreed(found := strata()) and time.monotonic() < deadline:
        time.sleep(1)
    assert agreed(found), found


def agreed(found: dict[str, int]) -> bool:
    servers = sorted(stratum for node, stratum in found.items() if node.startswith("srv"))
    return servers == [10, 11, 11] and {found["wrk-1"], found["wrk-2"]} <= {11, 12}


def test_no_time_is_asked_of_a_worker() -> None:
    """From another machine: a server answers NTP, a worker does not."""
    ask = "chronyd -x -Q -t 10 'server {} iburst maxsamples 1' >/dev/null 2>&1 && echo answered || echo silent"
    assert on("wrk-2", ask.format(ADDRESS["srv-1"])).strip() == "answered"
    assert on("wrk-2", ask.format(ADDRESS["wrk-1"])).strip() == "silent"


def test_no_program_may_dump_core() -> None:
    assert unterbau("lab", "shell", "wrk-1", "--", "sh", "-c", "ulimit -Hc").stdout.strip() == "0"  # of a login
    assert on("wrk-1", "systemd-run --quiet --wait --pipe sh -c 'ulimit -Hc'").strip() == "0"


def test_every_node_has_an_upgrade_slot_of_its_own() -> None:
    show = "systemctl show --property=TimersCalendar {} | grep -o '[0-9]*:[0-9]*:00 UTC ' | tr -d '\\n'"
    upgrades = {on(node, show.format("apt-daily-upgrade.timer")) for node in ADDRESS}
    reboots = {on(node, show.format("unterbau-reboot.timer")) for node in ADDRESS}
    assert len(upgrades) == len(reboots) == len(ADDRESS)
    assert not upgrades & reboots


def test_a_node_reboots_only_if_an_upgrade_asked_for_it() -> None:
    """The condition, tried without a reboot: systemd says why it did not start it."""
    on("wrk-2", "test ! -e /run/reboot-required; systemctl start unterbau-reboot.service")
    assert (
        on("wrk-2", "systemctl show --property=ConditionResult unterbau-reboot.service").strip() == "ConditionResult=no"
    )


def test_a_reboot_waits_for_an_upgrade_that_still_runs() -> None:
    started = on(
        "wrk-2",
        "touch /run/reboot-required; flock /var/lib/apt/daily_lock systemctl start unterbau-reboot.service; "
        "rm /run/reboot-required; systemctl show --property=Result unterbau-reboot.service",
    )
    assert started.strip() == "Result=exec-condition"
