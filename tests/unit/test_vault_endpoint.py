"""`@vault/<name>` as pyinfra sees it: commands, masked logs, failures of one command, known after apply."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pyinfra.api import HiddenValue, StringCommand
from pyinfra.api.state import StateStage

from operations.vault_object import call
from unterbau.connectors import vault as connector
from unterbau.connectors.endpoint import EndpointError, NotThereError, parsed
from unterbau.connectors.vault import VaultConnector
from unterbau.plan import session
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import StoreError

SECRET = 'correct "horse"\nbattery'


class Api:
    """A client that answers from a tree of paths."""

    def __init__(self, tree: dict[str, Any], error: Exception | None = None) -> None:
        self.tree, self.error, self.asked = tree, error, []
        self.members = SimpleNamespace(unguarded=False)

    def request(self, method: str, path: str, body: Any = None) -> requests.Response:
        self.asked.append((method, path, body))
        if self.error:
            raise self.error
        found = self.tree.get(f"{method} {path}", self.tree.get(path))
        answer = requests.Response()
        answer.status_code, content = (404, {"errors": []}) if found is None else found
        answer._content = b"" if content is None else json.dumps(content).encode()
        return answer


def made(
    tree: dict[str, Any] | None = None, error: Exception | None = None, **state: Any
) -> tuple[VaultConnector, Api]:
    """A connector without its network: `pending` are names of operations that a member's plan has."""
    one = object.__new__(VaultConnector)
    operations = {str(n): SimpleNamespace(operation_meta=meta) for n, (_, meta) in enumerate(state.get("pending", []))}
    metas = {str(n): SimpleNamespace(names={name}) for n, (name, _) in enumerate(state.get("pending", []))}
    stage = state.get("stage", StateStage.Prepare)
    inventory = SimpleNamespace(get_group=lambda name: ["srv-1"])
    one.state = SimpleNamespace(current_stage=stage, inventory=inventory, ops={"srv-1": operations}, op_meta=metas)  # type: ignore[assignment]
    data = SimpleNamespace(vault=SimpleNamespace(members="servers", port=8200))
    one.host = SimpleNamespace(name="vault", print_prefix="[vault] ", data=data)  # type: ignore[assignment]
    one._client = api = Api(tree or {}, error)  # type: ignore[assignment]
    return one, api


def ran(one: VaultConnector, command: str | StringCommand) -> tuple[bool, str]:
    done, output = one.run_shell_command(command if isinstance(command, StringCommand) else StringCommand(command))
    return done, output.output


def data(value: Any) -> tuple[int, Any]:
    return 200, {"request_id": "x", "data": value}


TREE = {
    "GET a": data({"b": 1}),
    "GET sys/health": (200, {"version": "2.7.2"}),
    "LIST m": data({"keys": ["x", "y/", "gone"]}),
    "LIST m/y": data({"keys": ["z", "two words"]}),
    "GET m/x": data({"n": 1}),
    "GET m/y/z": data({"n": 2}),
    "GET m/y/two%20words": data({"n": 3}),
    "GET unmounted": (404, {"errors": ['no handler for route "unmounted/". route entry not found.']}),
    "POST a": (204, None),
    "DELETE a": (204, None),
    "GET denied": (403, {"errors": ["permission denied"]}),
}


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("GET a", {"b": 1}),
        ("GET sys/health", {"version": "2.7.2"}),
        ("GET nothing", None),
        ("GET unmounted", None),
        ("LIST m", ["gone", "x", "y/"]),
        ("LIST nothing", []),
        ('EACH m ["x", "nothing"]', {"x": {"n": 1}}),
        ("WALK m", {"x": {"n": 1}, "y/two words": {"n": 3}, "y/z": {"n": 2}}),
        ("WALK nothing", {}),
        ('PUT a {"b": 2}', {}),
        ("DELETE a", {}),
    ],
)
def test_commands_and_their_answers(command: str, answer: Any) -> None:
    done, output = ran(made(TREE)[0], command)
    assert done
    assert json.loads(output) == answer


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("GET denied", "cannot GET denied: found status 403: permission denied"),
        ('EACH m ["../sys"]', "leads elsewhere"),
        ("GET m/../a", "leads elsewhere"),
        ("rm -rf /", "found the verb 'rm'"),
        ("GET", "found the verb 'GET'"),
        ('PUT a {"password": "s3cret', "found a body that is no JSON"),
    ],
)
def test_a_failure_is_this_command_s_only_and_says_why(command: str, words: str) -> None:
    done, output = ran(made(TREE)[0], command)
    assert not done
    assert words in output
    assert "s3cret" not in output


