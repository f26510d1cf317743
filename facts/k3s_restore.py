"""Whether a restore of etcd was begun on a server and has not ended: until then nobody else may start K3s there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

# The command `unterbau etcd restore` leaves its id there; see unterbau.etcd.restore_steps, begin.
MARKER = "/var/lib/unterbau/etcd-restore/under-way"
READING = f"! test -e {MARKER} || {{ printf 'restore %s\\n' \"$(cat {MARKER})\"; }}"


class Restore(TypedDict, total=False):
    """What a fact says besides, while a restore is under way on its server; else nothing."""

    restore: str  # its id


def restore_of(output: Sequence[str]) -> Restore:
    """What `READING` printed."""
    said = [line.removeprefix("restore ") for line in output if line.startswith("restore ")]
    return {"restore": said[0]} if said else {}
