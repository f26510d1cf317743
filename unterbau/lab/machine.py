"""One machine: its boot, its state, its end. Kept apart from the other four on purpose."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab import drive, network
from unterbau.lab.cgroup import Group
from unterbau.lab.layout import Lab, Machine
from unterbau.lab.process import start

# Mounts in a mount namespace that ends with it, joins the `devices` cgroup (in which it could not open loop devices),
# and boots until the machine is switched off. 133: a reboot from inside. Whatever is left then is killed, itself too. A
# host with cgroup v2 alone has no such group: there, device nodes are dead on all that the machine has for a disk.
_BOOT = """\
set -eu
cd "$1"
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
nodes=dev
[ -n "$3" ] || nodes=nodev
mount -t overlay overlay -o "$nodes,lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
while read -r filesystem name; do mount -t "$filesystem" -o "loop,$nodes" "$1/$name.img" "$1/$name"; done <<DRIVES
$5
DRIVES
[ -z "$3" ] || echo $$ > "$3/cgroup.procs"
end=$4
wiring=$6
shift 6
while :; do
  [ -z "$wiring" ] || sh -eu "$wiring"
  rm -rf settings
  cp -r settings.usual settings
  code=0
  "$@" || code=$?
  [ "$code" = 133 ] || break
done
echo 1 > "$end/cgroup.kill"
"""


@dataclass(frozen=True)
class Facts:
    """What a machine is doing: state is running, paused or down; memory is None and uptime_s 0 when it is down."""

    name: str
    address: str
    state: str
    memory_mib: float | None
    uptime_s: float


def group(lab: Lab, machine: Machine) -> Group:
    """Everything that belongs to the running machine lives in this control group."""
    return Group(f"{lab.group}/{machine.key}")


def facts(lab: Lab, machine: Machine) -> Facts:
    """The machine's state, from its control group."""
    members = group(lab, machine)
    if not members.populated():
        return Facts(machine.name, str(machine.address), "down", None, 0.0)
    memory = members.memory_bytes()
    state = "paused" if members.frozen() else "running"
    memory_mib = None if memory is None else round(memory / 2**20, 1)
    return Facts(machine.name, str(machine.address), state, memory_mib, _uptime_s(leader(lab, machine)))


def leader(lab: Lab, machine: Machine) -> int | None:
    """The host's process id of the machine's PID 1; None while there is none."""
    for pid in group(lab, machine).processes():
        try:
            numbers = _status(pid)["NSpid"].split()
        except (OSError, KeyError):
            continue
        if len(numbers) == 2 and numbers[-1] == "1":  # a container's PID 1 has three
            return pid
    return None


def supervised(lab: Lab, machine: Machine) -> bool:
    """Whether the machine runs and its systemd-nspawn, which boots it again after a reboot, does too."""
    if leader(lab, machine) is None:
        return False
    return "systemd-nspawn" in {program(pid) for pid in group(lab, machine).processes()}


def program(pid: int) -> str:
    """The first word of a process's command line; "" if it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()  # a name is cut after 15 bytes
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _uptime_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    try:
        started_ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0.0
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK"), 1)


def boot(lab: Lab, machine: Machine) -> None:
    """Start the machine in the background; returns at once."""
    drive.make(machine)
    members = group(lab, machine)
    directory = machine.directory
    limits = [path for path in members.create(controllers=True) if "/devices/" in str(path)]
    command = [
        "unshare", "--mount", "--propagation", "slave",
        "sh", "-c", _BOOT, "sh", str(directory), machine.complete.read_text().strip(),
        str(limits[0]) if limits else "", str(members.unified), drive.mounts(),
        str(machine.wiring) if machine.unit else "",
        *_entering(lab, machine, "systemd-nspawn", "--quiet", "--directory", str(directory / "root")),
        "--machine", machine.key, "--boot",
        "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        "--console=read-only",
        "--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_RAWIO",
        "--system-call-filter=add_key keyctl",  # the session keyring of containers
        *(f"--bind={directory}/{one.name}:{one.path}" for one in drive.DRIVES),
        f"--bind={directory}/settings:/run/lab-settings",
        "--bind=/dev/kmsg",  # the kubelet reads there what the kernel killed for want of memory
    ]  # fmt: skip
    start(members, command, log=directory / "console.log", controllers=True, later=limits)


def _entering(lab: Lab, machine: Machine, *nspawn: str) -> list[str]:
    """A cloud server's network is there before it boots, and changes while it runs: nspawn begins in the middle of it.

    Of a network that is not private for it, nspawn would leave the settings read-only.
    """
    if not machine.unit:
        return [*nspawn, f"--network-bridge={lab.bridge}"]
    inside = ["nsenter", f"--net={machine.directory / 'netns'}", "env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"]
    return [*inside, *nspawn]


def stop(lab: Lab, machine: Machine) -> None:
    """Switch the machine off at once and remove its control group; its disk stays."""
    group(lab, machine).kill()
    group(lab, machine).remove()
    network.unplug(machine)
    drive.await_release(machine)
