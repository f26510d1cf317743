"""`unterbau secrets`: see, set and rotate what is in an environment's store. Only `reveal` ever prints a value."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from unterbau.audit.ledger import LedgerError
from unterbau.declaration import DeclarationError, Environment, Secret, SecretStore, load
from unterbau.secrets import generator
from unterbau.secrets.declared import united
from unterbau.secrets.errors import StoreError
from unterbau.secrets.identity import new_identity
from unterbau.secrets.listing import listing, table
from unterbau.secrets.payload import Version
from unterbau.secrets.store import New, Store

FAILED, WARNINGS = 1, 2
LARGEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Opened:
    """An environment's store, and what the environment says of it."""

    environment: Environment
    declaration: SecretStore
    store: Store
    as_json: bool

    @property
    def declared(self) -> dict[str, Secret]:
        """{name: declaration}."""
        return {str(one.name): one for one in united(self.environment.data.values())}

    def say(self, text: str, document: dict[str, Any]) -> None:
        """One of the two, on standard output."""
        click.echo(json.dumps(document, indent=2, ensure_ascii=False) if self.as_json else text)


def _opened(env: str, as_json: bool) -> Opened:
    environment = load(env, Path.cwd())
    found = [one for one in environment.endpoints if isinstance(one, SecretStore)]
    if not found:
        raise StoreError(
            f"cannot find the store of {env}: its inventory declares none; add a group with endpoints(SecretStore(…))"
        )
    return Opened(environment, found[0], Store(found[0].path, found[0].identity), as_json)


@contextmanager
def _errors_as_sentences(as_json: bool) -> Iterator[None]:
    try:
        yield
    except (DeclarationError, StoreError, LedgerError) as error:
        if as_json:
            problems = [problem.to_json() for problem in getattr(error, "problems", ())]
            document = {"error": str(error), "problems": problems, "exit_code": FAILED}
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        raise click.ClickException(str(error)) from error


def _of_environment(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --env and --json, and the store they mean."""

    @click.option("--env", required=True, metavar="ENV", help="The environment; none is taken for granted.")
    @click.option("--json", "as_json", is_flag=True, help="JSON on standard output, nothing else there.")
    @functools.wraps(command)
    def wrapped(env: str, as_json: bool, **arguments: Any) -> None:
        with _errors_as_sentences(as_json):
            command(_opened(env, as_json), **arguments)

    return wrapped


@click.group("secrets")
def secrets() -> None:
    """The environment's secrets: one age-encrypted file, and a trail of who changed what."""


@secrets.command("list")
@_of_environment
def list_command(opened: Opened) -> None:
    """Which secrets there are, how old, made by whom. Exit 2: one is overdue, or missing and nothing makes it."""
    rows = listing(opened.store.read(), opened.declared, datetime.now(UTC))
    document = {"store": str(opened.store.path), "secrets": [asdict(row) for row in rows]}
    opened.say(table(rows), document)
    sys.exit(WARNINGS if any(row.needs_attention for row in rows) else 0)


@secrets.command("reveal")
@click.argument("name")
@click.option("--version", "number", type=int, metavar="N", help="An older one; the current if not given.")
@_of_environment
def reveal_command(opened: Opened, name: str, number: int | None) -> None:
    """Print the value of NAME. The trail keeps that you did."""
    version = _version(opened.store, name, number)
    try:
        opened.store.record("reveal", name, version.number)
    except StoreError as error:
        raise StoreError(
            f"cannot reveal {name} without a line in the trail: {error}; in need: `age -d -i {opened.store.identity} "
            f"{opened.store.path} | jq -r '.secrets[\"{name}\"][-1].value'`"
        ) from error
    opened.say(version.value, {"name": name, "version": version.number, "value": version.value})


def _version(store: Store, name: str, number: int | None) -> Version:
    current = store.version(name)
    if number is None:
        return current
    if not 1 <= number <= current.number:
        raise StoreError(f"cannot find version {number} of {name}: there are 1 to {current.number}")
    return store.read().secrets[name][number - 1]


@secrets.command("set")
@click.argument("name")
@_of_environment
def set_command(opened: Opened, name: str) -> None:
    """Store a new version of NAME, from standard input or asked for without echo; never from the command line.

    One newline at the end of a single line is left out.
    """
    value = _asked(name) if sys.stdin.isatty() else _read_value(sys.stdin.buffer.read(LARGEST_BYTES + 1), name)
    current = opened.store.read().current(name)
    if current is not None and current.value == value:
        number, said = current.number, "has this value already, nothing was stored"
    else:
        number, said = (
            _store(opened, name, value, "set"),
            f"the next `unterbau apply {opened.environment.name}` uses it",
        )
    known = "" if name in opened.declared else f" ({opened.environment.name} does not declare it)"
    opened.say(f"{name}: version {number}{known}; {said}", {"name": name, "version": number})


def _asked(name: str) -> str:
    value: str = click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True)
    return value


