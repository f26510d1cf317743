"""A drive that lost what it held, one with a wrong byte: what is read stays right, and both are made whole again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.s3_client import sha256
from tests.lab.storage import DRIVE, FOLDER, Storage, digest, flip, storage, until
from unterbau.lab import drive

pytestmark = pytest.mark.lab

LARGE, SMALL_NAME = "drive/large", "drive/small"
SIZES = {LARGE: 9 * 2**20 + 5, SMALL_NAME: 20_000, **{f"drive/{number}": 1 + number * 40_000 for number in range(30)}}
HASHES = {name: sha256(name, size) for name, size in SIZES.items()}
SMALL = {SMALL_NAME: HASHES[SMALL_NAME]}


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage(spare_command, tmp_path_factory.mktemp("drive")) as made:
        said = made.client(made.nodes[0])("write", bucket=made.bucket, sizes=SIZES)
        assert said["failed"] == {}
        yield made


@pytest.fixture(autouse=True)
def whole(cluster: Storage) -> None:
    """Each test begins with all shards in place, and with servers that reach each other: a heal asks all of them."""
    cluster.until_all_see_all(LARGE)
    until(lambda: cluster.uneven("drive") == {})  # a drive that was too slow for a write gets its shard a moment later


def test_what_was_removed_from_a_drive_under_a_running_server_is_put_back(cluster: Storage) -> None:
    """MinIO looks for such a drive every 10 to 25 s itself, and begins before the plan or the apply now and then."""
    node = cluster.nodes[1]

    def seen() -> bool:
        cluster.on(node, f"find {FOLDER} -mindepth 1 -delete")
        code, said = cluster.plan()
        assert (code, f"drive {DRIVE}" in said) in ((2, True), (0, False)), said
        return code == 2

    until(seen)
    cluster.read([node], HASHES)
    said = cluster.apply()
    assert (f"drive {DRIVE}" in said) != ("No changes." in said), said
    until(lambda: cluster.uneven() == {})
    cluster.read([node], HASHES)
    assert cluster.plan()[0] == 0


def test_a_folder_that_is_gone_is_made_and_filled_again(cluster: Storage) -> None:
    node = cluster.nodes[3]
    cluster.on(node, f"rm -rf {FOLDER}")
    code, said = cluster.plan()
    assert code == 2, said
    assert f"folder {FOLDER}" in said, said
    cluster.read([node], HASHES)
    cluster.apply()
    assert cluster.uneven() == {}
    cluster.read([node], HASHES)
    assert cluster.plan()[0] == 0


def test_a_new_drive_in_the_place_of_a_lost_one_is_filled(cluster: Storage) -> None:
    node = cluster.nodes[4]
    cluster.kill(node)
    drive.OBJECTS.image(cluster.lab.machine(node)).unlink()
    cluster.command.must("fault", "undo", node)
    code, said = cluster.plan()
    assert code == 2, said
    assert f"folder {FOLDER}" in said, said
    cluster.apply()
    cluster.heal_until_whole()
    assert cluster.uneven() == {}
    cluster.read(cluster.nodes, HASHES)
    assert cluster.plan()[0] == 0


def test_a_wrong_byte_is_never_read_and_is_found_and_healed(cluster: Storage) -> None:
    node = cluster.nodes[0]
    shard = cluster.shard(node, LARGE)
    before = digest(shard)
    flip(shard, shard.stat().st_size // 2)
    assert digest(shard) != before
    cluster.read(cluster.nodes, HASHES)
    said = cluster.heal("--deep")
    assert said["whole"]
    assert digest(shard) == before
    again = cluster.heal("--deep")
    assert (again["whole"], again["healed"]) == (True, 0)


def test_a_wrong_byte_of_a_small_object_is_never_read_and_is_found_and_healed(cluster: Storage) -> None:
    """It lies in a file of its own, as MinIO is told: beside its metadata, one read of ten was refused."""
    shard = cluster.shard(cluster.nodes[2], SMALL_NAME)
    before = digest(shard)
    flip(shard, shard.stat().st_size - 100)
    for _ in range(10):
        cluster.read(cluster.nodes, SMALL)
    assert cluster.heal("--deep")["whole"]
    assert digest(shard) == before
    again = cluster.heal("--deep")
    assert (again["whole"], again["healed"]) == (True, 0)


def test_a_wrong_byte_in_what_describes_an_object_is_named_and_healed_once_it_is_moved_away(cluster: Storage) -> None:
    place = metadata(cluster)
    flip(place, 100)
    cluster.read(cluster.nodes, SMALL)
    said = cluster.heal()
    assert (said["whole"], said["unhealed"]) == (False, 1)
    assert "CRC mismatch" in said["unhealed_first"][0]["reason"]
    shutil.rmtree(place.parent)
    said = cluster.heal()
    assert (said["whole"], said["healed"]) == (True, 1)
    assert cluster.uneven("drive") == {}
    cluster.read(cluster.nodes, SMALL)


def metadata(cluster: Storage) -> Path:
    return cluster.drive(cluster.nodes[2]) / cluster.bucket / SMALL_NAME / "xl.meta"
