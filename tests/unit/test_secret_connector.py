"""`@store`: what crosses are names and versions; whatever goes wrong is this command's failure and a sentence."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import StringCommand

from facts.secret_store import Versions
from unterbau.connectors.store import StoreConnector
from unterbau.declaration import Password, Secret, SecretStore
from unterbau.secrets.identity import new_identity
from unterbau.secrets.store import Store


class Data(dict[str, Any]):
    def dict(self) -> Data:
        return self


class Inventory(list[Any]):
    __hash__ = object.__hash__  # type: ignore[assignment]


@pytest.fixture
def host(tmp_path: Path) -> Any:
    new_identity(tmp_path / "identity.txt")
    Store.create(tmp_path / "store.age", tmp_path / "identity.txt")
    store = SecretStore(path=str(tmp_path / "store.age"), identity=str(tmp_path / "identity.txt"))
    data = Data(store=store, secrets=(Secret(name="db/password", kind=Password(), rotate_after_days=30),))
    return SimpleNamespace(name="secrets", data=data, print_prefix="[secrets] ")


@pytest.fixture
def connector(host: Any) -> StoreConnector:
    node = SimpleNamespace(name="srv-1", data=Data(secrets_node=(Secret(name="node/key", kind=Password()),)))
    state: Any = SimpleNamespace(inventory=Inventory([host, node]))
    return StoreConnector(state, host)


def answer(connector: StoreConnector, text: str, **options: Any) -> Any:
    succeeded, output = connector.run_shell_command(StringCommand(text), **options)
    assert succeeded, output.stderr
    return json.loads(output.stdout)


def refusal(connector: StoreConnector, text: str) -> str:
    succeeded, output = connector.run_shell_command(StringCommand(text))
    assert not succeeded
    assert not output.stdout_lines
    return output.stderr


def test_what_is_committed_is_listed_and_stored_and_never_said(
    connector: StoreConnector, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("unterbau.connectors.store.echo", lambda text, err: shown.append(text))
    assert answer(connector, "LIST") == {}
    said = answer(connector, "COMMIT db/password=1 node/key=1", print_input=True, print_output=True)
    assert said == {"stored": {"db/password": 1, "node/key": 1}}
    listed = answer(connector, "LIST", print_input=True, print_output=True)
    assert listed["db/password"]["version"] == 1
    value = Store(host.data["store"].path, host.data["store"].identity).version("db/password").value
    assert shown[0] == "[secrets] >>> COMMIT db/password=1 node/key=1"
    assert len(shown) == 4
    assert value not in "\n".join(shown) + json.dumps(listed)
    assert Versions().process([json.dumps(listed)]) == listed


@pytest.mark.parametrize(
    "text", ["", "LIST all", "COMMIT", "COMMIT a", "COMMIT a=b", "reveal db/password", "a; b", '"']
)
def test_anything_else_is_refused(connector: StoreConnector, text: str) -> None:
    assert refusal(connector, text).startswith(f"cannot run {text!r}: a store takes `LIST` and `COMMIT")


def test_a_hostile_name_reaches_nothing(connector: StoreConnector, host: Any) -> None:
    before = Path(host.data["store"].path).read_bytes()
    assert "cannot make the secret x; reboot" in refusal(connector, f"COMMIT {shlex.quote('x; reboot=1')}")
    assert Path(host.data["store"].path).read_bytes() == before


def test_a_store_that_cannot_be_read_fails_the_command_with_why(connector: StoreConnector, host: Any) -> None:
    Path(host.data["store"].path).write_bytes(b"")
    assert "found an empty file" in refusal(connector, "LIST")
    assert "found an empty file" in refusal(connector, "COMMIT db/password=1")


def test_a_host_without_a_declaration_says_so(connector: StoreConnector, host: Any) -> None:
    host.data.clear()
    assert "it has no data `store`; declare it with" in refusal(connector, "LIST")


def test_it_takes_no_files(connector: StoreConnector) -> None:
    for action in (connector.put_file, connector.get_file):
        with pytest.raises(OSError, match="a store takes LIST and COMMIT only"):
            action("x", "y")


def test_the_host_is_named_as_it_is_declared() -> None:
    assert list(StoreConnector.make_names_data("secrets")) == [("secrets", {}, [])]
    assert StoreConnector.handles_execution
