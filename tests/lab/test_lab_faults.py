"""Each fault shows its effect from outside, and is taken back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.storage import until
from unterbau.lab import machine, process, ssh, wire

pytestmark = pytest.mark.lab

# Seconds that a TCP connection to port 22 of argv[1] takes; exits 1 if there is none within 3 s.
CONNECT = """\
import socket, sys, time
began = time.monotonic()
try:
    socket.create_connection((sys.argv[1], 22), timeout=3).close()
except OSError as error:
    sys.exit(str(error))
print(time.monotonic() - began)
"""


DELAY_MS = 2000


@pytest.fixture
def faulty(spare: LabCommand) -> Iterator[LabCommand]:
    yield spare
    spare.must("fault", "undo")
    assert "no fault is on" in spare.must("fault", "list")


def accepts(command: LabCommand, name: str) -> bool:
    return process.answers(str(command.lab.machine(name).address), 22, timeout_s=1)


def logs_in(command: LabCommand, name: str, within_s: float = 60) -> bool:
    line = ssh.command(command.lab, command.lab.machine(name), "true")
    try:
        return subprocess.run(line, capture_output=True, check=False, timeout=within_s).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def listed(command: LabCommand) -> list[tuple[str, str]]:
    return [(fault["node"], fault["kind"]) for fault in json.loads(command.must("fault", "list", "--json"))]


def test_kill_takes_a_machine_away_and_undo_boots_it_with_its_disk(faulty: LabCommand) -> None:
    name = "spare-srv-1"
    faulty.must("shell", name, "--", "sh", "-c", "echo kept > /root/kept; sync")
    faulty.must("fault", "kill", name)
    assert not accepts(faulty, name)
    assert faulty.status()[name]["state"] == "down"
    assert listed(faulty) == [(name, "kill")]
    assert "down already" in faulty.must("fault", "kill", name)
    assert "is down" in faulty("fault", "pause", name).stderr

    faulty.must("fault", "undo", name)
    assert faulty.must("shell", name, "--", "cat", "/root/kept") == "kept\n"
    assert listed(faulty) == []


def test_up_boots_a_killed_machine_and_forgets_the_fault(faulty: LabCommand) -> None:
    faulty.must("fault", "kill", "spare-wrk-2")
    faulty.must("up")
    until(lambda: logs_in(faulty, "spare-wrk-2"))
    assert listed(faulty) == []


def test_a_paused_machine_accepts_and_says_nothing(faulty: LabCommand) -> None:
    name = "spare-srv-2"
    faulty.must("fault", "pause", name)
    assert faulty.status()[name]["state"] == "paused"
    until(lambda: accepts(faulty, name))  # its kernel does
    assert not logs_in(faulty, name, within_s=3)
    assert "paused already" in faulty.must("fault", "pause", name)
    refused = faulty("up")
    assert refused.returncode == 1
    assert f"fault undo {name} pause" in refused.stderr

    faulty.must("fault", "undo", name, "pause")
    until(lambda: logs_in(faulty, name))


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_a_cut_drops_what_it_says_and_nothing_else(faulty: LabCommand, direction: str) -> None:
    one, other = faulty.lab.machine("spare-srv-3"), faulty.lab.machine("spare-wrk-1")
    faulty.must("fault", "cut", one.name, "--direction", direction)
    assert not accepts(faulty, one.name)
    assert "already" in faulty.must("fault", "cut", one.name, "--direction", direction)
    from_neighbour = faulty("shell", other.name, "--", "python3", "-c", CONNECT, str(one.address))
    assert from_neighbour.returncode == 1
    until(lambda: accepts(faulty, other.name))
    # Seen from inside: what it sends still leaves its interface, and arrives only if `in` alone is cut.
    before = received(faulty, other.name)
    pid = str(machine.leader(faulty.lab, one))
    probe = "import socket,sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], 9))"
    address = neighbour_entry(faulty, one.name, other.name)
    for command in (address, ["python3", "-c", probe, str(other.address)]):
        subprocess.run(["nsenter", "--target", pid, "--net", *command], check=True)
    assert (received(faulty, other.name) > before) == (direction == "in")

    faulty.must("fault", "undo", one.name)
    until(lambda: logs_in(faulty, one.name))


def neighbour_entry(command: LabCommand, own: str, other: str) -> list[str]:
    # ARP needs both directions; without this entry nothing would be sent at all.
    mac = command.must("shell", other, "--", "cat", "/sys/class/net/host0/address").strip()
    address = str(command.lab.machine(other).address)
    return ["ip", "neighbour", "replace", address, "lladdr", mac, "dev", "host0", "nud", "permanent"]


def received(command: LabCommand, name: str) -> int:
    """UDP datagrams for a port that nobody holds, as this machine's kernel counted them."""
    text = command.must("shell", name, "--", "cat", "/proc/net/snmp")
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["NoPorts"])


