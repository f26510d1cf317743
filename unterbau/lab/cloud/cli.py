# ruff: noqa: PLC0415  # imports wait for their command
"""`unterbau lab cloud`: an API server that speaks Hetzner's protocol, whose servers are machines of the lab."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from unterbau.lab.terminal import our_lab, progress, table

_json = click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")


@click.group()
def cloud() -> None:
    """A cloud whose API is Hetzner's, and whose servers are machines on this one."""


@cloud.command()
@_json
def up(json_wanted: bool) -> None:
    """Have the cloud answer, and boot those of its servers that should run and do not. It needs no other machine."""
    from unterbau.lab import lifecycle
    from unterbau.lab.cloud import service

    here = our_lab()
    made = lifecycle.cloud_up(here, progress(json_wanted))
    state = service.state(here)
    if json_wanted:
        click.echo(json.dumps({"changed": bool(made), "put_in_place": made, **asdict(state)}))
        return
    click.echo(f"put in place: {', '.join(made)}" if made else "nothing to do: the cloud was up")
    click.echo(f"it answers at {state.endpoint}; its token is the secret {service.TOKEN}")


@cloud.command()
@_json
def down(json_wanted: bool) -> None:
    """Take the cloud away, with all its servers and their disks. The lab's other machines and its network stay."""
    from unterbau.lab import lifecycle

    changed = lifecycle.cloud_down(our_lab(), progress(json_wanted))
    if json_wanted:
        click.echo(json.dumps({"changed": changed}))
    else:
        click.echo("the cloud is gone" if changed else "nothing to do: there was no cloud")


@cloud.command()
@_json
def status(json_wanted: bool) -> None:
    """Whether the cloud answers and where, its servers' machines, and the faults that are on."""
    from unterbau.lab import lifecycle
    from unterbau.lab.cloud import remote, service

    here = our_lab()
    state = service.state(here)
    rows = [row for row in lifecycle.status(here) if row["name"] in service.names(here)]
    faults = remote.faults(here) if state.state == "running" else []
    if json_wanted:
        click.echo(json.dumps({**asdict(state), "machines": rows, "faults": faults}))
        return
    click.echo(f"{state.state}  {state.endpoint}  public addresses {state.public}")
    table(rows)
    for one in faults:
        click.echo(_told(one))


@cloud.group()
def fault() -> None:
    """Have the cloud fail: what is on shows in `status` and `fault list`, and outlives a restart."""


@fault.command("add")
@click.argument("kind")
@click.option("--times", type=int, help="How often, then it is gone; without: until it is cleared.")
@click.option("--method", help="Of requests with this method only.")
@click.option("--path", help="Of requests whose path begins so, as in /servers.")
@click.option("--page", type=int, help="Of this page only (dropped_page).")
@click.option("--status", type=int, help="500, 502, 503 or 504 (error, lost_answer).")
@click.option("--server-type", help="For servers of this type (sold_out, no_placement, half_created).")
@click.option("--location", help="At this location (sold_out, no_placement, half_created).")
@click.option("--shown", is_flag=True, default=None, help="The catalogue says so, too (sold_out).")
@click.option("--command", help="Of actions with this command, as in create_server (slow, failing).")
@click.option("--code", help="The error of the action (failing).")
@click.option("--seconds", type=float, help="How much longer the action takes (slow).")
@_json
def add(kind: str, json_wanted: bool, **narrowed: Any) -> None:
    """Switch on a fault of a KIND.

    KIND: rate_limited, error, lost_answer, dropped_page, sold_out, no_placement, slow, failing, half_created.
    """
    from unterbau.lab.cloud import remote

    number = remote.add_fault(
        our_lab(), {"kind": kind, **{name: value for name, value in narrowed.items() if value is not None}}
    )
    click.echo(json.dumps({"id": number}) if json_wanted else f"fault {number} is on: {kind}")


@fault.command("list")
@_json
def listing(json_wanted: bool) -> None:
    """Every fault that is on."""
    from unterbau.lab.cloud import remote

    found = remote.faults(our_lab())
    if json_wanted:
        click.echo(json.dumps({"faults": found}))
        return
    for one in found:
        click.echo(_told(one))
    if not found:
        click.echo("no fault is on")


@fault.command("clear")
@click.argument("number", type=int, required=False)
def clear(number: int | None) -> None:
    """Switch off the fault with that NUMBER, or all."""
    from unterbau.lab.cloud import remote

    remote.clear_faults(our_lab(), number)
    click.echo("no fault is on" if number is None else f"fault {number} is off")


def _told(one: dict[str, Any]) -> str:
    narrowed = "".join(f" {name}={value}" for name, value in one.items() if name not in ("id", "kind") and value)
    return f"fault {one['id']}: {one['kind']}{narrowed}"
