"""Healing, against what the servers answered in the lab: what is counted, what ends it, and what is no success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from unterbau.connectors.s3_minio import MinioEngine
from unterbau.declaration import Environment
from unterbau.storage import cli, heal
from unterbau.storage.connection import StorageError
from unterbau.storage.heal import Result, Unhealed

RECORDED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "storage_recorded.yaml").read_text())["heals"]
STARTED = {"clientToken": "a1c72fbb-b1dc-447a-86e4-3368b3be5eec:0", "startTime": "2026-11-22T04:41:35.622967465Z"}
RUNNING = {"Summary": "running", "StartTime": "2026-11-22T04:41:35Z", "Items": None}


class Servers:
    """MinIO's own answers, one after the other, through the connector's engine."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = [STARTED, *answers]
        self.asked: list[tuple[str, str, bytes]] = []
        self._engine = MinioEngine(self)  # type: ignore[arg-type]

    def signed(self, method: str, path: str, query: dict[str, str], body: Any = None) -> bytes:
        self.asked.append((path, query.get("clientToken", ""), body("")))
        return json.dumps(self._answers.pop(0)).encode()

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert (method, set(parameters)) == ("head_bucket", {"Bucket"})
        return {}

    def ask(self, command: str, **parameters: Any) -> Any:
        return self._engine.command(command)(**parameters)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "LOOK_AGAIN_S", 0)


def healed(*answers: dict[str, Any], bucket: str = "", deep: bool = False) -> tuple[Result, Servers, list[str]]:
    servers, said = Servers(*answers), []
    return heal.heal(servers, bucket, said.append, deep=deep), servers, said


def test_shards_that_were_missing_are_there_again() -> None:
    result, servers, said = healed(*RECORDED["healed"])
    assert (result.looked_at, result.healed, result.unhealed, result.error) == (3, 1, 0, None)
    assert result.whole
    assert said == [f"healing everything, begun at {STARTED['startTime']}"]
    assert [path for path, *_ in servers.asked] == ["/minio/admin/v3/heal/"] * (1 + len(RECORDED["healed"]))
    assert [token for _, token, _ in servers.asked] == ["", *[STARTED["clientToken"]] * len(RECORDED["healed"])]
    assert json.loads(servers.asked[0][2]) == {"recursive": True, "scanMode": 1}


def test_one_bucket_to_the_last_byte() -> None:
    result, servers, said = healed(*RECORDED["healed"], bucket="one", deep=True)
    assert result.whole
    assert {path for path, *_ in servers.asked} == {"/minio/admin/v3/heal/one"}
    assert json.loads(servers.asked[0][2])["scanMode"] == 2
    assert said[0].startswith("healing one, ")


def test_a_node_that_is_away_leaves_objects_unhealed() -> None:
    result, *_ = healed(*RECORDED["offline"])
    assert (result.healed, result.unhealed, result.whole) == (0, 1, False)
    assert str(result.unhealed_first[0]) == "one/few/0: offline on https://wrk-1:9000/mnt/drive-1/minio"


def test_what_minio_does_not_repair_is_said_with_the_way_out() -> None:
    [*_, answer] = RECORDED["offline"]
    [item] = [one for one in answer["Items"] if one["object"]]
    state = "unknown (xlMetaV2.Load version(3), CRC mismatch, want 0xa78d2092, got 0xbc786d12)"
    drives = {"drives": [{"endpoint": "https://wrk-1:9000/mnt/drive-1/minio", "state": state}]}
    result, *_ = healed({**answer, "Items": [{**item, "before": drives, "after": drives}]})
    assert (result.healed, result.unhealed, result.whole) == (0, 1, False)
    assert str(result.unhealed_first[0]) == (
        f"one/few/0: {state} on https://wrk-1:9000/mnt/drive-1/minio; MinIO repairs no xl.meta that it cannot read: "
        "move the object's folder on that drive away, then heal again"
    )


def test_what_the_servers_gave_up_is_no_success() -> None:
    """Three of five shards were lost: MinIO removes the other two, says "not found" and shows no drive."""
    result, *_ = healed(*RECORDED["dangling"])
    assert (result.unhealed, result.whole) == (1, False)
    assert str(result.unhealed_first[0]) == (
        "one/few/1: the servers could not put it together, and may have removed what was left of it: "
        "Object not found: one/few/1"
    )


