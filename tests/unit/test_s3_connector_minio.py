"""What only MinIO has, on a real one: the cluster as it sees itself, and how a damaged object is found and healed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.unit.s3_server import Endpoint, minio
from unterbau.connectors.s3_minio_state import _server

NOT_INLINE = "x" * (300 << 10)  # bytes: small ones lie in the metadata, and have no shard of their own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("minio")


@pytest.fixture(scope="module")
def endpoint(folder: Path) -> Iterator[Endpoint]:
    with minio(folder) as server:
        one = Endpoint(server)
        yield one
        one.connector.disconnect()


def asked(endpoint: Endpoint, method: str, **parameters: Any) -> Any:
    done, said = endpoint.ran(f"{method} {json.dumps(parameters)}")
    assert done, said
    return json.loads(said)


def healed(endpoint: Endpoint, **what: Any) -> list[dict[str, Any]]:
    """The problems that were found, once the heal has ended."""
    token, problems = asked(endpoint, "heal_start", **what)["token"], []
    for _ in range(3000):
        status = asked(endpoint, "heal_status", token=token)
        problems += status["problems"]
        if status["state"] != "running":
            assert (status["state"], status["error"]) == ("finished", "")
            return problems
        gevent.sleep(0.1)
    raise AssertionError("it does not end")


def test_the_cluster_says_its_layout_its_quorums_and_each_drive(endpoint: Endpoint, folder: Path) -> None:
    found = asked(endpoint, "cluster")
    assert found["sets"] == {"0/0": {"drives": 4, "online": 4, "healing": 0, "read_quorum": 2, "write_quorum": 3}}
    assert (found["parity"], found["read_quorum"], found["write_quorum"]) == (2, 2, 3)
    (node,) = found["nodes"].values()
    assert node["state"] == "online"
    assert found["versions"] == [node["version"]]
    assert set(node["drives"]) == {str(folder / f"drive-{number}") for number in range(1, 5)}
    assert {(drive["state"], drive["healing"], drive["set"]) for drive in node["drives"].values()} == {("ok", False, 0)}
    assert node["misses"] == []


def test_whom_a_server_does_not_reach_is_said_by_node() -> None:
    """As `info` of five servers had it, where the fourth could not resolve the names of the first three."""
    network = {"srv-1:9000": "offline", "srv-2:9000": "offline", "10.0.0.3:9000": "offline", "wrk-1:9000": "online"}
    found = _server({"state": "online", "network": network}, {"10.0.0.3": "srv-3"})
    assert (found["state"], found["misses"]) == ("online", ["srv-1", "srv-2", "srv-3"])


def flipped(endpoint: Endpoint, folder: Path, bucket: str) -> tuple[Path, bytes]:
    """A shard of `a/key` in a new bucket with one byte of it wrong: (its place, what it was)."""
    asked(endpoint, "create_bucket", Bucket=bucket)
    asked(endpoint, "put_object", Bucket=bucket, Key="a/key", Body=NOT_INLINE)
    shard = next((folder / "drive-1" / bucket).rglob("part.1"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    return shard, whole


def test_a_flipped_byte_is_never_read(endpoint: Endpoint, folder: Path) -> None:
    flipped(endpoint, folder, "read")
    assert asked(endpoint, "get_object", Bucket="read", Key="a/key")["Body"] == NOT_INLINE


def test_a_flipped_byte_is_found_by_a_deep_heal_and_repaired(endpoint: Endpoint, folder: Path) -> None:
    _, whole = flipped(endpoint, folder, "healed")  # nobody reads it: MinIO heals what it read wrong by itself, soon
    (problem,) = healed(endpoint, bucket="healed", deep=True) or [{}]
    assert (problem["bucket"], problem["key"]) == ("healed", "a/key")
    assert problem["before"][str(folder / "drive-1")] == "corrupt"
    assert set(problem["after"].values()) == {"ok"}
    assert next((folder / "drive-1/healed").rglob("part.1")).read_bytes() == whole
    assert healed(endpoint, bucket="healed", deep=True) == []


def test_metadata_that_minio_cannot_read_and_does_not_repair_is_a_problem(endpoint: Endpoint, folder: Path) -> None:
    asked(endpoint, "create_bucket", Bucket="described")
    asked(endpoint, "put_object", Bucket="described", Key="key", Body="x")
    place = folder / "drive-1/described/key/xl.meta"
    whole = place.read_bytes()
    place.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert asked(endpoint, "get_object", Bucket="described", Key="key")["Body"] == "x"
    (problem,) = healed(endpoint, bucket="described", deep=True) or [{}]
    for when in ("before", "after"):
        assert problem[when][str(folder / "drive-1")].startswith("unknown (xlMetaV2.Load version(3), CRC mismatch")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"bucket": "no-such-bucket"}, "cannot head_bucket no-such-bucket: found 404 (status 404)"),
        ({"prefix": "a"}, "cannot heal 'a': found a prefix without its bucket; name both"),
    ],
)
def test_a_heal_of_what_is_not_there_does_not_begin(endpoint: Endpoint, what: dict[str, str], said: str) -> None:
    done, answer = endpoint.ran(f"heal_start {json.dumps(what)}")
    assert not done
    assert answer.startswith(said)
