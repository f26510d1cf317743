"""journald: kept over boots, and never so large that it takes the disk from others."""

from __future__ import annotations

from pyinfra.api import operation

from operations import service
from operations.config_file import Commands

UNIT = "systemd-journald.service"
PATH = "/etc/systemd/journald.conf.d/unterbau.conf"


def journald_conf(max_use_mib: int, keep_free_mib: int, max_retention_days: int) -> str:
    """The drop-in; journald takes M as MiB. Source: journald.conf(5)."""
    return (
        "# Declared in group data (journal); changes made here are undone.\n[Journal]\nStorage=persistent\n"
        f"SystemMaxUse={max_use_mib}M\nSystemKeepFree={keep_free_mib}M\nMaxRetentionSec={max_retention_days}day\n"
    )


@operation()
def limited(*, max_use_mib: int, keep_free_mib: int, max_retention_days: int) -> Commands:
    """The journal is on the disk, within these limits.

    Args:
        max_use_mib: the most it may take.
        keep_free_mib: what it leaves free on its file system.
        max_retention_days: how long entries are kept.
    """
    yield from service.converge(UNIT, {PATH: journald_conf(max_use_mib, keep_free_mib, max_retention_days)})
