"""One machine: its files before it boots, its boot, its state. Kept apart from the other four on purpose."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab import drive, network
from unterbau.lab.cgroup import Group
from unterbau.lab.layout import PROXY_PORT, Lab, Machine
from unterbau.lab.process import start

# Kernel settings that all machines on one kernel would share. Each machine gets a plain file over them, holding the
# kernel's usual value, so that it can set them without touching the host. Values are short: systemd-sysctl writes
# without truncating, and a value shorter than the one before would keep its tail.
SHARED_SETTINGS = {
    "fs/aio-max-nr": "65536",
    "fs/file-max": "65536",
    "fs/inotify/max_queued_events": "16384",
    "fs/inotify/max_user_instances": "128",
    "fs/inotify/max_user_watches": "8192",
    "fs/protected_fifos": "0",
    "fs/protected_hardlinks": "0",
    "fs/protected_regular": "0",
    "fs/protected_symlinks": "0",
    "fs/suid_dumpable": "0",
    "kernel/core_pattern": "core",
    "kernel/core_uses_pid": "0",
    "kernel/dmesg_restrict": "0",
    "kernel/keys/root_maxbytes": "25000000",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/kexec_load_disabled": "0",
    "kernel/kptr_restrict": "0",
    "kernel/panic": "0",
    "kernel/panic_on_oops": "0",
    "kernel/perf_event_paranoid": "2",
    "kernel/pid_max": "32768",
    "kernel/randomize_va_space": "2",
    "kernel/sysrq": "1",
    "kernel/unprivileged_bpf_disabled": "0",
    "kernel/yama/ptrace_scope": "0",
    "net/core/bpf_jit_harden": "0",
    "net/netfilter/nf_conntrack_max": "65536",
    "vm/max_map_count": "65530",
    "vm/overcommit_memory": "0",
    "vm/panic_on_oom": "0",
    "vm/swappiness": "60",
}
# Runs before anything inside sets a kernel parameter: the plain files have to lie over the kernel's own by then.
_SETTINGS_UNIT = """\
[Unit]
Description=Kernel settings of this machine only
DefaultDependencies=no
Before=systemd-sysctl.service sysinit.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory=/run/lab-settings
ExecStart=/bin/sh -ec 'find . -type f | while read -r f; do [ ! -e /proc/sys/$f ] || mount --bind $f /proc/sys/$f; done'

[Install]
WantedBy=sysinit.target
"""
# Mounts in a mount namespace that ends with it, joins the `devices` cgroup (in which it could not open loop devices),
# and boots until the machine is switched off. 133: a reboot from inside. Whatever is left then is killed, itself too.
_BOOT = """\
set -eu
cd "$1"
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
while read -r filesystem name; do mount -t "$filesystem" -o loop "$1/$name.img" "$1/$name"; done <<DRIVES
$5
DRIVES
[ -z "$3" ] || echo $$ > "$3/cgroup.procs"
end=$4
shift 5
while :; do
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
    return Group(f"{lab.group}/{machine.name}")


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
        if len(numbers) > 1 and numbers[-1] == "1":
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


def network_file(lab: Lab, machine: Machine) -> str:
    """The machine's systemd-networkd file: a static address; the gateway is there, and refuses to pass anything on."""
    return f"""\
[Match]
Name=host0

[Network]
Address={machine.address}/{lab.subnet.prefixlen}
Gateway={lab.gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
LLDP=no
EmitLLDP=no
"""


def prepare(lab: Lab, machine: Machine, rootfs: Path) -> None:
    """Write what the machine needs before its first boot; one that was written in part is begun anew."""
    if machine.complete.exists():
        return
    shutil.rmtree(machine.directory, ignore_errors=True)
    for name in ("upper", "work", "root"):
        (machine.directory / name).mkdir(parents=True)
    machine.upper.chmod(0o755)
    _write_settings(machine)
    _write_system(lab, machine)
    machine.complete.write_text(f"{rootfs}\n")


def _write_settings(machine: Machine) -> None:
    for name, value in SHARED_SETTINGS.items():
        if Path("/proc/sys", name).exists():
            file = machine.directory / "settings.usual" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")


def _write_system(lab: Lab, machine: Machine) -> None:
    etc = machine.upper / "etc"
    for name in ("ssh", "systemd/network", "apt/apt.conf.d"):
        (etc / name).mkdir(parents=True)
    (machine.upper / "root/.ssh").mkdir(mode=0o700, parents=True)
    (machine.upper / "root").chmod(0o700)
    for one in drive.DRIVES:
        (machine.upper / one.path[1:]).mkdir(parents=True)
    (machine.upper / "root/.ssh/authorized_keys").write_text(lab.key.with_suffix(".pub").read_text())
    (etc / "hostname").write_text(f"{machine.name}\n")
    (etc / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
    (etc / "systemd/network/10-lab.network").write_text(network_file(lab, machine))
    (etc / "apt/apt.conf.d/90lab").write_text(f'Acquire::http::Proxy "http://{lab.gateway}:{PROXY_PORT}";\n')
    unit = etc / "systemd/system/lab-settings.service"
    wants = unit.parent / "sysinit.target.wants"
    wants.mkdir(parents=True)
    unit.write_text(_SETTINGS_UNIT)
    (wants / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
        target = etc / "ssh" / name
        shutil.copyfile(lab.state / "ssh" / "hosts" / machine.name / name, target)
        target.chmod(0o644 if name.endswith(".pub") else 0o600)


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
        "systemd-nspawn", "--quiet", "--directory", str(directory / "root"), "--machine", machine.name, "--boot",
        "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        "--console=read-only", f"--network-bridge={lab.bridge}",
        "--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_RAWIO",
        *(() if limits else ("--drop-capability=CAP_MKNOD",)),  # nothing else keeps it off the host's disks then
        "--system-call-filter=add_key keyctl",  # the session keyring of containers
        *(f"--bind={directory}/{one.name}:{one.path}" for one in drive.DRIVES),
        f"--bind={directory}/settings:/run/lab-settings",
    ]  # fmt: skip
    start(members, command, log=directory / "console.log", controllers=True, later=limits)


def stop(lab: Lab, machine: Machine) -> None:
    """Switch the machine off at once and remove its control group; its disk stays."""
    group(lab, machine).kill()
    group(lab, machine).remove()
    network.unplug(machine)
    drive.await_release(machine)