def test_what_was_deleted_meanwhile_is_nothing_to_heal() -> None:
    [*_, answer] = RECORDED["dangling"]
    drives = [{"endpoint": f"https://{node}:9000/mnt/drive-1/minio", "state": "missing"} for node in "abcde"]
    item = {**answer["Items"][-1], "before": {"drives": drives}, "after": {"drives": drives}}
    result, *_ = healed({**answer, "Items": [item]})
    assert (result.looked_at, result.healed, result.unhealed, result.whole) == (1, 0, 0, True)


def test_a_server_that_went_away_is_not_believed_to_have_finished() -> None:
    result, *_ = healed(RUNNING, *RECORDED["lost"])
    assert not result.whole
    assert result.error is not None
    assert result.error.startswith("the server that healed was restarted or went away")


def test_one_that_has_not_begun_yet_is_waited_for() -> None:
    result, *_ = healed({**RECORDED["lost"][0], "Summary": "not started"}, *RECORDED["healed"])
    assert result.whole


def test_a_heal_that_stopped_says_why() -> None:
    result, *_ = healed({**RUNNING, "Summary": "stopped", "Detail": "Heal internal error: SlowDownRead"})
    assert result.error == "it ended as stopped: Heal internal error: SlowDownRead; heal again"


def test_silence_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "SILENT_S", -1)
    result, *_ = healed(RUNNING)
    assert result.error is not None
    assert "nothing was looked at" in result.error


def test_its_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "TELL_EVERY_S", 0)
    *_, said = healed(RUNNING, *RECORDED["healed"])
    assert said[1] == "looked at 0, healed 0, not healed 0"


def test_of_very_many_only_the_first_are_kept_and_all_are_counted() -> None:
    result = Result()
    problem = {"bucket": "one", "key": "a", "version": "null", "error": "", "before": {}, "after": {"d": "offline"}}
    result.take({"seen": 1000, "problems": [problem] * 1000})
    assert (result.unhealed, len(result.unhealed_first)) == (1000, heal.LARGEST_KEPT)
    lines = cli.report(result).splitlines()
    assert (lines[0], lines[-1]) == ("looked at 1000, healed 0, not healed 1000", "! and 980 more")


def test_a_version_is_named() -> None:
    assert str(Unhealed("one", "a", "7f3c", "missing on d")) == "one/a (version 7f3c): missing on d"
    assert str(Unhealed("one", "", "", "missing on d")) == "one: missing on d"


# The command


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(cli, "load", lambda name, root: Environment)
    monkeypatch.setattr(cli.Interrupts, "__enter__", lambda self: self)
    monkeypatch.setattr(cli.Interrupts, "__exit__", lambda *_: None)
    return monkeypatch


def ran(environment: pytest.MonkeyPatch, servers: Any, *arguments: str) -> tuple[int, str, str]:
    class Connected:
        def __enter__(self) -> Any:
            return servers

        def __exit__(self, *_: object) -> None: ...

    environment.setattr(cli, "service", lambda *_: Connected())
    done = CliRunner().invoke(cli.storage, ["heal", "lab", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_exit_code_says_whether_all_is_whole(environment: pytest.MonkeyPatch) -> None:
    assert ran(environment, Servers(*RECORDED["healed"]))[:2] == (0, "looked at 3, healed 1, not healed 0\n")
    code, out, _ = ran(environment, Servers(RUNNING, *RECORDED["lost"]), "--json")
    assert (code, json.loads(out)["whole"]) == (1, False)
    code, out, _ = ran(environment, Servers(RUNNING, *RECORDED["lost"]))
    assert (code, out.splitlines()[1]) == (1, f"! cannot say that all is healed: {heal.LOST}")


@pytest.mark.parametrize("error", [StorageError("cannot reach the S3 API: no server"), KeyboardInterrupt()])
def test_what_ends_it_early_is_a_sentence(environment: pytest.MonkeyPatch, error: BaseException) -> None:
    class Broken:
        def ask(self, command: str, **_: Any) -> Any:
            raise error

    words = cli.INTERRUPTED if isinstance(error, KeyboardInterrupt) else str(error)
    code, out, _ = ran(environment, Broken(), "--json")
    assert (code, json.loads(out)["error"]) == (1, words)
    assert click.ClickException(words).message in ran(environment, Broken())[2]


@pytest.mark.parametrize("bucket", ["../info", "one/few", "x; reboot", "One"])
def test_a_bucket_that_is_none_asks_nobody(environment: pytest.MonkeyPatch, bucket: str) -> None:
    servers = Servers()
    code, _, err = ran(environment, servers, "--bucket", bucket)
    assert (code, servers.asked) == (1, [])
    assert f"cannot heal {bucket!r}: found no bucket's name" in err
