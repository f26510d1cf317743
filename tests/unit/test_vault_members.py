"""The nodes of a Vault cluster as ways in, without a network: which one is tried, which one is held."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import ConnectError

from unterbau.connectors import left_out
from unterbau.connectors import members as ways
from unterbau.connectors.vault_members import Members

NAMES = ("srv-1", "srv-2", "srv-3")
ADDRESS = {name: f"192.0.2.{number}" for number, name in enumerate(NAMES, start=1)}
PORT = 8200


class Way:
    """A transport of paramiko's, which knows whose it is."""

    def __init__(self, name: str) -> None:
        self.name, self.active = name, True

    def is_active(self) -> bool:
        return self.active


class Node:
    """A connector of a node's."""

    def __init__(self, name: str, locks: list[str] | None = None, *, held_by: str = "") -> None:
        self.way, self.locks, self.held_by, self.lock_lost = Way(name), locks, held_by, False
        self.client = SimpleNamespace(get_transport=lambda: self.way)

    def connect(self) -> None:
        """It is."""

    def lock(self, _holder: str) -> None:
        if self.held_by:
            raise ConnectError(f"cannot lock {self.way.name}: another run holds it: {self.held_by}")
        assert self.locks is not None
        self.locks.append(self.way.name)


def members(*, within: tuple[str, ...] = NAMES) -> Members:
    hosts = [
        SimpleNamespace(
            name=name,
            connected=name in within,
            connector=Node(name) if name in within else None,
            data=SimpleNamespace(node=SimpleNamespace(address=ADDRESS[name])),
        )
        for name in NAMES
    ]
    inventory = SimpleNamespace(get_group=lambda _name: hosts)
    state: Any = SimpleNamespace(inventory=inventory, is_host_in_limit=lambda host: host.name in within)
    return Members(state, "servers", PORT, list)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Which ways were tried, and what each (way, target) answers: silence, if it is in `silent`."""
    seen: dict[str, Any] = {"ways": [], "silent": set()}

    def open_channel(way: Way, address: str, _port: int) -> str:
        seen["ways"].append(way.name)
        if (way.name, address) in seen["silent"]:
            raise OSError("Timeout opening channel.")
        return f"{way.name} to {address}"

    monkeypatch.setattr(ways, "open_channel", open_channel)
    return seen


def test_a_member_is_reached_through_its_own_node_first(tried: dict[str, Any]) -> None:
    assert members().open(ADDRESS["srv-2"], PORT) == "srv-2 to 192.0.2.2"  # type: ignore[comparison-overlap]
    assert tried["ways"] == ["srv-2"]


def test_a_node_that_is_silent_does_not_condemn_the_ways_that_were_tried_to_it(tried: dict[str, Any]) -> None:
    found = members()
    tried["silent"] = {(way, ADDRESS["srv-3"]) for way in NAMES}
    with pytest.raises(OSError, match=r"through srv-3: Timeout.*through srv-1: Timeout.*through srv-2: Timeout"):
        found.open(ADDRESS["srv-3"], PORT)
    for name in ("srv-1", "srv-2"):
        tried["ways"].clear()
        found.open(ADDRESS[name], PORT)
        assert tried["ways"] == [name]


def test_a_way_that_fell_silent_is_tried_last_and_again_once_the_network_is_back(tried: dict[str, Any]) -> None:
    found = members()
    tried["silent"] = {(way, address) for way in NAMES for address in ADDRESS.values()}
    for name in NAMES:
        with pytest.raises(OSError, match="Timeout"):
            found.open(ADDRESS[name], PORT)
    tried["silent"] = {("srv-1", ADDRESS["srv-1"])}
    tried["ways"].clear()
    assert found.open(ADDRESS["srv-2"], PORT) == "srv-2 to 192.0.2.2"  # type: ignore[comparison-overlap]
    found.open(ADDRESS["srv-1"], PORT)
    assert tried["ways"] == ["srv-2", "srv-2"]


@pytest.mark.parametrize(
    ("within", "held"),
    [((), ["srv-1", "srv-2", "srv-3"]), (("srv-2",), ["srv-1", "srv-3"]), (NAMES, [])],
)
def test_a_run_holds_the_members_that_its_limit_left_out(
    monkeypatch: pytest.MonkeyPatch, within: tuple[str, ...], held: list[str]
) -> None:
    locks: list[str] = []
    monkeypatch.setattr(left_out, "NodeConnector", lambda _state, host: Node(host.name, locks))
    found = members(within=within)
    found.lock("me")
    assert locks == held
    assert not found.unguarded
    for connector in found._own.values():
        connector.lock_lost = True  # type: ignore[misc]
    assert found.unguarded is (not within)


def test_of_two_runs_at_once_the_second_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    locks: list[str] = []
    first = {"srv-1": "somebody@else"}
    monkeypatch.setattr(
        left_out, "NodeConnector", lambda _state, host: Node(host.name, locks, held_by=first.get(host.name, ""))
    )
    with pytest.raises(ConnectError, match="cannot lock srv-1: another run holds it: somebody@else"):
        members(within=()).lock("me")
    assert locks == []
