# ruff: noqa: PLC0415  # imports wait for their command, so that a lab that is up costs `up` no time
"""`unterbau lab`: five Debian machines on this one, and their faults. Exit codes: 0 fine, 1 anything that failed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from unterbau.lab.errors import LabError
from unterbau.lab.layout import lab_from


class LabGroup(click.Group):
    """A group whose failures, wrong usage included, are one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a LabError is told, not traced."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from error
        except click.UsageError as error:
            raise click.ClickException(error.format_message()) from error


def _say(json_wanted: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        click.echo(line, err=json_wanted)

    return say


def _table(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f} MiB"
        took = row.get("login_s")
        ending = f"up {row['uptime_s']:.0f} s" if took is None else f"SSH after {took:.1f} s"
        click.echo(f"{row['name']:<12} {row['address']:<12} {row['state']:<8} {memory:>8}  {ending}")


@click.group(cls=LabGroup)
def lab() -> None:
    """Five Debian machines on this one (srv-1..3, wrk-1..2), and their faults. Takes root."""


@lab.command()
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")
def up(json_wanted: bool) -> None:
    """Bring all five machines up; those that run are left alone.

    Installs what this machine lacks, builds the root file system once, repairs what a crash left over. The disks of
    machines that are there are kept.
    """
    from unterbau.lab import lifecycle

    here = lab_from()
    outcome = lifecycle.up(here, _say(json_wanted))
    rows = [{**row, "login_s": outcome.booted.get(row["name"])} for row in lifecycle.status(here)]
    if json_wanted:
        found = {"machines": rows, "errors": outcome.errors, "seconds": round(outcome.seconds, 2)}
        click.echo(json.dumps({"changed": bool(outcome.booted), **found}))
    else:
        _table(rows)
    if outcome.errors:
        raise LabError("; ".join(outcome.errors.values()))
    if not json_wanted:
        click.echo(_closing(outcome.booted))


def _closing(booted: dict[str, float]) -> str:
    if not booted:
        return "nothing to do: all five machines were up"
    return f"{len(booted)} booted, all five answer SSH after {max(booted.values()):.1f} s"


@lab.command()
@click.option("--purge-cache", is_flag=True, help="Remove the cached root file systems as well.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
def down(purge_cache: bool, json_wanted: bool) -> None:
    """Take the machines, their disks and their network away; caches stay."""
    from unterbau.lab import lifecycle

    changed = lifecycle.down(lab_from(), _say(json_wanted), purge_cache=purge_cache)
    if json_wanted:
        click.echo(json.dumps({"changed": changed}))
    else:
        click.echo("the lab is down" if changed else "nothing to do: there was no lab")


@lab.command()
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
def status(json_wanted: bool) -> None:
    """Each machine's state (running, paused, down), memory, time since boot and faults."""
    from unterbau.lab import lifecycle

    here = lab_from()
    rows = lifecycle.status(here)
    if json_wanted:
        click.echo(json.dumps({"machines": rows}))
    else:
        _table(rows)


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(node: str, command: tuple[str, ...]) -> None:
    """A root shell on NODE, or `-- COMMAND` there: its exit code is passed on."""
    import shlex

    from unterbau.lab import ssh

    here = lab_from()
    one = here.machine(node)
    if not here.known_hosts.exists():
        raise LabError(f"cannot reach {node}: the lab is down; run `unterbau lab up`")
    if command[:1] == ("--",):
        command = command[1:]
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    line = ssh.command(here, one, *map(shlex.quote, command), terminal=terminal)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606  # ssh takes this process's place, so that signals and exit code are its own
