"""The audit logs of OpenBao: rotated, so that they do not fill their file systems."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import operation

from facts.openbao import UNIT, USER
from operations import service
from operations.config_file import Commands
from operations.openbao_config import HEADER, malformed
from unterbau import changes

LOGROTATE = "/etc/logrotate.d/unterbau-openbao"
LOGROTATE_HOURLY = "/etc/systemd/system/logrotate.timer.d/unterbau.conf"
LOGROTATE_HOURLY_TEXT = HEADER + "[Timer]\nOnCalendar=\nOnCalendar=hourly\nAccuracySec=5m\n"


@operation()
def rotated(audit_paths: Sequence[str]) -> Commands:
    """The audit logs are rotated every day, and sooner if they grow: looked at every hour.

    Args:
        audit_paths: the logs.
    """
    if sentence := malformed(audit_paths):
        yield from changes.refuse(f"cannot rotate the audit logs of OpenBao on {host.name}: {sentence}")
        return
    files = {LOGROTATE: logrotate(audit_paths), LOGROTATE_HOURLY: LOGROTATE_HOURLY_TEXT}
    yield from service.converge("logrotate.timer", files)


def logrotate(audit_paths: Sequence[str]) -> str:
    """Rotation of the audit logs, as their owner; the server opens them anew at a SIGHUP."""
    return HEADER + "\n".join(
        [
            " ".join(audit_paths) + " {",
            f"  su {USER} {USER}",
            "  daily",
            "  maxsize 8M",
            "  rotate 30",
            "  compress",
            "  missingok",
            "  notifempty",
            "  nocreate",
            "  sharedscripts",
            "  postrotate",
            f"    ! systemctl --quiet is-active {UNIT} || systemctl reload {UNIT}",
            "  endscript",
            "}",
            "",
        ]
    )
