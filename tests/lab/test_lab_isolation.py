"""What a machine may do, and what it can't see or change: the host, its clock, the outside."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.conftest import LabCommand
from unterbau.lab.drive import OBJECTS
from unterbau.lab.layout import PROXY_PORT

pytestmark = pytest.mark.lab

NAME = "spare-srv-1"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"


def python(command: LabCommand, script: str, *arguments: str) -> tuple[int, str]:
    result = command("shell", NAME, "--", "python3", "-c", script, *arguments)
    return result.returncode, result.stdout + result.stderr


def test_the_clock_belongs_to_the_host(spare: LabCommand) -> None:
    year = time.gmtime().tm_year
    for line in ("date -s 2001-01-01", "python3 -c 'import time; time.clock_settime(0, 1e9)'"):
        refused = spare("shell", NAME, "--", "sh", "-c", line)
        assert refused.returncode != 0
        assert "not permitted" in refused.stderr
    assert time.gmtime().tm_year == year


def test_debian_packages_install(spare: LabCommand) -> None:
    assert spare("shell", NAME, "--", "which", "ed").returncode != 0
    spare.must("shell", NAME, "--", "apt-get", "update", "-q")
    spare.must("shell", NAME, "--", "apt-get", "install", "-y", "-q", "ed")
    assert spare.must("shell", NAME, "--", "sh", "-c", "printf '1p\\n' | ed -s /etc/hostname") == f"{NAME}\n"


def test_the_proxy_reaches_the_archive_and_nothing_else(spare: LabCommand) -> None:
    ask = (
        "import sys, urllib.request as r; o = r.build_opener(r.ProxyHandler({'http': sys.argv[1]}));"
        "o.open('http://example.com/', timeout=5)"
    )
    code, said = python(spare, ask, f"http://{spare.lab.gateway}:{PROXY_PORT}")
    assert code == 1
    assert "403" in said


def test_there_is_no_other_way_out(spare: LabCommand) -> None:
    gateway = str(spare.lab.gateway)
    assert python(spare, CONNECT, gateway, str(PROXY_PORT))[0] == 0
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104  # that it is not reached is the point
        port = str(server.getsockname()[1])
        socket.create_connection((gateway, int(port)), timeout=1).close()  # it does answer the host
        for address in (gateway, "192.0.2.77", "127.0.0.1"):
            code, said = python(spare, CONNECT, address, port)
            assert code == 1, f"{address} answered"
            assert "timed out" not in said  # refused at once, not left to hang


def test_machines_reach_each_other(spare: LabCommand) -> None:
    assert python(spare, CONNECT, str(spare.lab.machine("spare-wrk-2").address), "22")[0] == 0


def test_names_are_known_to_the_controller_only(spare: LabCommand) -> None:
    assert socket.gethostbyname("spare-wrk-2") == str(spare.lab.machine("spare-wrk-2").address)
    assert spare("shell", NAME, "--", "getent", "hosts", "spare-wrk-2").returncode == 2


@pytest.mark.parametrize("setting", ["vm.overcommit_memory", "kernel.panic", "net.ipv4.tcp_fin_timeout"])
def test_a_kernel_setting_is_one_machines_own(spare: LabCommand, setting: str) -> None:
    path = Path("/proc/sys") / setting.replace(".", "/")
    host, other = path.read_text(), ("shell", "spare-srv-2", "--", "sysctl", "-n", setting)
    neighbour = spare.must(*other)
    spare.must("shell", NAME, "--", "sysctl", "-w", f"{setting}=29")
    assert spare.must("shell", NAME, "--", "sysctl", "-n", setting) == "29\n"
    assert path.read_text() == host
    assert spare.must(*other) == neighbour
    spare.must("shell", NAME, "--", "sysctl", "-w", f"{setting}={neighbour.strip()}")


def test_other_machines_drives_stay_closed(spare: LabCommand) -> None:
    image = OBJECTS.image(spare.lab.machine("spare-srv-2"))
    listed = subprocess.run(["losetup", "-n", "-O", "MAJ:MIN", "-j", image], capture_output=True, text=True, check=True)
    major, minor = listed.stdout.strip().split(":")
    with Path(f"/dev/loop{minor}").open("rb") as drive:
        assert drive.read(4) == b"XFSB"  # the host can
    line = f"mknod /root/drive b {major} {minor}; head -c 4 /root/drive"
    refused = spare("shell", NAME, "--", "sh", "-c", line)
    assert refused.returncode != 0
    assert "not permitted" in refused.stderr or "Permission denied" in refused.stderr  # by control group, or by mount
    assert "XFSB" not in refused.stdout


def test_a_drive_is_xfs_and_has_a_fixed_size(spare: LabCommand) -> None:
    kind, size = spare.must("shell", NAME, "--", "stat", "-f", "-c", "%T %b %S", "/mnt/drive-1").split(maxsplit=1)
    blocks, block = map(int, size.split())
    assert kind == "xfs"
    assert 1.8 * 2**30 < blocks * block <= 2 * 2**30


def test_each_audit_folder_is_a_small_file_system_of_its_own(spare: LabCommand) -> None:
    said = spare.must("shell", NAME, "--", "stat", "-f", "-c", "%i %T", "/mnt/audit-1", "/mnt/audit-2", "/")
    rows = [line.split() for line in said.splitlines()]
    assert [kind for _, kind in rows[:2]] == ["ext2/ext3", "ext2/ext3"]
    assert len({number for number, _ in rows}) == 3
    sizes = spare.must("shell", NAME, "--", "df", "--output=size", "-m", "/mnt/audit-1", "/mnt/audit-2").split()[1:]
    assert all(40 < int(size) <= 64 for size in sizes if size.isdigit())


def test_containers_and_etcd_have_file_systems_that_are_no_overlay(spare: LabCommand) -> None:
    said = spare.must("shell", NAME, "--", "stat", "-f", "-c", "%i %T", "/var/lib/rancher", "/var/lib/kubelet", "/")
    rows = [line.split() for line in said.splitlines()]
    assert [kind for _, kind in rows] == ["ext2/ext3", "ext2/ext3", "overlayfs"]
    assert len({number for number, _ in rows}) == 3


def test_a_machine_makes_control_groups_of_its_own(spare: LabCommand) -> None:
    make = "cd /sys/fs/cgroup; for c in */; do [ ! -e $c/cgroup.procs ] || { mkdir $c/tried && rmdir $c/tried; }; done"
    spare.must("shell", NAME, "--", "sh", "-ec", make)
    read = "timeout 1 dd if=/dev/kmsg bs=8192 count=1 status=none | wc -c"  # a record at a time, or none
    assert int(spare.must("shell", NAME, "--", "sh", "-c", read)) > 0
    journal = ("shell", NAME, "--", "journalctl", "-k", "-q", "--no-pager")
    assert spare.must(*journal) == ""  # the kernel's messages are the host's


def test_a_machine_is_plain(spare: LabCommand) -> None:
    spare.must("down")  # other tests put things on these machines
    spare.must("up")
    listed = spare.must("shell", NAME, "--", "dpkg-query", "-W", "-f", "${Package}\\n").split()
    assert not {"chrony", "nftables", "unattended-upgrades", "sudo"} & set(listed)
    assert spare.must("shell", NAME, "--", "sh", "-c", "grep ^root: /etc/shadow | cut -d: -f2").strip() in (
        "*",
        "!",
        "!*",
    )
    assert spare.must("shell", NAME, "--", "systemctl", "--failed", "--no-legend") == ""
