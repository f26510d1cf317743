"""`unterbau etcd snapshot` and `restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from unterbau.declaration import DeclarationError, load
from unterbau.domain.unknown import Unknown
from unterbau.etcd.abandon import abandon
from unterbau.etcd.connection import Cluster, Remote, cluster
from unterbau.etcd.restore import HERE, Restore, RestoreError
from unterbau.etcd.source import placed
from unterbau.plan.session import SessionError
from unterbau.secrets.store import StoreError

NAME = "unterbau"
Env = click.option(
    "--env", "environment", required=True, metavar="ENV", help="The environment; none is taken for granted."
)


@contextmanager
def _connected(environment: str, *, everybody: bool) -> Iterator[Cluster]:
    try:
        with cluster(load(environment, Path.cwd()), Path.cwd(), everybody=everybody) as found:
            yield found
    except (DeclarationError, SessionError, RestoreError, StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.command("snapshot")
@Env
def snapshot_command(environment: str) -> None:
    """Take a snapshot of ENVIRONMENT's etcd now, where K3s keeps its own."""
    with _connected(environment, everybody=False) as found:
        leader = next((one for one in found.servers if _leads(one)), None)
        if leader is None:
            raise RestoreError("cannot take a snapshot: found no server whose etcd leads; see `unterbau etcd status`")
        said = leader.run(f"{HERE.k3s} etcd-snapshot save --name {NAME}")
    click.echo(said, err=True)
    click.echo(f"taken on {leader.name}; `unterbau etcd snapshots {environment}` lists it")


def _leads(server: Remote) -> bool:
    found = server.member()
    if isinstance(found, Unknown) or found["cluster"]["leader_id"] is None:
        return False
    return bool(found["cluster"]["self_id"] == found["cluster"]["leader_id"])


@click.command("restore")
@Env
@click.option(
    "--from", "source", default="", metavar="SNAPSHOT", help="A file, SERVER:NAME or s3:NAME; else the newest."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--abandon", "back", is_flag=True, help="Take back a restore that was begun and has not ended.")
def restore_command(environment: str, source: str, yes: bool, back: bool) -> None:
    """Put the whole cluster back to what it was in a snapshot. What was written since is lost.

    All servers stop, one becomes a cluster of one out of the snapshot, the others join it again one by one. Nothing is
    stopped for a snapshot that is damaged or opens with no token that the store has. Killed in the middle, the same
    command goes on where it was, once it is told by name what it goes on with.
    """
    if back and source:
        raise click.UsageError("--abandon takes no --from: what was begun is known on the servers")
    if back:
        _abandon(environment, yes=yes)
        return
    if not yes:  # before anything is connected: no lock is kept alive while somebody thinks
        click.confirm(
            f"Replace all that Kubernetes of {environment} holds by {source or 'its newest snapshot'}, and stop its "
            "API meanwhile?",
            abort=True,
            err=True,
        )
    with _connected(environment, everybody=True) as found:
        snapshot = placed(found, source)
        work = Restore(
            snapshot.checked,
            found.servers,
            found.agents,
            found.url,
            tell=lambda line: click.echo(line, err=True),
            opened=found.keep,
            name=snapshot.name,
        )
        work.carry_out()
    click.echo(f"restored {snapshot.name}: {len(found.servers)} servers vote, all nodes are Ready; apply now")


def _abandon(environment: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(f"Put {environment} back to what it had before the restore that was begun?", abort=True, err=True)
    with _connected(environment, everybody=True) as found:
        said = abandon(found.servers, found.agents, lambda line: click.echo(line, err=True))
    click.echo(f"{said}; see `unterbau etcd status {environment}`, then apply")