def test_slow_delays_round_trips_from_everywhere(faulty: LabCommand) -> None:
    one, other = faulty.lab.machine("spare-wrk-1"), "spare-wrk-2"
    faulty.must("fault", "slow", one.name, "--delay-ms", str(DELAY_MS))
    took = faulty.must("shell", other, "--", "python3", "-c", CONNECT, str(one.address))
    assert float(took) * 1000 >= DELAY_MS
    assert wire.delayed(faulty.lab, one)
    assert "that slow already" in faulty.must("fault", "slow", one.name, "--delay-ms", str(DELAY_MS))

    faulty.must("fault", "undo", one.name, "slow")
    took = faulty.must("shell", other, "--", "python3", "-c", CONNECT, str(one.address))
    assert float(took) * 1000 < DELAY_MS  # 2 s for one round trip on this host: not even a loaded one takes that
    until(lambda: logs_in(faulty, one.name))
    assert not wire.delayed(faulty.lab, one)


def test_a_slow_machine_passes_packets_if_the_delayer_dies(faulty: LabCommand) -> None:
    one = faulty.lab.machine("spare-wrk-1")
    faulty.must("fault", "slow", one.name, "--delay-ms", "2000")
    machine.Group(f"{faulty.lab.group}/delayer-{one.name}").kill()
    until(lambda: accepts(faulty, one.name))  # each try is a connection of its own, and has half of the delay


def test_loss_of_everything_is_silence(faulty: LabCommand) -> None:
    name = "spare-wrk-2"
    faulty.must("fault", "slow", name, "--loss-percent", "100")
    assert not accepts(faulty, name)
    faulty.must("fault", "undo", name)
    until(lambda: accepts(faulty, name))  # whoever found no neighbour asks again after a second


def test_a_full_drive_takes_no_file_until_it_is_undone(faulty: LabCommand) -> None:
    name = "spare-srv-1"
    write = ("shell", name, "--", "sh", "-c", "echo x > /mnt/drive-1/new && rm /mnt/drive-1/new")
    faulty.must(*write)
    faulty.must("fault", "fill", name)
    refused = faulty(*write)
    assert refused.returncode != 0
    assert "No space left on device" in refused.stderr
    faulty.must("fault", "undo", name)
    faulty.must(*write)


def test_the_hosts_own_disk_is_never_filled(faulty: LabCommand) -> None:
    refused = faulty("fault", "fill", "spare-srv-1", "--path", "/")
    assert refused.returncode == 1
    assert "at most 4 GiB" in refused.stderr
    assert "no such directory" in faulty("fault", "fill", "spare-srv-1", "--path", "/nowhere").stderr


def test_reboot_ends_with_a_new_boot_that_answers(faulty: LabCommand) -> None:
    one = faulty.lab.machine("spare-srv-2")
    before = machine.leader(faulty.lab, one)
    faulty.must("shell", one.name, "--", "sysctl", "-w", "vm.swappiness=7")
    faulty.must("fault", "reboot", one.name)
    assert machine.leader(faulty.lab, one) != before
    assert faulty.must("shell", one.name, "--", "sysctl", "-n", "vm.swappiness") == "60\n"  # as a kernel starts


def test_a_fault_that_cannot_be_read_is_refused(faulty: LabCommand) -> None:
    for arguments in (("slow", "spare-srv-1"), ("undo", "spare-srv-1", "flood"), ("flood", "spare-srv-1")):
        assert faulty("fault", *arguments).returncode == 1
    assert listed(faulty) == []
