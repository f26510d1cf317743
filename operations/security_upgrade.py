"""unattended-upgrades: security upgrades every night, each node in a slot of its own, and a reboot only within it."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyinfra.api import operation

from operations import service
from operations.config_file import Commands

LISTS_TIMER = "apt-daily.timer"
UPGRADE_TIMER = "apt-daily-upgrade.timer"
REBOOT_TIMER = "unterbau-reboot.timer"
LEAD_MINUTES = 30  # lists and packages are fetched so long before the slot

# Security origins only, of Debian and of Ubuntu. The two #clear lines drop what the package's own file allows.
APT_CONF = """\
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
APT::Periodic::AutocleanInterval "7";
#clear Unattended-Upgrade::Origins-Pattern;
#clear Unattended-Upgrade::Allowed-Origins;
Unattended-Upgrade::Origins-Pattern {
  "origin=Debian,codename=${distro_codename},label=Debian-Security";
  "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
  "origin=Ubuntu,archive=${distro_codename}-security";
};
Unattended-Upgrade::MinimalSteps "true";
Unattended-Upgrade::Remove-Unused-Kernel-Packages "true";
// The reboot is unterbau-reboot.timer's: in UTC, and never later than this node's slot.
Unattended-Upgrade::Automatic-Reboot "false";
Unattended-Upgrade::SyslogEnable "true";
"""

REBOOT_SERVICE = """\
[Unit]
Description=Reboot this node, in its slot, if an upgrade asked for it
ConditionPathExists=/run/reboot-required

[Service]
Type=oneshot
# An upgrade that still runs holds this lock: then the reboot waits for the next night.
ExecCondition=/usr/bin/flock --nonblock /var/lib/apt/daily_lock true
ExecStart=/usr/bin/systemctl --no-block reboot
"""


def timer(at: str) -> str:
    """Once a night at HH:MM UTC, exactly then or not at all: a missed night is not made up for by day."""
    return (
        f"[Timer]\nOnCalendar=\nOnCalendar=*-*-* {at}:00 UTC\nRandomizedDelaySec=0\nAccuracySec=1s\nPersistent=false\n"
    )


def later(at: str, minutes: int) -> str:
    """HH:MM, so many minutes later (earlier, if negative), over midnight too."""
    return (datetime.strptime(at, "%H:%M") + timedelta(minutes=minutes)).strftime("%H:%M")


@operation()
def fetched(slot_start: str) -> Commands:
    """Package lists and packages are fetched before `slot_start`, HH:MM in UTC: `nightly` installs what they say."""
    files = {f"/etc/systemd/system/{LISTS_TIMER}.d/unterbau.conf": timer(later(slot_start, -LEAD_MINUTES))}
    yield from service.converge(LISTS_TIMER, files)


@operation()
def nightly(slot_start: str) -> Commands:
    """Security upgrades are installed at `slot_start`, HH:MM in UTC."""
    files = {
        "/etc/apt/apt.conf.d/99unterbau": APT_CONF,
        f"/etc/systemd/system/{UPGRADE_TIMER}.d/unterbau.conf": timer(slot_start),
    }
    yield from service.converge(UPGRADE_TIMER, files)


@operation()
def reboot_in_slot(slot_start: str, slot_minutes: int) -> Commands:
    """A reboot that an upgrade asked for happens in the middle of the slot, so that the node is back before its end.

    Args:
        slot_start: HH:MM in UTC.
        slot_minutes: length of the slot. An upgrade that takes more than half of it reboots the next night.
    """
    description = "[Unit]\nDescription=The time at which this node may reboot\n\n"
    files = {
        "/etc/systemd/system/unterbau-reboot.service": REBOOT_SERVICE,
        f"/etc/systemd/system/{REBOOT_TIMER}": description
        + timer(later(slot_start, slot_minutes // 2))
        + "\n[Install]\nWantedBy=timers.target\n",
    }
    yield from service.converge(REBOOT_TIMER, files)
