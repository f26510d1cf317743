"""`unterbau secrets`: the same exit codes as everywhere, and no value but from `reveal`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from click.testing import CliRunner, Result

from unterbau.secrets import cli
from unterbau.secrets.identity import new_identity
from unterbau.secrets.store import New, Store

BASE = Path(__file__).parent.parent / "bad" / "base"
NOW = datetime.now(UTC)
Run = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the environment demo, its store not yet made."""
    root = Path(shutil.copytree(BASE, tmp_path / "checkout"))
    inventory = root / "inventories" / "demo.py"
    inventory.write_text(
        inventory.read_text().replace("Node, hosts", "Node, SecretStore, endpoints, hosts")
        + f"store = endpoints(SecretStore(path='secrets/demo.age', identity='{tmp_path}/identity.txt'))\n"
    )
    data = root / "group_data" / "demo.py"
    data.write_text(
        data.read_text()
        + "from unterbau.declaration import Password, Secret\n"
        + "secrets = (Secret(name='db/password', kind=Password(), rotate_after_days=30), Secret(name='by-hand'))\n"
    )
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Store:
    new_identity(tmp_path / "identity.txt")
    return Store.create(root / "secrets" / "demo.age", tmp_path / "identity.txt")


@pytest.fixture
def run(root: Path) -> Run:
    def run(*arguments: str, given: str | bytes | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(cli.secrets, [*arguments, "--env", "demo"], input=given)
        assert result.exit_code == code, result.output
        return result

    return run


def test_a_store_is_created_with_an_identity_once(run: Run, root: Path, tmp_path: Path) -> None:
    other = str(pyrage.x25519.Identity.generate().to_public())
    first = json.loads(run("create", "--recipient", other, "--json").stdout)
    assert first["recipients"][0] == other
    assert len(first["recipients"]) == 2
    before = (root / "secrets" / "demo.age").read_bytes(), (tmp_path / "identity.txt").read_bytes()
    again = json.loads(run("create", "--json").stdout)
    assert again == first
    assert ((root / "secrets" / "demo.age").read_bytes(), (tmp_path / "identity.txt").read_bytes()) == before
    assert "AGE-SECRET" not in json.dumps(first)


def test_a_lost_identity_is_missed_not_replaced(run: Run, store: Store) -> None:
    store.identity.unlink()
    assert "cannot read the identity" in run("create", code=1).output
    assert not store.identity.exists()


def test_neither_store_nor_identity_is_begun_anew_over_a_trail(run: Run, store: Store) -> None:
    store.path.unlink()
    store.identity.unlink()
    assert "found the trail of one that was here" in run("create", code=1).output
    assert not store.identity.exists()


def test_list_shows_age_and_what_is_overdue_or_missing_and_no_value(run: Run, store: Store) -> None:
    assert run("list", code=2).output.splitlines() == [
        "NAME         VERSION  MADE  BY  AGE  PERIOD  STATE",
        "by-hand      -        -     -   -    -       MISSING, run `unterbau secrets set by-hand --env ENV`",
        "db/password  -        -     -   -    30 d    missing, the next apply makes it",
    ]
    old = NOW - timedelta(days=42, hours=1)
    store.commit([New("by-hand", "canary-value", 0, NOW), New("db/password", "canary-value", 0, NOW)], "a@b")
    store.commit([New("stray", "canary-value", 0, NOW)], "a@b")
    listed = run("list").output
    assert listed.splitlines()[3].endswith("0 d  -       not declared")
    store.commit([New("db/password", "canary-value", 1, old)], "a@b")
    late = run("list", code=2).output
    assert late.splitlines()[2].split() == (
        f"db/password 2 {old:%Y-%m-%dT%H:%M:%SZ} a@b 42 d 30 d OVERDUE by 12 d, the next apply rotates it".split()
    )
    document = json.loads(run("list", "--json", code=2).stdout)
    row = next(row for row in document["secrets"] if row["name"] == "db/password")
    assert (row["version"], row["overdue_days"], row["rotate_after_days"], row["age_days"]) == (2, 12, 30, 42)
    assert "canary" not in listed + late + json.dumps(document)


def test_only_reveal_prints_a_value_and_the_trail_knows(run: Run, store: Store) -> None:
    store.commit([New("by-hand", "old value", 0, NOW)])
    store.commit([New("by-hand", "new value", 1, NOW)])
    assert run("reveal", "by-hand").output == "new value\n"
    assert run("reveal", "by-hand", "--version", "1").output == "old value\n"
    assert json.loads(run("reveal", "by-hand", "--json").stdout) == {
        "name": "by-hand", "version": 2, "value": "new value"
    }  # fmt: skip
    assert store.ledger.read_text().count('"action":"reveal","name":"by-hand"') == 3
    assert "there are 1 to 2" in run("reveal", "by-hand", "--version", "3", code=1).output
    assert "did you mean by-hand?" in run("reveal", "by-hnd", code=1).output


def test_a_value_that_cannot_be_recorded_is_not_revealed(run: Run, store: Store) -> None:
    store.commit([New("by-hand", "canary-value", 0, NOW)])
    store.ledger.write_text("changed\n")
    said = run("reveal", "by-hand", code=1).output
    assert "cannot reveal by-hand without a line in the trail" in said
    assert "in need: `age -d -i " in said
    assert "canary" not in said


@pytest.mark.parametrize(
    ("given", "stored"),
    [("value", "value"), ("value\n", "value"), ("two\nlines\n", "two\nlines\n"), ("\n\n", "\n\n"), (" ü \n", " ü ")],
)
def test_set_reads_standard_input(run: Run, store: Store, given: str, stored: str) -> None:
    said = run("set", "by-hand", given=given).output
    assert said == "by-hand: version 1; the next `unterbau apply demo` uses it\n"
    assert store.version("by-hand").value == stored
    assert "has this value already, nothing was stored" in run("set", "by-hand", given=given).output
    assert store.version("by-hand").number == 1


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [("by-hand", "", "found an empty value"), ("by-hand", "\n", "found an empty value"), ("by-hand", "a\0b", "NUL"),
     ("by-hand", b"\xff", "found bytes that are no UTF-8; encode it as base64"), ("BAD", "x", "a name is a-z"),
     ("by-hand", "x" * (1 << 20) + "x", "found more than 1048576 bytes")],
)  # fmt: skip
def test_set_refuses_what_is_no_secret(run: Run, store: Store, name: str, given: Any, said: str) -> None:
    assert said in run("set", name, given=given, code=1).output
    assert not store.read().secrets


