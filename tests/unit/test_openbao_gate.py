"""Who founds a cluster, and what the gates around a restart wait for."""

from __future__ import annotations

from typing import Any

import pytest

from facts.openbao import DOWN, MemberApi
from operations import openbao_founding, openbao_gate
from operations.openbao_config import Server, founding_unit_text, initialize_json, seal_keys_of, server_hcl, unit_text
from unterbau.domain.unknown import UNKNOWN

MEMBERS = {"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13"}


def server(node: str = "srv-1") -> Server:
    return Server(node, MEMBERS, "lab", 8200, 8201, "/opt/bao", ("/a/one.log", "/b/two.log"), ("seal-1",))


def api(leads: bool = False, index: int = 56, sealed: bool = False) -> MemberApi:
    return {
        "answers": True, "initialized": True, "sealed": sealed, "leads": leads, "version": "2.7.2",
        "committed_index": index, "applied_index": index,
    }  # fmt: skip


def found(**changed: Any) -> Any:
    return {"has_data": False, "founding": False, "api": dict.fromkeys(MEMBERS, DOWN), **changed}


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | str]:
    """What other members' disks say."""
    said: dict[str, bool | str] = {"srv-2": False, "srv-3": False}
    monkeypatch.setattr(openbao_founding, "_has_data", said.__getitem__)
    return said


def test_the_first_member_founds_where_nobody_has_data(disks: dict[str, bool | str]) -> None:
    assert [openbao_founding.founds(server(node), found()) for node in MEMBERS] == [True, False, False]


def test_nobody_founds_twice(disks: dict[str, bool | str]) -> None:
    assert openbao_founding.founds(server(), found(has_data=True)) is False
    disks["srv-3"] = True
    assert openbao_founding.founds(server(), found()) is False
    assert openbao_founding.founds(server(), found(has_data=True, founding=True)) is False


def test_one_answer_of_another_member_is_enough(disks: dict[str, bool | str]) -> None:
    disks.clear()  # nobody is asked for his disk then
    assert openbao_founding.founds(server(), found(api={**found()["api"], "srv-2": api()})) is False


def test_what_an_unfinished_initialisation_left_is_started_over(disks: dict[str, bool | str]) -> None:
    assert openbao_founding.founds(server(), found(has_data=True, founding=True)) is True


def test_a_disk_that_cannot_be_read_founds_nothing(disks: dict[str, bool | str]) -> None:
    disks["srv-2"] = "cannot initialise: srv-2 could not be read"
    assert openbao_founding.founds(server(), found()) == "cannot initialise: srv-2 could not be read"


def test_a_member_that_is_not_there_is_named() -> None:
    class Other:
        name = "srv-2"
        data = type("Data", (), {"node": type("N", (), {"name": "srv-2"}), "get": lambda self, key: key == "node"})()

        def get_fact(self, _fact: object) -> object:
            return UNKNOWN

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openbao_founding, "inventory", [Other()])
        patch.setattr(openbao_founding, "host", type("Host", (), {"name": "srv-1"}))
        for name in ("srv-2", "srv-9"):
            said = openbao_founding._has_data(name)
            assert isinstance(said, str)
            assert f"whether {name} has data of a cluster could not be read" in said


def test_the_script_of_the_first_start_marks_before_it_writes_and_unmarks_at_the_end() -> None:
    lines = openbao_founding.script(["/run/x"]).splitlines()
    mark = next(n for n, line in enumerate(lines) if ": > /var/lib/unterbau/openbao/founding; sync" in line)
    start = next(n for n, line in enumerate(lines) if line.startswith("systemctl start"))
    stop = next(n for n, line in enumerate(lines) if line.startswith("systemctl stop unterbau"))
    unmark = next(n for n, line in enumerate(lines) if line.startswith("rm -f /var/lib/unterbau/openbao/founding"))
    assert mark < start < stop < unmark


def test_while_it_initialises_nobody_can_reach_or_join_it_and_afterwards_nothing_initialises() -> None:
    first, ever_after = server_hcl(server(), founding=True), server_hcl(server())
    assert 'address         = "127.0.0.1:8200"' in first
    assert 'cluster_address = "127.0.0.1:8201"' in first
    assert "retry_join" not in first
    assert ever_after.count("retry_join") == 2
    assert "10.77.0.11:8200" in ever_after
    assert "initialize" not in ever_after + unit_text(server())
    assert "initialize.json" in founding_unit_text(server())
    assert "ConditionPathExists=!/var/lib/unterbau/openbao/founding" in unit_text(server())


def test_the_audit_stanzas_are_the_same_on_all_members() -> None:
    audits = {server_hcl(server(node)).partition("audit ")[2] for node in MEMBERS}
    assert len(audits) == 1
    assert audits.pop().count("file_path") == 2


