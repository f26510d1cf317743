"""What a machine has before its first boot: its own files over the root file system that all share."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab import drive
from unterbau.lab.layout import PROXY_PORT, Lab, Machine

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
# systemd-nspawn hands all v1 hierarchies but systemd's own over read-only; a container runtime makes groups in each.
# What is shown there begins at the machine's own group: it can reach no other's. With v2 alone everything is writable.
_GROUPS_UNIT = """\
[Unit]
Description=Control groups of this machine, writable for a container runtime
DefaultDependencies=no
Before=sysinit.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for c in /sys/fs/cgroup/*/; do \
  [ ! -e $c/cgroup.procs ] || [ -w $c ] || mount -o remount,bind,rw,nosuid,nodev,noexec $c; done'

[Install]
WantedBy=sysinit.target
"""
_UNITS = {"lab-settings.service": _SETTINGS_UNIT, "lab-control-groups.service": _GROUPS_UNIT}


@dataclass(frozen=True)
class Identity:
    """Who a machine is: name, who may log in, host keys by file name, a systemd-networkd file ("": it needs none)."""

    hostname: str
    authorized_keys: str
    host_keys: Mapping[str, str]
    network: str


def identity(lab: Lab, machine: Machine) -> Identity:
    """One of the five: its keys were made and pinned with the lab."""
    keys = lab.state / "ssh" / "hosts" / machine.name
    host_keys = {name: (keys / name).read_text() for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub")}
    operator = lab.key.with_suffix(".pub").read_text()
    return Identity(machine.name, operator, host_keys, network_file(lab, machine))


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


def prepare(lab: Lab, machine: Machine, rootfs: Path, who: Identity | None = None) -> None:
    """Write what the machine (`who` it is, else one of the five) needs before its first boot.

    One that was written in part is begun anew.
    """
    if machine.complete.exists():
        return
    shutil.rmtree(machine.directory, ignore_errors=True)
    for name in ("upper", "work", "root"):
        (machine.directory / name).mkdir(parents=True)
    machine.upper.chmod(0o755)
    _write_settings(machine)
    _write_system(lab, machine, who or identity(lab, machine))
    machine.complete.write_text(f"{rootfs}\n")


def _write_settings(machine: Machine) -> None:
    for name, value in SHARED_SETTINGS.items():
        if Path("/proc/sys", name).exists():
            file = machine.directory / "settings.usual" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")


def _write_system(lab: Lab, machine: Machine, who: Identity) -> None:
    etc = machine.upper / "etc"
    for name in ("ssh", "systemd/network", "systemd/journald.conf.d", "apt/apt.conf.d"):
        (etc / name).mkdir(parents=True)
    (machine.upper / "root/.ssh").mkdir(mode=0o700, parents=True)
    (machine.upper / "root").chmod(0o700)
    for one in drive.DRIVES:
        (machine.upper / one.path[1:]).mkdir(parents=True)
    (machine.upper / "root/.ssh/authorized_keys").write_text(who.authorized_keys)
    (etc / "hostname").write_text(f"{who.hostname}\n")
    (etc / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
    if who.network:
        (etc / "systemd/network/10-lab.network").write_text(who.network)
    # The kernel's messages are the host's, about all machines: the kubelet needs them, this machine's journal does not.
    (etc / "systemd/journald.conf.d/10-lab.conf").write_text("[Journal]\nReadKMsg=no\n")
    (etc / "apt/apt.conf.d/90lab").write_text(f'Acquire::http::Proxy "http://{lab.gateway}:{PROXY_PORT}";\n')
    _write_units(etc / "systemd/system")
    for name, text in who.host_keys.items():
        target = etc / "ssh" / name
        target.touch(mode=0o644 if name.endswith(".pub") else 0o600)
        target.write_text(text)


def _write_units(directory: Path) -> None:
    wants = directory / "sysinit.target.wants"
    wants.mkdir(parents=True)
    for name, text in _UNITS.items():
        (directory / name).write_text(text)
        (wants / name).symlink_to(f"/etc/systemd/system/{name}")
