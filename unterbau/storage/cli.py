"""`unterbau storage`."""

from __future__ import annotations

import unterbau.cooperative  # noqa: F401  # isort: skip  # first: it makes the standard library cooperative (gevent)

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from unterbau.connectors.s3_commands import BUCKET
from unterbau.declaration import DeclarationError, load
from unterbau.plan.interrupts import Interrupts
from unterbau.plan.session import SessionError
from unterbau.storage import heal, status
from unterbau.storage.connection import StorageError, service
from unterbau.storage.heal import Result
from unterbau.storage.status import DriveStatus, NodeStatus, StorageStatus

NODE_HEAD = ("node", "state", "version", "drives", "certificate until")
SET_HEAD = ("set", "drives", "reads need", "writes need", "now")

INTERRUPTED = "interrupted; healing goes on on the servers for at most 1000 objects more; heal again for the rest"
SHOWN = 20  # of what is not whole; `--json` has more

Environment = click.argument("environment")
Json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")


@click.group()
def storage() -> None:
    """Object storage: how it does, and healing."""


@storage.command("status")
@Environment
@Json
def status_command(environment: str, as_json: bool) -> None:
    """Show how each node and erasure set of ENVIRONMENT does, and what may still fail.

    Exit 0: all is well. 2: it serves, but something is wrong. 1: it refuses writes, or could not be read.
    Whether every object has all of its shards only `heal` can tell.
    """
    try:
        found = status.read(load(environment, Path.cwd()), Path.cwd(), _tell)
    except (DeclarationError, SessionError) as error:
        _fail(str(error), as_json)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else table(found))
    sys.exit(found.exit_code)


@storage.command("heal")
@Environment
@click.option("--bucket", default="", help="Only this bucket.")
@click.option("--deep", is_flag=True, help="Read every byte: damage that no read has met is found, too.")
@Json
def heal_command(environment: str, bucket: str, deep: bool, as_json: bool) -> None:
    """Give every object of ENVIRONMENT all of its shards again, and wait for it.

    Needed after a node or drive was away: what was written meanwhile lacks its shards. Exit 0: all is whole. 1: not.
    """
    if bucket and not re.fullmatch(BUCKET, bucket, re.ASCII):
        _fail(f"cannot heal {bucket!r}: found no bucket's name; name one, or none for all", as_json)
    try:
        with Interrupts(), service(load(environment, Path.cwd()), Path.cwd()) as found:
            result = heal.heal(found, bucket, _tell, deep=deep)
    except (DeclarationError, SessionError, StorageError) as error:
        _fail(str(error), as_json)
    except KeyboardInterrupt:
        _fail(INTERRUPTED, as_json)
    click.echo(json.dumps({**asdict(result), "whole": result.whole}, indent=2) if as_json else report(result))
    sys.exit(status.HEALTHY if result.whole else status.FAILED)


def report(result: Result) -> str:
    """A line that counts, then what is not whole."""
    more = result.unhealed - SHOWN
    return "\n".join(
        [
            heal.words(result),
            *(f"! {one}" for one in result.unhealed_first[:SHOWN]),
            *([f"! and {more} more"] if more > 0 else []),
            *([f"! cannot say that all is healed: {result.error}"] if result.error else []),
        ]
    )


def table(found: StorageStatus) -> str:
    """A row a node, a row a set, what it holds, then what is wrong."""
    lines = list(_aligned([NODE_HEAD, *(_node(one) for one in found.nodes)]))
    if found.sets:
        rows = [
            (one.name, f"{one.online} of {one.drives}", str(one.read_quorum), str(one.write_quorum), str(one.left))
            for one in found.sets
        ]
        lines += ["", *_aligned([SET_HEAD, *rows]), ""]
    if usage := found.usage:
        counted = f"objects {usage['objects']}, buckets {usage['buckets']}, {_size(usage['bytes'])}"
        lines.append(f"{counted}, as the servers counted last")
    return "\n".join([*lines, *(f"! {problem}" for problem in found.problems)])


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _node(one: NodeStatus) -> tuple[str, ...]:
    drives = ", ".join(_drive(drive) for drive in one.drives) or "-"
    return (one.name, one.state, one.version or "-", drives, one.certificate_ends_at or "-")


def _drive(drive: DriveStatus) -> str:
    state = "healing" if drive.healing else drive.state
    room = f" {_size(drive.used_bytes)} of {_size(drive.total_bytes)}" if drive.total_bytes else ""
    return f"{drive.path} {state}{room}"


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _fail(sentence: str, as_json: bool) -> NoReturn:
    if as_json:
        failed: dict[str, Any] = {"error": sentence, "exit_code": status.FAILED}
        click.echo(json.dumps(failed, indent=2))
    raise click.ClickException(sentence)