def test_no_secret_is_in_what_initialises() -> None:
    said = initialize_json("policy", "-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in said
    assert said.index("sys/rotate/recovery/init") < said.index("auth/deploy/certs/deploy")


@pytest.mark.parametrize(
    ("known", "in_use", "keys"),
    [
        (["seal-1"], None, ["seal-1"]),
        (["seal-2", "seal-1"], None, ["seal-2", "seal-1"]),
        (["seal-2", "seal-1"], ("seal-1",), ["seal-2", "seal-1"]),
        (["seal-4", "seal-3", "seal-2", "seal-1"], ("seal-1",), ["seal-4", "seal-1"]),
        (["seal-4", "seal-3", "seal-2", "seal-1"], ("seal-4", "seal-1"), ["seal-4", "seal-1"]),
        (["seal-5", "seal-4"], ("seal-4", "seal-1"), ["seal-5", "seal-4"]),
        (["seal-5", "seal-4"], ("seal-5", "seal-1"), ["seal-5", "seal-4"]),
    ],
)
def test_a_server_gets_the_newest_key_and_the_one_it_was_sealed_with(
    known: list[str], in_use: tuple[str, ...] | None, keys: list[str]
) -> None:
    config = None if in_use is None else server_hcl(Server(**{**vars(server()), "seal_keys": in_use}))
    assert seal_keys_of(known, config) == keys


def test_a_key_that_the_store_does_not_have_is_a_sentence() -> None:
    said = seal_keys_of(["seal-9"], server_hcl(server()))
    assert said == "found that it is sealed with seal-1, and the store's newest are seal-9"


ALL = {"srv-1": api(leads=True), "srv-2": api(), "srv-3": api()}


@pytest.mark.parametrize(
    ("changed", "least", "said"),
    [
        ({}, 56, None),
        ({"srv-3": api(index=55)}, 56, "srv-3 has applied entry 55 of 56"),
        ({"srv-3": api(sealed=True)}, 56, "srv-3 is sealed"),
        ({"srv-3": DOWN}, 56, "srv-3 does not answer"),
        ({"srv-1": api()}, 56, "no member leads"),
        ({"srv-3": {**api(), "initialized": False}}, None, "srv-3 is not initialized"),
    ],
)
def test_what_a_gate_waits_for(changed: dict[str, MemberApi], least: int | None, said: str | None) -> None:
    assert openbao_gate.unready({**ALL, **changed}, ["srv-2", "srv-3"], least) == said


class Host:
    """A host whose fact answers one reading after the other, then the last one for ever."""

    def __init__(self, *readings: object) -> None:
        self.readings, self.said = list(readings), [""]

    def get_fact(self, _fact: object, **_arguments: object) -> object:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def log_styled(self, sentence: str, **_options: object) -> None:
        self.said.append(sentence)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_gate, "WAIT_S", 0.05)
    monkeypatch.setattr(openbao_gate, "POLL_S", 0.001)


def pass_gate(gate: Any, host: Host) -> bool:
    return bool(gate.function(None, host, *gate.args))


@pytest.mark.usefixtures("quick")
def test_the_gate_before_a_restart_waits_for_all_others() -> None:
    gate = openbao_gate.before_restart("srv-2", MEMBERS, 8200)
    host = Host({**ALL, "srv-3": DOWN}, UNKNOWN, ALL)
    assert pass_gate(gate, host)
    assert host.readings == [ALL]
    never = Host({**ALL, "srv-3": DOWN})
    assert not pass_gate(gate, never)
    assert "cannot restart openbao.service on srv-2: after" in never.said[-1]
    assert "srv-3 does not answer" in never.said[-1]


@pytest.mark.usefixtures("quick")
def test_a_member_that_does_not_serve_waits_for_nobody() -> None:
    gate = openbao_gate.before_restart("srv-2", MEMBERS, 8200)
    assert pass_gate(gate, Host({"srv-1": DOWN, "srv-2": api(sealed=True), "srv-3": DOWN}))


@pytest.mark.usefixtures("quick")
def test_the_gate_after_a_start_waits_until_it_has_what_the_leader_had_at_first() -> None:
    gate = openbao_gate.after_start("srv-2", MEMBERS, 8200)
    behind = {"srv-1": api(leads=True, index=90), "srv-2": api(index=40), "srv-3": api(index=90)}
    busy = {"srv-1": api(leads=True, index=95), "srv-2": api(index=90), "srv-3": api(index=95)}
    assert pass_gate(gate, Host(behind, busy))
    assert not pass_gate(gate, Host(behind))


@pytest.mark.usefixtures("quick")
def test_an_api_that_cannot_be_asked_opens_no_gate() -> None:
    host = Host(UNKNOWN)
    assert not pass_gate(openbao_gate.after_start("srv-2", MEMBERS, 8200), host)
    assert "its API could not be asked" in host.said[-1]
