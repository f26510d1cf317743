# ruff: noqa: PLC0415  # imports wait for their command, so that a lab that is up costs `up` no time
"""`unterbau lab`: five Debian machines on this one, and their faults. Exit codes: 0 fine, 1 anything that failed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from unterbau.lab import everyone
from unterbau.lab.cloud.cli import cloud
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, Machine
from unterbau.lab.terminal import described, our_lab, progress, table


class LabGroup(click.Group):
    """A group whose failures, wrong usage included, are one sentence and exit code 1."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the group's own options."""
        with _failing_with_1():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _failing_with_1():
            return super().invoke(ctx)


@contextmanager
def _failing_with_1() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        raise click.ClickException(str(error)) from error
    except click.UsageError as error:
        error.show()  # click's own exit code would be 2, which means changes or warnings here
        raise click.exceptions.Exit(1) from error


@click.group(cls=LabGroup)
def lab() -> None:
    """Five Debian machines on this one (srv-1..3, wrk-1..2), and their faults. Takes root."""


lab.add_command(cloud)


@lab.command()
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")
def up(json_wanted: bool) -> None:
    """Bring all machines up; those that run are left alone. Five, or if there is a cloud its servers.

    Installs what this machine lacks, builds the root file system once, repairs what a crash left over. The disks of
    machines that are there are kept.
    """
    from unterbau.lab import lifecycle

    here = our_lab()
    outcome = lifecycle.up(here, progress(json_wanted))
    rows = [{**row, "login_s": outcome.booted.get(row["name"])} for row in lifecycle.status(here)]
    if json_wanted:
        changed = bool(outcome.booted or outcome.put_in_place)
        found = {"machines": rows, "errors": outcome.errors, "seconds": round(outcome.seconds, 2)}
        click.echo(json.dumps({"changed": changed, "put_in_place": outcome.put_in_place, **found}))
    else:
        table(rows)
    if outcome.errors:
        raise LabError("\n".join(outcome.errors.values()))
    if not json_wanted:
        click.echo(_closing(outcome.booted, outcome.put_in_place, len(rows)))


def _closing(booted: dict[str, float], put_in_place: list[str], machines: int) -> str:
    parts = f"put in place: {', '.join(put_in_place)}; " if put_in_place else ""
    if booted:
        return f"{parts}{len(booted)} booted, all {machines} answer SSH after {max(booted.values()):.1f} s"
    return f"{parts or 'nothing to do: '}all {machines} machines were up"


@lab.command()
@click.option("--purge-cache", is_flag=True, help="Remove the cached root file systems as well.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
def down(purge_cache: bool, json_wanted: bool) -> None:
    """Take the machines, their disks and their network away; caches stay."""
    from unterbau.lab import lifecycle

    changed = lifecycle.down(our_lab(), progress(json_wanted), purge_cache=purge_cache)
    if json_wanted:
        click.echo(json.dumps({"changed": changed}))
    else:
        click.echo("the lab is down" if changed else "nothing to do: there was no lab")


@lab.command()
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")
def status(json_wanted: bool) -> None:
    """Each machine's state (running, paused, down), memory, time since boot and faults."""
    from unterbau.lab import lifecycle

    here = our_lab()
    rows = lifecycle.status(here)
    if json_wanted:
        click.echo(json.dumps({"machines": rows}))
    else:
        table(rows)


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(node: str, command: tuple[str, ...]) -> None:
    """A root shell on NODE, or `-- COMMAND` there: its exit code is passed on."""
    import shlex

    from unterbau.lab import ssh

    here = our_lab()
    one = everyone.machine(here, node)
    if not one.unit and not here.known_hosts.exists():
        raise LabError(f"cannot reach {node}: the lab is down; run `unterbau lab up`")
    if command[:1] == ("--",):
        command = command[1:]
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    line = ssh.command(here, one, *map(shlex.quote, command), terminal=terminal)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606  # ssh takes this process's place, so that signals and exit code are its own


@lab.group()
def fault() -> None:
    """Do something to a machine, and take it back. What is on shows in `status` and `fault list`."""


def _do(node: str, act: Callable[[Lab, Machine], str]) -> None:
    from unterbau.lab import lifecycle

    here = our_lab()
    one = everyone.machine(here, node)
    with lifecycle.locked(here, click.echo):
        click.echo(act(here, one))


@fault.command("kill")
@click.argument("node")
def kill(node: str) -> None:
    """Switch NODE off as if its power went. Its disk stays; `lab up` or undo boots it again."""
    from unterbau.lab import faults

    _do(node, faults.kill)


@fault.command("pause")
@click.argument("node")
def pause(node: str) -> None:
    """Freeze NODE: it accepts connections and answers nothing."""
    from unterbau.lab import faults

    _do(node, faults.pause)


@fault.command("cut")
@click.argument("node")
@click.option("--direction", type=click.Choice(["in", "out", "both"]), default="both", show_default=True,
              help="Drop what NODE receives, what it sends, or both.")  # fmt: skip
def cut(node: str, direction: str) -> None:
    """Take NODE off the network."""
    from unterbau.lab import faults

    _do(node, lambda here, one: faults.cut(here, one, direction))


@fault.command("slow")
@click.argument("node")
@click.option("--delay-ms", type=click.FloatRange(0, 10_000), default=0, help="Added to each packet that NODE sends.")
@click.option("--loss-percent", type=click.FloatRange(0, 100), default=0, help="Of the frames that NODE sends.")
def slow(node: str, delay_ms: float, loss_percent: float) -> None:
    """Make NODE's network slow, lossy or both: each round trip takes that much longer."""
    from unterbau.lab import faults

    if not delay_ms and not loss_percent:
        raise LabError(f"cannot slow {node}: no --delay-ms and no --loss-percent; give at least one above 0")
    _do(node, lambda here, one: faults.slow(here, one, delay_ms, loss_percent))


@fault.command("fill")
@click.argument("node")
@click.option("--path", default="/mnt/drive-1", show_default=True, help="A directory in the file system to fill.")
def fill(node: str, path: str) -> None:
    """Fill NODE's drive (or another small file system) to the last byte."""
    from unterbau.lab import faults

    _do(node, lambda here, one: faults.fill(here, one, path))


@fault.command("reboot")
@click.argument("node")
def reboot(node: str) -> None:
    """Reboot NODE in order and wait until it answers. There is nothing to undo."""
    from unterbau.lab import faults

    _do(node, faults.reboot)


@fault.command("undo")
@click.argument("node", required=False)
@click.argument("kind", required=False)
def undo(node: str | None, kind: str | None) -> None:
    """Take back every fault: of NODE only, of KIND (kill, pause, cut, slow, fill) only."""
    from unterbau.lab import faults, lifecycle

    here = our_lab()
    if node is not None:
        everyone.machine(here, node)
    if kind is not None and kind not in faults.KINDS:
        raise LabError(f"cannot undo {kind!r}: no such fault; use {', '.join(faults.KINDS)}")
    with lifecycle.locked(here, click.echo):
        if not lifecycle.undo(here, node, kind, click.echo):
            click.echo("nothing to undo")


@fault.command("list")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON array on stdout.")
def listing(json_wanted: bool) -> None:
    """Every fault that is on, and since when."""
    from dataclasses import asdict

    from unterbau.lab import faults

    found = [asdict(one) for one in faults.active(our_lab())]
    if json_wanted:
        click.echo(json.dumps(found))
        return
    for one in found:
        click.echo(f"{one['node']:<12} {described(one)}, since {one['since']}")
    if not found:
        click.echo("no fault is on")
