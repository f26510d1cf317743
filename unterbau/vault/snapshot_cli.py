"""`unterbau vault snapshot`, `restore` and `secret-id`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from unterbau.declaration import DeclarationError, load
from unterbau.plan.session import SessionError
from unterbau.vault import snapshot
from unterbau.vault.connection import Cluster, VaultError, cluster, write_secret

File = click.Path(dir_okay=False, path_type=Path)
Env = click.option(
    "--env", "environment", required=True, metavar="ENV", help="The environment; none is taken for granted."
)


@contextmanager
def _connected(environment: str, *, lock: bool = False) -> Iterator[Cluster]:
    try:
        with cluster(load(environment, Path.cwd()), Path.cwd(), lock=lock) as found:
            yield found
    except (DeclarationError, SessionError, VaultError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.command("snapshot")
@Env
@click.option("-o", "--output", type=File, required=True, help="The file to write; FILE.json beside it.")
def snapshot_command(environment: str, output: Path) -> None:
    """Write all that Vault holds, sealed, to a file of mode 0600."""
    with _connected(environment) as found:
        made = snapshot.take(found, output)
    key = next(iter(made.seal_keys))
    click.echo(f"{output}: cluster {made.cluster}, raft index {made.raft_index}, opens with {key}")
    click.echo(f"keep {output}.json with it")


@click.command("restore")
@Env
@click.argument("file", type=File)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def restore_command(environment: str, file: Path, yes: bool) -> None:
    """Replace all that Vault holds by a snapshot. What was written since is lost."""
    try:
        sidecar = snapshot.read_sidecar(file)
    except VaultError as error:
        raise click.ClickException(str(error)) from error
    if not yes:  # before anything is connected: no lock is kept alive while somebody thinks
        click.confirm(
            f"Replace all that Vault of {environment} holds by the snapshot of {sidecar.taken_at}, "
            f"cluster {sidecar.cluster}, raft index {sidecar.raft_index}?",
            abort=True,
            err=True,
        )
    with _connected(environment, lock=True) as found:
        snapshot.restore(found, file, sidecar)
    click.echo(f"restored {file}: Vault holds what it held at {sidecar.taken_at}, and every member serves it")


@click.command("secret-id")
@Env
@click.argument("role")
@click.option("-o", "--output", type=File, required=True, help="The file to write.")
@click.option("--life", "life_s", type=click.IntRange(1, 3600), default=600, show_default=True, help="Seconds.")
def secret_id_command(environment: str, role: str, output: Path, life_s: int) -> None:
    """Write a token that gives a secret id of the AppRole ROLE, once, to a file of mode 0600.

    Who unwraps it first has it: if that was somebody else, the second attempt fails and tells.
    """
    with _connected(environment) as found:
        write_secret(output, found.wrapped_secret_id(role, life_s))
    click.echo(f"{output}: a wrapped secret id of {role}; unwrap it within {life_s} s")
