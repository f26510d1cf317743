"""Texts of a MinIO server, where its drives belong, and what the gates around a restart wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from facts.minio import DOWN, Health, MemberApi
from facts.minio_drive import DriveState, Format
from operations import minio_drive, minio_gate
from operations.minio_config import Pool, Server, environment, environment_digest, layout_yaml, pools_of, unit_text
from unterbau.domain.unknown import UNKNOWN

NODES = ["srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"]
MEMBERS = {name: f"10.77.0.{number}" for number, name in enumerate(NODES, start=11)}
IDS = [f"drive-{number}" for number in range(5)]


def server(node: str = "srv-1", **changed: Any) -> Server:
    pools = [Pool(NODES, ["/mnt/drive-1"])]
    one = Server(node, MEMBERS, pools, 2, 2, 9000, "/opt/unterbau/minio/1/minio", "unterbau")
    return replace(one, **changed)


def test_the_layout_names_every_drive_in_the_order_that_sets_are_cut_from() -> None:
    servers, workers = ["srv-1", "srv-2"], ["wrk-1", "wrk-2"]
    two = server(pools=[Pool(servers, ["/mnt/drive-1", "/mnt/drive-2"]), Pool(workers, ["/a"], 2)])
    said = yaml.safe_load(layout_yaml(two))
    assert said["version"] == "v2"
    assert said["pools"] == [
        {
            "args": [f"https://{node}:9000/mnt/drive-{drive}/minio" for drive in (1, 2) for node in servers],
            "set-drive-count": 4,
        },
        {"args": ["https://wrk-1:9000/a/minio", "https://wrk-2:9000/a/minio"], "set-drive-count": 2},
    ]


def test_layout_and_environment_are_the_same_on_all_members() -> None:
    assert len({layout_yaml(server(node)) for node in NODES}) == 1
    assert len({environment(server(node)) for node in NODES}) == 1
    assert len({environment_digest(server(node)) for node in NODES}) == 1


def test_a_comment_in_the_layout_changes_no_pool() -> None:
    text = layout_yaml(server())
    assert pools_of("# another header\n" + text) == pools_of(text) is not None
    assert pools_of(layout_yaml(server(pools=[Pool(NODES[::-1], ["/mnt/drive-1"])]))) != pools_of(text)


@pytest.mark.parametrize("text", ["", "version: v2\n", "pools: 3\n", ": : :", "- a\n"])
def test_what_is_no_layout_has_no_pools(text: str) -> None:
    assert pools_of(text) is None


def test_parity_holds_for_every_storage_class() -> None:
    assert "MINIO_STORAGE_CLASS_STANDARD=EC:2\n" in environment(server())
    assert "MINIO_STORAGE_CLASS_RRS=EC:2\n" in environment(server())
    assert environment_digest(server()) != environment_digest(server(parity=3))


def test_the_unit_waits_for_its_drives_and_listens_on_the_private_address_only() -> None:
    text = unit_text(server("srv-2"))
    assert "RequiresMountsFor=/mnt/drive-1\n" in text
    assert "ReadWritePaths=/mnt/drive-1\n" in text
    assert "--address 10.77.0.12:9000 " in text
    assert "--address [fd00::2]:9000 " in unit_text(server("srv-2", members={**MEMBERS, "srv-2": "fd00::2"}))


UP: MemberApi = {"answers": True, "writes": True, "reads": True, "spare": True, "healing": 0}
WHOLE = {"0/0": {"online": 5, "healing": 0}}


def health(**changed: MemberApi) -> Health:
    members = {name: changed.get(name.replace("-", "_"), UP) for name in NODES}
    return {"active": "active", "members": members, "sets": {name: dict(WHOLE) for name in NODES}}  # type: ignore[typeddict-item]


def seen(by: str, **set_health: int) -> Health:
    found = health()
    found["sets"][by] = {"0/0": {"online": 5, "healing": 0, **set_health}}  # type: ignore[typeddict-item]
    return found


WITHOUT_METRICS = health()
del WITHOUT_METRICS["sets"]["wrk-1"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (health(), None),
        (health(srv_3=DOWN), "srv-3 does not answer"),
        (health(srv_3={**UP, "reads": False, "writes": False}), "srv-3 has no quorum to read"),
        (health(srv_3={**UP, "writes": False}), "srv-3 has no quorum to write"),
        (health(srv_1={**UP, "spare": False}), "srv-1 says that the others would have no quorum without it"),
        (health(srv_3={**UP, "spare": False}), None),
        (health(srv_3={**UP, "spare": False, "healing": 1}), "srv-3 sees 1 drives of others that are being healed"),
        (seen("srv-2", online=4), "srv-2 sees 4 of 5 drives in set 1 of 5 nodes x 1 drive"),
        (seen("wrk-2", healing=1), "wrk-2 sees 1 drives healing in set 1 of 5 nodes x 1 drive"),
        (WITHOUT_METRICS, "wrk-1 does not say how it sees set 1 of 5 nodes x 1 drive"),
    ],
)
def test_what_a_gate_waits_for(found: Health, said: str | None) -> None:
    assert minio_gate.incomplete(server(), found, stopping=True) == said


@pytest.mark.parametrize(
    ("down", "passed", "said"),
    [
        ((), True, "without srv-1 4 of 5 drives of a set are left, writes need 3"),
        (("wrk-2",), True, "without srv-1 3 of 5 drives of a set are left, writes need 3 (not there: wrk-2)"),
        (("wrk-1", "wrk-2"), False, "2 of 5 drives"),
        (("srv-1",), True, "srv-1 has no drive that serves"),
        (("srv-2", "wrk-1", "wrk-2"), True, "1 of 5 drives"),
    ],
)
def test_a_server_is_stopped_only_if_the_others_can_do_without_it(
    down: tuple[str, ...], passed: bool, said: str
) -> None:
    verdict = minio_gate.arithmetic(server(), {name: DOWN if name in down else UP for name in NODES})
    assert verdict.passed is passed
    assert said in verdict.arithmetic


class Host:
    """A host whose fact answers one reading after the other, then the last one for ever."""

    def __init__(self, *readings: object) -> None:
        self.readings, self.said = list(readings), [""]

    def get_fact(self, _fact: object, **_arguments: object) -> object:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def log_styled(self, sentence: str, **_options: object) -> None:
        self.said.append(sentence)

    def log(self, sentence: str, *_options: object) -> None:
        self.said.append(sentence)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"WAIT_S": 0.05, "POLL_S": 0.001, "METRICS_LIFE_S": 0.001, "HEAL_STALLED_S": 0.05}.items():
        monkeypatch.setattr(minio_gate, name, seconds)


def pass_gate(gate: Any, host: Host) -> bool:
    return bool(gate.function(None, host, *gate.args))


def test_the_gate_before_a_restart_waits_until_every_drive_is_there() -> None:
    gate = minio_gate.before_restart(server())
    host = Host(health(wrk_2=DOWN), UNKNOWN, seen("srv-2", online=4), health())
    assert pass_gate(gate, host)
    assert len(host.readings) == 1
    never = Host(seen("srv-2", online=4))
    assert not pass_gate(gate, never)
    assert "cannot restart minio.service on srv-1: after" in never.said[-1]
    assert "srv-2 sees 4 of 5 drives" in never.said[-1]


def test_who_does_not_answer_waits_for_nobody() -> None:
    assert pass_gate(minio_gate.before_restart(server()), Host(health(srv_1=DOWN, wrk_2=DOWN)))


def test_the_gate_after_a_restart_waits_for_this_server_and_then_for_all() -> None:
    gate = minio_gate.after_start(server())
    host = Host(health(srv_1=DOWN), health(), health(wrk_1={**UP, "healing": 1}), health())
    assert pass_gate(gate, host)
    assert len(host.readings) == 1
    never = Host(health(srv_1=DOWN))
    assert not pass_gate(gate, never)
    assert "cannot go on from srv-1" in never.said[-1]
    assert "it does not answer (systemd says active)" in never.said[-1]


def test_whom_the_layout_cannot_spare_stops_only_if_that_was_allowed() -> None:
    host = Host(health(srv_1={**UP, "spare": False}))
    assert not pass_gate(minio_gate.before_restart(server()), host)
    assert pass_gate(minio_gate.before_restart(server(), interrupting=True), host)
    assert pass_gate(minio_gate.after_start(server()), host)


def test_who_is_started_only_has_to_serve() -> None:
    assert pass_gate(minio_gate.serving(server()), Host(UNKNOWN, health(wrk_1=DOWN, wrk_2=DOWN)))


def test_a_state_that_cannot_be_read_opens_no_gate() -> None:
    host = Host(UNKNOWN)
    assert not pass_gate(minio_gate.after_start(server()), host)
    assert "its state could not be read" in host.said[-1]


FORMAT: Format = {"cluster": "ours", "drive": IDS[0], "sets": [IDS]}


def drive(**changed: Any) -> DriveState:
    found: Any = {
        "file_system": "xfs", "size_bytes": 100, "used_bytes": 10, "error": None, "folder": {}, "foreign_entries": 0,
        "format": FORMAT, "format_damaged": False, "healing": False, "healed_items": None, **changed,
    }  # fmt: skip
    return found  # type: ignore[no-any-return]


def at(**changed: Any) -> dict[str, DriveState]:
    return {"/mnt/drive-1": drive(**changed)}


def test_healing_is_waited_for_as_long_as_it_goes_on() -> None:
    gate = minio_gate.healed(["/mnt/drive-1"], "srv-1")
    going = [at(healing=True, healed_items=number) for number in range(120)]  # longer than a standstill may be
    host = Host(at(format=None), UNKNOWN, *going, at(), at())
    assert pass_gate(gate, host)
    stuck = Host(at(healing=True, healed_items=7))
    assert not pass_gate(gate, stuck)
    assert "nothing moved for" in stuck.said[-1]
    assert "/mnt/drive-1 is being healed, 7 items so far" in stuck.said[-1]


def test_a_drive_counts_as_healed_when_it_was_seen_so_twice() -> None:
    """MinIO writes down that a drive is to be healed a moment after it has formatted it."""
    host = Host(at(format=None), at(), at(healing=True, healed_items=0), at(), at(), at(format=None))
    assert pass_gate(minio_gate.healed(["/mnt/drive-1"], "srv-1"), host)
    assert len(host.readings) == 1


def formats(**changed: Any) -> dict[str, Format]:
    """The other members' drives."""
    others: dict[str, Any] = {
        f"{name} /mnt/drive-1": {**FORMAT, "drive": IDS[number]} for number, name in enumerate(NODES) if number
    }
    return {**others, **changed}


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> dict[str, Format]:
    said = formats()
    monkeypatch.setattr(minio_drive, "_others", lambda _server: said)
    return said


