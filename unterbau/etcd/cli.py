"""`unterbau etcd`."""

from __future__ import annotations

import unterbau.cooperative  # noqa: F401  # isort: skip  # first: it makes the standard library cooperative (gevent)

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from unterbau.declaration import DeclarationError, load
from unterbau.domain import etcd as rules
from unterbau.domain.snapshot_age import words
from unterbau.etcd import status
from unterbau.etcd.restore_cli import restore_command, snapshot_command
from unterbau.etcd.status import EtcdStatus, MemberStatus
from unterbau.plan.session import SessionError

HEAD = (
    "server",
    "state",
    "version",
    "database",
    "in use",
    "quota",
    "raft index",
    "fsync p99",
    "commit p99",
    "elections",
)
SNAPSHOT_HEAD = ("snapshot", "place", "taken", "size", "token", "can be restored")
Environment = click.argument("environment")
Json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")


@click.group()
def etcd() -> None:
    """K3s' etcd: how it does, its snapshots, and the way back to one."""


etcd.add_command(snapshot_command)
etcd.add_command(restore_command)


@etcd.command("status")
@Environment
@Json
def status_command(environment: str, as_json: bool) -> None:
    """Show how each member of ENVIRONMENT's etcd does.

    Exit 0: all is well. 2: it serves, but something is wrong, a snapshot that nobody can restore for example.
    1: it takes no writes, or could not be read.
    """
    found = _read(environment, as_json)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else table(found))
    sys.exit(found.exit_code)


@etcd.command("snapshots")
@Environment
@Json
def snapshots_command(environment: str, as_json: bool) -> None:
    """List the snapshots of ENVIRONMENT's etcd, newest first, and which of them can be restored.

    Exit 0: all of them can. 2: some cannot, or there is none. 1: nobody could say.
    """
    found = _read(environment, as_json)
    if as_json:
        click.echo(json.dumps(_listed(found), indent=2))
    else:
        click.echo("nobody could say which snapshots there are" if found.snapshots is None else snapshot_table(found))
    sys.exit(_code(found))


def _code(found: EtcdStatus) -> int:
    if found.snapshots is None:
        return status.FAILED
    return status.DEGRADED if found.unusable or found.newest is None else status.HEALTHY


def _listed(found: EtcdStatus) -> dict[str, object]:
    snapshots = None
    if found.snapshots is not None:
        snapshots = [{**vars(one), "usable": rules.usable(one, found.kept)} for one in found.snapshots]
    return {"snapshots": snapshots, "tokens_kept": list(found.kept), "exit_code": _code(found)}


def _read(environment: str, as_json: bool) -> EtcdStatus:
    try:
        return status.read(load(environment, Path.cwd()), Path.cwd())
    except (DeclarationError, SessionError) as error:
        if as_json:
            click.echo(json.dumps({"error": str(error), "exit_code": status.FAILED}, indent=2))
        raise click.ClickException(str(error)) from error


def table(found: EtcdStatus) -> str:
    """A row a server, then the newest snapshot, then what is wrong."""
    lines = [*_aligned([HEAD, *(_row(one) for one in found.servers)]), *_newest(found), *_wrong(found)]
    return "\n".join(lines)


def snapshot_table(found: EtcdStatus) -> str:
    """A row a snapshot, then why some cannot be restored."""
    rows = [
        (one.name, one.place, one.taken_at, _mib(one.size_bytes), one.token_hash or "-", rules.usable(one, found.kept))
        for one in found.snapshots or ()
    ]
    return "\n".join([*_aligned([SNAPSHOT_HEAD, *rows]), *(f"! {said}" for said in found.unusable)])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(one: MemberStatus) -> tuple[str, ...]:
    share = one.db_in_use_bytes / one.db_size_bytes if one.db_size_bytes and one.db_in_use_bytes is not None else None
    return (
        one.name, one.state, one.version or "-", _mib(one.db_size_bytes), "-" if share is None else f"{share:.0%}",
        _mib(one.quota_bytes), _number(one.raft_applied_index), _ms(one.fsync_p99_s), _ms(one.commit_p99_s),
        _number(one.leader_changes),
    )  # fmt: skip


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f} MiB"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _newest(found: EtcdStatus) -> Iterator[str]:
    if found.snapshots is None:
        yield "newest snapshot: nobody could say"
    elif found.newest is None:
        yield "newest snapshot: there is none that can be restored"
    else:
        one = found.newest
        yield f"newest snapshot: {one.name} in {one.place}, {words(one.age_s)} ago"


def _wrong(found: EtcdStatus) -> Iterator[str]:
    for one in found.servers:
        for problem in one.problems:
            yield f"! {one.name}: {problem}"
    yield from (f"! {problem}" for problem in (*found.problems, *found.unusable))
