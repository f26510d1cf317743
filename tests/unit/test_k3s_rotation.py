"""Which token a cluster is under, who asks for another, and what has come to its end."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facts.k3s_rotation import _login
from operations import k3s_rotation, k3s_rotation_gate
from operations.k3s_config import Cluster, Node, Tokens
from unterbau.changes import recording
from unterbau.domain.k3s_rotation import ending, key_is_due, key_made_at, used
from unterbau.domain.unknown import UNKNOWN
from unterbau.secrets.hidden import Hidden

SERVERS = {"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13"}


def server(name: str) -> Node:
    return Node(name, "server", Cluster(SERVERS, {}), "/opt/k3s", "v1.34.4+k3s1")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("AES-CBC aescbckey-2026-11-22T01:02:03Z", datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)),
        ("XSalsa20-POLY1305 secretboxkey-2026-11-22T02:02:03+01:00", datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)),
        ("AES-CBC aescbckey", None),
        ("", None),
    ],
)
def test_when_a_key_was_made(name: str, made: datetime | None) -> None:
    assert key_made_at(name) == made


@pytest.mark.parametrize(
    ("not_before", "due"),
    [("", False), ("2026-11-21", False), ("2026-11-22", False), ("2026-11-23", True)],
)
def test_a_key_is_made_anew_if_it_is_older_than_declared(not_before: str, due: bool) -> None:
    assert key_is_due("AES-CBC aescbckey-2026-11-22T01:02:03Z", not_before) is due


def test_the_first_key_has_no_date_and_is_older_than_any() -> None:
    assert key_is_due("AES-CBC aescbckey", "2000-01-01")
    assert not key_is_due("AES-CBC aescbckey", "")


def test_what_ends_soon() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    ends = {
        "/a.crt": "2027-01-20T00:00:00Z",
        "/b.crt": "2027-01-22T00:00:00Z",
        "/server-ca.crt": "2026-11-23T00:00:00Z",
        "/client-ca.nochain.crt": "2026-11-23T00:00:00Z",
    }
    assert list(ending(ends, now, 60)) == ["/a.crt"]
    assert list(ending(ends, now, 1)) == []


@pytest.mark.parametrize(
    ("cluster", "age"),
    [(["new"], 0), (["old"], 1), (["new", "old"], 0), (["older"], 2), (["strange"], None), ([], None)],
)
def test_which_token_a_cluster_is_under(cluster: list[str], age: int | None) -> None:
    assert used(cluster, ["new", "old", "older"]) == age


class _Host:
    def __init__(self, name: str, keys: list[str] | None, state: Any) -> None:
        self.data = SimpleNamespace(get={"node": SimpleNamespace(name=name)}.get, node=SimpleNamespace(name=name))
        self.keys, self.state, self.said, self.believed = keys, state, [""], True

    def __hash__(self) -> int:
        return id(self)

    def get_fact(self, *args: Any, **kwargs: Any) -> Any:
        if self.keys == ["unknown"]:
            return UNKNOWN
        return {"own": "old", "believed": self.believed, "cluster": self.keys}

    def log_styled(self, sentence: str, **kwargs: Any) -> None:
        self.said.append(sentence)


def hosts(**keys: list[str] | None) -> dict[str, _Host]:
    state = SimpleNamespace(inventory=[], active_hosts=set())
    found = {name.replace("_", "-"): _Host(name.replace("_", "-"), one, state) for name, one in keys.items()}
    state.inventory, state.active_hosts = list(found.values()), set(found.values())
    return found


def acting(**keys: list[str] | None) -> list[str]:
    found = hosts(**keys)
    return [name for name, host in found.items() if k3s_rotation_gate.acts(host, server(name))]  # type: ignore[arg-type]


def test_one_server_asks_the_first_whose_etcd_answers() -> None:
    assert acting(srv_1=["old"], srv_2=["old"], srv_3=["old"]) == ["srv-1"]
    assert acting(srv_1=None, srv_2=["old"], srv_3=["old"]) == ["srv-2"]
    assert acting(srv_1=["unknown"], srv_2=None, srv_3=["old"]) == ["srv-3"]
    assert acting(srv_1=None, srv_2=None, srv_3=None) == []
    assert acting(srv_1=["newer"], srv_2=["old"], srv_3=["old"]) == ["srv-2"]  # srv-1 would not be believed


def test_who_has_rotated_it_is_not_believed_until_its_restart() -> None:
    """K3s knows the token that it was started with; that of a rotation is on its disk only."""
    found = hosts(srv_1=["old"], srv_2=["old"])
    found["srv-1"].believed = False
    assert [name for name, host in found.items() if k3s_rotation_gate.acts(host, server(name))] == ["srv-2"]  # type: ignore[arg-type]
    assert k3s_rotation_gate.anybody_acts(found["srv-1"], server("srv-1"), "new")  # type: ignore[arg-type]
    found["srv-2"].believed = False
    assert not k3s_rotation_gate.anybody_acts(found["srv-1"], server("srv-1"), "new")  # type: ignore[arg-type]
    found["srv-2"].keys = ["new"]  # another one has just done it
    assert k3s_rotation_gate.anybody_acts(found["srv-1"], server("srv-1"), "new")  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["plain-token-of-this-test", r"""with "quotes", \ and $(reboot) `reboot` 'too'"""])
def test_a_token_is_asked_about_on_standard_input_as_it_is(tmp_path: Path, token: str) -> None:
    """A curl that keeps what it was told, and where."""
    curl = tmp_path / "curl"
    script = f"#!/bin/sh\necho \"$@\" > {tmp_path}/argv\ncat > {tmp_path}/stdin\nprintf 'login 401\\n'\n"
    curl.write_text(script)
    curl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "t": f"K10abc::server:{token}"}
    done = subprocess.run(["sh", "-c", _login(6443)], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == "login 401\n"
    assert "token" not in (tmp_path / "argv").read_text()
    name, _, value = (tmp_path / "stdin").read_text().partition(" = ")
    assert (name, json.loads(value)) == ("user", f"server:{token}")


def test_a_host_that_is_not_in_the_run_asks_nothing() -> None:
    found = hosts(srv_1=["old"], srv_2=["old"])
    found["srv-1"].state.active_hosts.discard(found["srv-1"])
    assert k3s_rotation_gate.acts(found["srv-2"], server("srv-2"))  # type: ignore[arg-type]


def test_the_first_server_that_runs_makes_the_key() -> None:
    found = hosts(srv_1=["unknown"], srv_2=["old"], srv_3=["old"])
    makes = [name for name, host in found.items() if k3s_rotation_gate.makes_key(host, server(name))]  # type: ignore[arg-type]
    assert makes == ["srv-1", "srv-2"]  # srv-1 did not answer: it would make none either


def planned_key(monkeypatch: pytest.MonkeyPatch, found: dict[str, _Host], name: str, **changed: Any) -> list[str]:
    """What the plan says of one server: its changes, or why there are none."""
    here: Any = found[name]
    said: list[str] = []
    encryption = {"enabled": True, "stage": "start", "key": "AES-CBC aescbckey", "alike": True, **changed}
    for one in found.values():
        monkeypatch.setattr(one, "get_fact", lambda *asked, **how: encryption)
    monkeypatch.setattr(here, "noop", said.append, raising=False)
    monkeypatch.setattr(k3s_rotation, "host", here)
    monkeypatch.setattr(k3s_rotation, "_restarted", lambda *told: iter(()))
    with recording() as record:
        list(k3s_rotation.encryption_key._inner(server(name), not_before="2026-11-01"))  # type: ignore[attr-defined]
    return said + [" ".join(map(str, astuple(change))) for change in record.changes]


def test_the_plan_says_where_secrets_cannot_be_read_until_the_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts(srv_1=["old"], srv_2=["old"], srv_3=["old"])
    assert planned_key(monkeypatch, found, "srv-1") == ["key of Secrets AES-CBC aescbckey a new one"]
    until = f"Secrets asked of srv-2 readable {k3s_rotation.UNREADABLE}"
    assert planned_key(monkeypatch, found, "srv-2")[1:] == [until]
    assert planned_key(monkeypatch, found, "srv-2", alike=False) == []  # it is restarted, and nobody makes one


def test_no_key_is_made_in_a_run_that_cannot_restart_every_server(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hosts(srv_1=["old"], srv_2=["old"], srv_3=["old"])
    found["srv-1"].state.active_hosts.discard(found["srv-3"])
    why = "a new key of Secrets is made in a run over all servers; not in this one: srv-3"
    assert planned_key(monkeypatch, found, "srv-1") == [why]


@pytest.mark.parametrize("reason", ["its configuration changes", None])
def test_a_server_that_does_not_tell_how_secrets_are_encrypted_restarts_first(
    monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    """What a killed rotation of the token leaves: the plan is made all the same if the restart is in it."""
    said: list[str] = []
    here = SimpleNamespace(name="srv-1", get_fact=lambda fact: "untold", noop=said.append)
    monkeypatch.setattr(k3s_rotation, "host", here)
    monkeypatch.setattr(k3s_rotation.k3s_gate, "state_of", lambda host, node: {})
    ready = k3s_rotation.k3s_ready.Ready(server("srv-1"), None, {}, None, frozenset())  # type: ignore[arg-type]
    monkeypatch.setattr(k3s_rotation.k3s_ready, "ready_of", lambda *told: ready)
    monkeypatch.setattr(k3s_rotation.k3s_ready, "restart_reason", lambda ready: reason)
    tokens = Tokens(agent=Hidden("agents-join-with-this"))
    made = k3s_rotation.encryption_key._inner(server("srv-1"), not_before="", tokens=tokens)  # type: ignore[attr-defined]
    commands = [str(command.args) for command in made]
    assert bool(said) == (reason is not None)
    assert ["found that it runs and does not tell" in one for one in commands] == ([] if reason else [True])


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", True),
        ("see server log for details: etcdserver: request timed out, deadline exceeded: timeout", False),
    ],
)
def test_only_the_commands_own_limit_is_no_failure(said: str, goes_on: bool) -> None:
    asked = f"{k3s_rotation.K3S} secrets-encrypt rotate-keys"
    script = k3s_rotation.ROTATE.replace(asked, f"sh -c 'echo \"{said}\"; exit 1'")
    assert (subprocess.run(["sh", "-c", script], check=False, capture_output=True).returncode == 0) == goes_on


def test_an_encryption_that_stands_still_is_told_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k3s_rotation_gate.k3s_gate, "WAIT_S", -1)
    found = {"stage": "reencrypt_active"}
    said: list[str] = []
    host = SimpleNamespace(get_fact=lambda fact: found, log_styled=lambda sentence, **how: said.append(sentence))
    assert not k3s_rotation_gate.until_encrypted(server("srv-1")).function(None, host, "srv-1")
    assert "if it stands still: `k3s secrets-encrypt reencrypt --force --skip`" in said[0]


def test_nobody_goes_on_before_the_cluster_is_under_the_new_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k3s_rotation_gate.k3s_gate, "WAIT_S", 0)
    monkeypatch.setattr(k3s_rotation_gate.k3s_gate, "POLL_S", 0)
    gate = k3s_rotation_gate.until_known(server("srv-2"), "new", 2).function
    found = hosts(srv_1=["new"], srv_2=["old"])
    assert not gate(None, found["srv-2"], 2)
    assert "the cluster is under another one" in found["srv-2"].said[-1]
    assert gate(None, hosts(srv_1=["new"], srv_2=["new"])["srv-2"], 2)
    assert gate(None, hosts(srv_1=["new"], srv_2=None)["srv-2"], 2)  # it is down; another one tells
    assert not gate(None, hosts(srv_1=None, srv_2=None)["srv-2"], 2)


def test_both_tokens_travel_on_standard_input_and_the_long_form_is_the_same_token() -> None:
    old = Hidden(f"K10{'0' * 64}::server:first-token-of-this-test")
    command = k3s_rotation._put(server("srv-1"), old, Hidden("second-token-of-this-test"))
    assert "token" not in command.get_raw_value()
    text = command.connector_arguments["_stdin"]
    lines = dict(line.split(" = ", 1) for line in text.splitlines())
    assert json.loads(lines["user"]) == "server:first-token-of-this-test"
    assert json.loads(json.loads(lines["data"])) == {"newToken": "second-token-of-this-test"}
