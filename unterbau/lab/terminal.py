"""What the lab's commands say, and for whom."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, lab_from


def our_lab() -> Lab:
    """The lab of the environment. LabError for anybody but root."""
    if os.geteuid() != 0:  # keys and records are root's: to anyone else a lab would look empty
        raise LabError("cannot work on the lab: it takes root; run it with sudo")
    return lab_from()


def progress(json_wanted: bool) -> Callable[[str], None]:
    """Where progress is told: beside JSON, on stderr."""

    def say(line: str) -> None:
        click.echo(line, err=json_wanted)

    return say


def table(rows: list[dict[str, Any]]) -> None:
    """A line a machine."""
    for row in rows:
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f} MiB"
        took = row.get("login_s")
        ending = f"up {row['uptime_s']:.0f} s" if took is None else f"SSH after {took:.1f} s"
        on = "".join(f"  {described(fault)}" for fault in row["faults"])
        click.echo(f"{row['name']:<12} {row['address']:<12} {row['state']:<8} {memory:>8}  {ending}{on}")


def described(fault: dict[str, Any]) -> str:
    """A fault and its options."""
    options = "".join(f" {name}={value}" for name, value in fault["options"].items())
    return f"{fault['kind']}{options}"
