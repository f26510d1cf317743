"""`unterbau vault`."""

from __future__ import annotations

import unterbau.cooperative  # noqa: F401  # isort: skip  # first: it makes the standard library cooperative (gevent)

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from unterbau.declaration import DeclarationError, load
from unterbau.domain.snapshot_age import words
from unterbau.plan.session import SessionError
from unterbau.vault import status
from unterbau.vault.snapshot_cli import restore_command, secret_id_command, snapshot_command
from unterbau.vault.status import ClusterStatus, MemberStatus

HEAD = ("member", "state", "version", "raft index", "audit free", "certificate until")


@click.group()
def vault() -> None:
    """The Vault cluster: how it does."""


vault.add_command(snapshot_command)
vault.add_command(restore_command)
vault.add_command(secret_id_command)


@vault.command("status")
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")
def status_command(environment: str, as_json: bool) -> None:
    """Show how each member of ENVIRONMENT's cluster does.

    Exit 0: all is well. 2: it serves, but something is wrong. 1: it does not serve, or could not be read.
    """
    try:
        found = status.read(load(environment, Path.cwd()), Path.cwd())
    except (DeclarationError, SessionError) as error:
        if as_json:
            click.echo(json.dumps({"error": str(error), "exit_code": status.FAILED}, indent=2))
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else table(found))
    sys.exit(found.exit_code)


def table(found: ClusterStatus) -> str:
    """A row a member, then what is wrong."""
    rows = [HEAD, *(_row(one) for one in found.members)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *_snapshot(found), *_wrong(found)])


def _row(one: MemberStatus) -> tuple[str, ...]:
    rooms = [_mib(room) for room in (one.audit_free_bytes or {}).values()]
    index = "-" if one.applied_index is None else str(one.applied_index)
    return (one.name, one.state, one.version or "-", index, ", ".join(rooms) or "-", one.certificate_ends_at or "-")


def _mib(room: int | None) -> str:
    return "missing" if room is None else f"{room / 2**20:.0f} MiB"


def _snapshot(found: ClusterStatus) -> Iterator[str]:
    newest = found.newest_snapshot
    if newest is not None:
        yield f"newest snapshot: {newest.newest_at} on {newest.member}, {words(newest.newest_age_s or 0)} ago"
    elif found.snapshot_every_hours:
        yield "newest snapshot: there is none yet"


def _wrong(found: ClusterStatus) -> Iterator[str]:
    for one in found.members:
        for problem in one.problems:
            yield f"! {one.name}: {problem}"
    if found.overdue:
        yield f"! {found.overdue}; see `journalctl -u openbao-snapshot` on the leader"
    if found.leader is None:
        yield "! no member answers requests"