def _read_value(read: bytes, name: str) -> str:
    if len(read) > LARGEST_BYTES:
        raise StoreError(
            f"cannot store the secret {name}: found more than {LARGEST_BYTES} bytes; this is no place for files"
        )
    try:
        text = read.decode()
    except UnicodeDecodeError:
        raise StoreError(
            f"cannot store the secret {name}: found bytes that are no UTF-8; encode it as base64"
        ) from None
    return text[:-1] if text.count("\n") == 1 and text.endswith("\n") else text


@secrets.command("rotate")
@click.argument("name")
@_of_environment
def rotate_command(opened: Opened, name: str) -> None:
    """Make a new version of NAME, as it is declared. Consumers get it with the next apply."""
    declared = opened.declared.get(name)
    if declared is None or declared.kind is None:
        opened.store.version(name)  # unknown altogether: say what is near
        found = "nothing declares it" if declared is None else "it is declared without a kind"
        by_hand = f"unterbau secrets set {name} --env {opened.environment.name}"
        raise StoreError(f"cannot make a new {name}: {found}; set it with `{by_hand}`")
    number = _store(opened, name, generator.make(declared.kind, datetime.now(UTC)), "rotate")
    made = generator.described(declared.kind)
    said = f"{name}: version {number}, {made}; consumers get it by `unterbau apply {opened.environment.name}`"
    opened.say(said, {"name": name, "version": number})


def _store(opened: Opened, name: str, value: str, action: str) -> int:
    number = opened.store.read().number(name)
    opened.store.commit([New(name, value, number, datetime.now(UTC), action)])
    return number + 1


@secrets.command("create")
@click.option("--recipient", "recipients", multiple=True, metavar="KEY", help="age1… or an SSH public key; may repeat.")
@_of_environment
def create_command(opened: Opened, recipients: tuple[str, ...]) -> None:
    """Make the environment's store, and your identity if its file is not there. What is there stays as it is."""
    identity = opened.store.identity
    opened.store.check_not_lost()
    if not identity.exists() and not opened.store.path.exists():  # else the old one is missed, not a new one
        new_identity(identity)
    store = Store.create(opened.declaration.path, identity, recipients)
    found = store.read().recipients
    said = f"{store.path}, for {len(found)} recipients: {'; '.join(found)}\nkeep {identity} safe: nothing else opens it"
    opened.say(said, {"store": str(store.path), "identity": str(identity), "recipients": list(found)})


@secrets.command("verify")
@click.option("--accept", is_flag=True, help="Go on with a trail that disagrees; the trail will say so.")
@_of_environment
def verify_command(opened: Opened, accept: bool) -> None:
    """Open the store, follow its trail from the first line to the last, and finish what a killed run left."""
    accepted = opened.store.accept() if accept else None
    found = opened.store.verify()
    parts = [
        f"secrets: {found.secrets}, versions: {found.versions}, lines of the trail: {found.lines}; they hold together"
    ]
    if found.completed:
        parts.append(f"of a run that was killed, lines that were added now: {found.completed}")
    if accepted:
        parts.append(f"accepted: {accepted}")
    opened.say("; ".join(parts), {**asdict(found), "accepted": accepted})


@secrets.group("recipients")
def recipients() -> None:
    """Who can open the store."""


@recipients.command("list")
@_of_environment
def recipients_list(opened: Opened) -> None:
    """The public keys that the store is encrypted for."""
    found = opened.store.read().recipients
    opened.say("\n".join(found), {"recipients": list(found)})


@recipients.command("add")
@click.argument("key")
@_of_environment
def recipients_add(opened: Opened, key: str) -> None:
    """Let whoever has the private half of KEY (age1… or an SSH public key) read everything."""
    added = opened.store.add_recipient(key)
    opened.say("added; it can read everything, old versions too" if added else "it is one already", {"added": added})


@recipients.command("remove")
@click.argument("key")
@_of_environment
def recipients_remove(opened: Opened, key: str) -> None:
    """Encrypt for KEY no longer. It may have kept what it could read: rotate that."""
    opened.store.remove_recipient(key)
    said = "removed; it may have kept what it could read, and copies of the old file: rotate what matters"
    opened.say(said, {"removed": True})