def test_set_takes_no_value_from_the_command_line(run: Run, store: Store) -> None:
    run("set", "by-hand", "value", code=2)  # click's own; `unterbau` makes 1 of it
    assert not store.read().secrets


def test_set_may_replace_what_is_generated_and_says_when_nothing_declares_it(run: Run, store: Store) -> None:
    run("set", "db/password", given="imported")
    assert store.version("db/password").value == "imported"
    assert "(demo does not declare it)" in run("set", "stray", given="x").output


def test_rotate_makes_what_is_declared(run: Run, store: Store) -> None:
    run("rotate", "db/password")
    said = run("rotate", "db/password").output
    assert said == "db/password: version 2, password of 32 characters; consumers get it by `unterbau apply demo`\n"
    first, second = (version.value for version in store.read().secrets["db/password"])
    assert first != second
    assert second not in said
    store.commit([New("by-hand", "x", 0, NOW), New("stray", "x", 0, NOW)])
    assert "it is declared without a kind; set it with" in run("rotate", "by-hand", code=1).output
    assert "nothing declares it; set it with" in run("rotate", "stray", code=1).output
    assert "did you mean db/password?" in run("rotate", "db/pasword", code=1).output


def test_recipients_come_and_go(run: Run, store: Store, tmp_path: Path) -> None:
    mine, other = store.read().recipients[0], new_identity(tmp_path / "other.txt")
    assert "added; it can read everything" in run("recipients", "add", other).output
    assert run("recipients", "add", other).output == "it is one already\n"
    assert run("recipients", "list").output.split() == [mine, other]
    assert "lock yourself out" in run("recipients", "remove", mine, code=1).output
    assert "rotate what matters" in run("recipients", "remove", other).output
    assert json.loads(run("recipients", "list", "--json").stdout) == {"recipients": [mine]}


def test_verify_says_what_holds_and_what_does_not(run: Run, store: Store) -> None:
    store.commit([New("by-hand", "x", 0, NOW)])
    whole = store.ledger.read_bytes()
    assert run("verify").output == "secrets: 1, versions: 1, lines of the trail: 2; they hold together\n"
    store.ledger.write_bytes(whole[:-20])
    assert "of a run that was killed, lines that were added now: 1" in run("verify").output
    store.ledger.write_bytes(whole.replace(b"create", b"nothing"))
    assert "it was changed" in run("verify", code=1).output
    accepted = json.loads(run("verify", "--accept", "--json").stdout)
    assert "it was changed" in accepted["accepted"]
    assert json.loads(run("verify", "--json").stdout) == {
        "secrets": 1, "versions": 1, "lines": 1, "completed": 0, "accepted": None
    }  # fmt: skip


def test_no_environment_is_taken_for_granted(store: Store) -> None:
    """The lab for want of another: a secret of production would be set there, or one that leaked be rotated there."""
    before = store.path.read_bytes()
    for arguments in (["set", "by-hand"], ["rotate", "db/password"], ["reveal", "by-hand"], ["list"], ["verify"]):
        ran = CliRunner().invoke(cli.secrets, arguments, input="value")
        assert ran.exit_code != 0
        assert "Missing option '--env'" in ran.output
    assert store.path.read_bytes() == before


def test_errors_are_json_too(run: Run, store: Store) -> None:
    store.path.write_bytes(b"")
    document = json.loads(run("list", "--json", code=1).stdout)
    assert document["exit_code"] == 1
    assert "found an empty file" in document["error"]


def test_an_environment_without_a_store_says_so(run: Run, root: Path) -> None:
    inventory = root / "inventories" / "demo.py"
    inventory.write_text("\n".join(line for line in inventory.read_text().splitlines() if "store =" not in line))
    assert "cannot find the store of demo: its inventory declares none" in run("list", code=1).output