def test_await_returns_once_the_values_are_there_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "LOOK_AGAIN_S", 0)
    one, _ = made({"GET state": data({"voters": ["b", "a"], "healthy": True})})
    body = {"until": {"voters": ["a", "b"], "healthy": True}, "within_s": 0}
    assert ran(one, call("AWAIT", "state", body))[0]
    body["until"] = {"voters": ["a", "b", "c"]}
    done, output = ran(one, call("AWAIT", "state", body))
    assert not done
    assert 'is not {"voters": ["a", "b", "c"]} within 0 s, found {"voters": ["b", "a"]}' in output


def test_hidden_leaves_reach_the_api_and_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    one, api = made(TREE)
    command = call("PUT", "a", {"data": {"key": Hidden(SECRET), "list": [HiddenValue("other"), 1, None]}, "x": "seen"})
    assert one.run_shell_command(command, print_input=True, print_output=True)[0]
    assert api.asked == [("POST", "a", {"data": {"key": SECRET, "list": ["other", 1, None]}, "x": "seen"})]
    logged = capsys.readouterr().err
    assert '[vault] >>> PUT a {"data": {"key": *MASKED*, "list": [*MASKED*, 1, null]}, "x": "seen"}' in logged
    assert "horse" not in logged + repr(command) + str(command)


def test_an_error_that_quotes_a_secret_is_redacted() -> None:
    Hidden("quoted-secret-value")
    one, _ = made({"GET a": (400, {"errors": ["bad value quoted-secret-value"]})})
    done, output = ran(one, "GET a")
    assert not done
    assert output.startswith("cannot GET a: found status 400: bad value *MASKED*; correct what is declared")


LOST = "the lock on its members was lost: another run may be at work"
WILL, WILL_NOT = SimpleNamespace(will_change=True), SimpleNamespace(will_change=False)


@pytest.mark.parametrize("error", [NotThereError("no member is active"), StoreError("there is no such secret yet")])
@pytest.mark.parametrize(
    ("pending", "stage", "known_later"),
    [
        ([("vault | servers | followers", WILL)], StateStage.Prepare, True),
        ([("vault | servers | followers", WILL_NOT)], StateStage.Prepare, False),
        ([("vault config | marks", WILL), ("base | packages", WILL)], StateStage.Prepare, False),
        ([("vault | snapshots", WILL), ("vault | audit log rotation", WILL)], StateStage.Prepare, False),
        ([], StateStage.Prepare, False),
        ([("vault | servers | followers", WILL)], StateStage.Execute, False),
    ],
)
def test_known_after_apply_only_while_planning_and_only_if_the_same_plan_makes_it(
    error: Exception, pending: list[Any], stage: StateStage, known_later: bool
) -> None:
    one, _ = made(error=error, pending=pending, stage=stage)
    done, output = ran(one, "GET a")
    assert done is known_later
    assert (output == '"(known after apply)"') is known_later
    assert known_later or str(error) in output


def test_what_an_api_that_is_there_denies_is_not_known_later() -> None:
    one, _ = made(TREE, pending=[("vault | servers | followers", WILL)])
    assert not ran(one, "GET denied")[0]


def test_every_authority_is_tried_because_a_cluster_may_have_missed_many_rotations(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    one, _ = made()
    one.host.data.vault_server = SimpleNamespace(deployers="vault/deployers")
    keyring = SimpleNamespace(versions=lambda name, newest: [f"version {n}" for n in range(9, 0, -1)][:newest])
    monkeypatch.setattr(one, "_keyring", lambda: keyring)
    monkeypatch.setattr(connector.pki, "client_certificate", lambda authority, *_: f"client of {authority}")
    assert one._clients() == [f"client of version {n}" for n in range(9, 0, -1)]


def test_a_run_s_lock_reaches_the_members_through_the_endpoint() -> None:
    one, api = made()
    held: list[str] = []
    api.members.lock = held.append
    session._lock(SimpleNamespace(connector=one), "me")  # type: ignore[arg-type]
    assert held == ["me"]


def test_nothing_is_written_once_another_run_may_be_at_work() -> None:
    one, api = made(TREE)
    api.members.unguarded = True
    for command in ("PUT a {}", "DELETE a"):
        done, output = ran(one, command)
        assert not done
        assert output == f"cannot {command[:-3] if command.endswith('{}') else command}: " + LOST
    assert not api.asked
    assert ran(one, "GET a")[0]


def test_there_are_no_files() -> None:
    one, _ = made()
    for transfer in (one.put_file, one.get_file):
        with pytest.raises(NotImplementedError, match="it is an API"):
            transfer("a", "b")


def test_a_path_is_quoted_by_construction() -> None:
    assert call("GET", "a b/c?d#e").get_raw_value() == "GET a%20b/c%3Fd%23e"
    with pytest.raises(EndpointError):
        parsed("POST a", ("GET",))
