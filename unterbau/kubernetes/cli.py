"""`unterbau kubernetes`."""

from __future__ import annotations

import unterbau.cooperative  # noqa: F401  # isort: skip  # first: it makes the standard library cooperative (gevent)

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from unterbau.declaration import DeclarationError, load
from unterbau.kubernetes import kubeconfig, status
from unterbau.kubernetes.connection import Cluster, KubernetesError, cluster
from unterbau.kubernetes.status import ClusterStatus
from unterbau.plan.session import SessionError

File = click.Path(dir_okay=False, path_type=Path)
HEAD = ("node", "state", "roles", "version")
WRONG = (DeclarationError, SessionError, KubernetesError, OSError)


@click.group()
def kubernetes() -> None:
    """The Kubernetes cluster: how it does, and a way in for operators."""


@contextmanager
def _connected(environment: str) -> Iterator[Cluster]:
    with cluster(load(environment, Path.cwd()), Path.cwd()) as found:
        yield found


@kubernetes.command("status")
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")
def status_command(environment: str, as_json: bool) -> None:
    """Show how ENVIRONMENT's cluster and its nodes do.

    Exit 0: all is well. 2: something is wrong. 1: no node is ready, or the API could not be read.
    """
    try:
        with _connected(environment) as found:
            seen = status.read(found, found.declared())
    except WRONG as error:
        if as_json:
            click.echo(json.dumps({"error": str(error), "exit_code": status.FAILED}, indent=2))
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(seen.to_json(), indent=2) if as_json else table(seen))
    sys.exit(seen.exit_code)


def table(seen: ClusterStatus) -> str:
    """A row a node, then what is wrong."""
    rows = [HEAD, *((one.name, _state(one), ",".join(one.roles) or "-", one.version or "-") for one in seen.nodes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"API {seen.version}", *(f"! {one}" for one in seen.problems())])


def _state(one: status.NodeStatus) -> str:
    return ("ready" if one.ready else "not ready") + ("" if one.schedulable else ", cordoned")


@kubernetes.command("kubeconfig")
@click.option("--env", "environment", required=True, metavar="ENV", help="The environment; none is taken for granted.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write."
)
@click.option("--user", default=getpass.getuser, help="Whose it is; the audit log names it. By itself, you.")
@click.option("--admin", is_flag=True, help="All rights, instead of reading everything but Secrets.")
@click.option("--life", "life_h", type=click.IntRange(1, 24), default=8, show_default=True, help="Hours.")
@click.option("--server", metavar="URL", help="Another URL, a forwarded port for example: https://127.0.0.1:6443.")
def kubeconfig_command(  # noqa: PLR0913, PLR0917  # options
    environment: str, output: Path, user: str, admin: bool, life_h: int, server: str | None
) -> None:
    """Write a kubeconfig with a key of its own to a file of mode 0600. It ends by itself."""
    try:
        with _connected(environment) as found:
            text = kubeconfig.made(found, user, admin=admin, life_s=life_h * 3600, server=server)
        kubeconfig.write(output, text)
    except WRONG as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}: {user}, {'all rights' if admin else 'may read all but Secrets'}, for {life_h} h")
