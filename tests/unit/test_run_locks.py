"""Whom a run holds: its own nodes, and of servers that are changed one at a time all others as well. No network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import ConnectError

from unterbau.connectors.left_out import left_out
from unterbau.connectors.node import NodeConnector
from unterbau.connectors.vault_members import Members
from unterbau.plan.replicated import beyond, replicated
from unterbau.plan.session import Session

INVENTORY = """
from types import SimpleNamespace as made

k3s = made(servers="servers", agents="workers")
storage = made(pools=(made(nodes="stores"),))

def node(name, **data):
    return "@node/" + name, {"node": made(name=name, address="192.0.2.1"), "k3s": k3s, **data}

servers = [node("srv-1"), node("srv-2"), node("srv-3")]
workers = [node("wrk-1"), node("wrk-2")]
leaving = [node("old-1", k3s_removed=("old-1",))]
stores = [node("sto-1", object_storage=storage), node("sto-2", object_storage=storage)]
banks = [node("bnk-1"), node("bnk-2")]
vault = [("@local", {"vault": made(name="vault", members="banks")})]
"""
SERVERS = ["old-1", "srv-1", "srv-2", "srv-3"]


class World:
    """Which nodes answer, and which connection holds each: who asks again is refused, the same run as well."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.held: dict[str, tuple[object, str]] = {}

    def connect(self, connector: NodeConnector) -> None:
        if connector.host.name in self.down:
            raise ConnectError("no answer")

    def lock(self, connector: NodeConnector, holder: str) -> None:
        name = connector.host.name
        if name in self.held:
            said = f"another run holds it: {self.held[name][1]}; wait for its end and try again"
            raise ConnectError(f"cannot lock {name}: {said}")
        self.held[name] = (connector, holder)

    def disconnect(self, connector: NodeConnector) -> None:
        self.held = {name: one for name, one in self.held.items() if one[0] is not connector}

    def of(self, holder: str) -> list[str]:
        return sorted(name for name, (_owner, said) in self.held.items() if said == holder)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for name in ("connect", "lock", "disconnect"):
        action = getattr(made, name)
        monkeypatch.setattr(NodeConnector, name, lambda *told, action=action: action(*told))
    return made


def running(folder: Path, *limit: str, holder: str) -> Session:
    """A run that is connected and has its locks, or the reasons why not."""
    path = folder / "demo.py"
    path.write_text(INVENTORY)
    environment: Any = SimpleNamespace(name="demo", path=path, endpoints=())
    session = Session(environment, folder, limit)
    session.connect()
    session.lock(holder)
    return session


@pytest.mark.parametrize(
    ("limit", "held"),
    [
        (("srv-1",), SERVERS),
        (("servers",), SERVERS),
        (("old-1",), SERVERS),  # who leaves takes a vote along
        (("wrk-1",), ["wrk-1"]),
        (("wrk-1", "srv-3"), [*SERVERS, "wrk-1"]),
        (("sto-2",), ["sto-1", "sto-2"]),
        (("bnk-1",), ["bnk-1", "bnk-2"]),
        ((), ["bnk-1", "bnk-2", *SERVERS, "sto-1", "sto-2", "wrk-1", "wrk-2"]),
    ],
)
def test_a_run_holds_every_server_of_a_service_that_it_has_one_of(
    tmp_path: Path, world: World, limit: tuple[str, ...], held: list[str]
) -> None:
    session = running(tmp_path, *limit, holder="me")
    assert not session.problems
    assert world.of("me") == sorted(held)
    session.disconnect()
    assert world.held == {}


def test_of_two_runs_over_two_servers_the_second_is_told_whom_to_wait_for(tmp_path: Path, world: World) -> None:
    first = running(tmp_path, "srv-1", holder="first@here (pid 1)")
    second = running(tmp_path, "srv-2", holder="second@there (pid 2)")
    assert world.of("second@there (pid 2)") == []
    assert dict(second.problems) == {
        "old-1": [
            "cannot lock old-1: another run holds it: first@here (pid 1); wait for its end and try again "
            "(outside of the limit, but servers of K3s are changed by one run at a time)"
        ]
    }
    agents = running(tmp_path, "wrk-2", holder="third")
    assert not agents.problems
    first.disconnect()
    assert not running(tmp_path, "srv-2", holder="second@there (pid 2)").problems


def test_a_server_that_is_down_is_not_held_and_keeps_nobody_from_the_others(tmp_path: Path, world: World) -> None:
    world.down = {"srv-3", "old-1"}
    session = running(tmp_path, "srv-2", holder="me")
    assert not session.problems
    assert world.of("me") == ["srv-1", "srv-2"]


def test_the_first_server_of_a_service_decides_alone(tmp_path: Path, world: World) -> None:
    """Whoever was a moment later has none of the others, which the first run is about to hold."""
    world.down = {"old-1"}
    world.held["srv-1"] = (world, "somebody@else")
    session = running(tmp_path, "srv-3", "bnk-2", holder="me")
    assert list(session.problems) == ["srv-1"]
    assert world.of("me") == ["bnk-1"]


def test_an_endpoint_of_the_same_run_wants_nodes_that_are_held_already(tmp_path: Path, world: World) -> None:
    session = running(tmp_path, "srv-1", holder="me")
    for _endpoint in range(2):
        Members(session.state, "servers", 8200, list).lock("me")
    assert world.of("me") == SERVERS
    left_out(session.state).close()
    assert world.of("me") == ["srv-1"]


def test_what_is_held_beyond_a_limit() -> None:
    services = {"K3s": frozenset({"a", "b"}), "Vault": frozenset({"b", "c"}), "other": frozenset({"x", "y"})}
    assert beyond(services, ["a"]) == {"b": "K3s"}
    assert beyond(services, ["b"]) == {"a": "K3s", "c": "Vault"}
    assert beyond(services, ["a", "b", "c", "z"]) == {}
    assert replicated([]) == {}