def displaced(**changed: Any) -> str | None:
    return minio_drive._displaced(server(), at(format={**FORMAT, **changed}))


@pytest.mark.usefixtures("others")
def test_a_drive_in_its_place_is_right() -> None:
    assert displaced() is None
    assert minio_drive._displaced(server(), at(format=None)) is None


@pytest.mark.usefixtures("others")
def test_a_drive_of_another_cluster_is_not_taken() -> None:
    said = displaced(cluster="theirs")
    assert said is not None
    assert "was formatted by the cluster theirs, 4 drives here are of ours" in said


def test_of_two_clusters_of_one_drive_each_none_is_ours(others: dict[str, Format]) -> None:
    others.clear()
    assert displaced(cluster="theirs") is None  # nobody to compare with
    others["srv-2 /mnt/drive-1"] = {**FORMAT, "drive": IDS[1]}
    assert displaced(cluster="theirs") is not None


@pytest.mark.usefixtures("others")
def test_a_drive_of_another_place_is_named() -> None:
    said = displaced(drive=IDS[3])
    assert said is not None
    assert "is the drive of wrk-1 /mnt/drive-1" in said
    assert "that its own pool does not know" in str(displaced(drive="unheard-of"))


def test_whose_copy_lies_elsewhere_is_not_blamed_for_it(others: dict[str, Format]) -> None:
    others["wrk-2 /mnt/drive-1"] = FORMAT
    assert displaced() is None


@pytest.mark.usefixtures("others")
def test_a_drive_of_a_pool_of_another_shape_is_not_taken() -> None:
    assert "belongs to a pool of 4 drives in sets of 4, declared are 5 in sets of 5" in str(displaced(sets=[IDS[:4]]))
