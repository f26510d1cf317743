"""`unterbau artifacts`: what is pinned, what is here, and whether it still is what was pinned."""

from __future__ import annotations

import json
from typing import Any

import click

from unterbau.artifacts.errors import ArtifactError
from unterbau.artifacts.fetch import fetch, sources_of
from unterbau.artifacts.lock import Artifact, artifact, read_lock
from unterbau.artifacts.store import ABSENT, DAMAGED, WHOLE, ContentStore

DONE, FAILED, WARNINGS = 0, 1, 2
SAID = {WHOLE: "whole", DAMAGED: "damaged: not the pinned file; `fetch` replaces it", ABSENT: "not in the store"}

Names = click.argument("names", nargs=-1, metavar="[NAME...]")
Json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")


@click.group()
def artifacts() -> None:
    """Binaries that nodes get: list, fetch and verify what locks/artifacts.yaml pins."""


@artifacts.command("list")
@Names
@Json
def list_command(names: tuple[str, ...], as_json: bool) -> int:
    """Each artifact, its version, its sources in order, and whether it is in the store."""
    try:
        rows = [_row(one, ContentStore()) for one in _chosen(names)]
    except ArtifactError as error:
        return _failed(error, as_json)
    if as_json:
        click.echo(json.dumps({"artifacts": rows}))
        return DONE
    for row in rows:
        click.echo(f"{row['name']:<12} {row['version']:<12} {row['architecture']:<6} {_size(row)}  {_place(row)}")
        click.echo(f"  STAND-IN: {row['stand_in']}\n" if row["stand_in"] else "", nl=False)
        click.echo("".join(f"  {source}\n" for source in row["sources"]), nl=False)
    return DONE


@artifacts.command("fetch")
@Names
@Json
def fetch_command(names: tuple[str, ...], as_json: bool) -> int:
    """Have each artifact in the store, verified. A plan fetches nothing; an apply fetches what it needs by itself."""
    fetched, errors = [], {}
    try:
        for one in _chosen(names):
            try:
                fetched += [one.name] if fetch(one, _tell) else []
            except ArtifactError as error:
                errors[one.name] = str(error)
    except ArtifactError as error:
        return _failed(error, as_json)
    if as_json:
        click.echo(json.dumps({"changed": bool(fetched), "fetched": fetched, "errors": errors}))
    else:
        _tell("\n".join(errors.values())) if errors else None
        click.echo(f"fetched {', '.join(fetched)}" if fetched else "nothing to do" if not errors else "nothing fetched")
    return FAILED if errors else DONE


@artifacts.command("verify")
@Names
@Json
def verify_command(names: tuple[str, ...], as_json: bool) -> int:
    """Hash what is in the store again. 0: all whole; 2: some are not there; 1: one is not what was pinned."""
    try:
        found = {one.name: ContentStore().verify(one) for one in _chosen(names)}
    except ArtifactError as error:
        return _failed(error, as_json)
    if as_json:
        click.echo(json.dumps({"artifacts": found}))
    else:
        click.echo("".join(f"{name:<12} {SAID[state]}\n" for name, state in found.items()), nl=False)
    return FAILED if DAMAGED in found.values() else WARNINGS if ABSENT in found.values() else DONE


def _chosen(names: tuple[str, ...]) -> list[Artifact]:
    return [artifact(name) for name in names] or list(read_lock().values())


def _row(one: Artifact, store: ContentStore) -> dict[str, Any]:
    path = store.find(one)
    return {
        "name": one.name,
        "version": one.version,
        "architecture": one.architecture,
        "sha256": one.sha256,
        "size_bytes": one.size_bytes,
        "stand_in": one.stand_in,
        "sources": [str(source) for source in sources_of(one)],
        "path": None if path is None else str(path),
    }


def _size(row: dict[str, Any]) -> str:
    return f"{row['size_bytes'] / 2**20:>6.1f} MiB"


def _place(row: dict[str, Any]) -> str:
    return row["path"] or "not in the store"


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _failed(error: ArtifactError, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"error": str(error)}))
    _tell(str(error))
    return FAILED
