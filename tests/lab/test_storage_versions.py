"""All five servers are restarted in turn with another build, while applications write and read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.lab.commands import ROOT
from tests.lab.conftest import LabCommand
from tests.lab.s3_client import sha256
from tests.lab.storage import Storage, storage, tell

pytestmark = pytest.mark.lab

OLD = {f"rolling/old/{number:03}": size for number, size in enumerate([1, 70_000, 2**18, 3 * 2**20] * 8)}
# The same source with another name in it: there is no second version to be had. Only its linking differs.
OTHER_VERSION = "2026-02-12T20:18:49Z"
OTHER_SHA256 = "6ed020ec4fdc5dd805e262cd3c0da328cd562c32e2c03d6495b794a9d0869b02"


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage(spare_command, tmp_path_factory.mktemp("rolling")) as made:
        yield made


def another_build(cluster: Storage) -> None:
    """From now on the checkout's lock file names another build of MinIO."""
    locks = cluster.folder / "locks"
    locks.unlink()
    locks.mkdir()
    told = yaml.safe_load((ROOT / "locks" / "artifacts.yaml").read_text())
    minio = told["artifacts"]["minio"]
    minio |= {"version": "another", "sha256": OTHER_SHA256}
    for source in minio["sources"]:
        source["variables"]["github.com/minio/minio/cmd.Version"] = OTHER_VERSION
    (locks / "artifacts.yaml").write_text(yaml.safe_dump(told))


def test_an_upgrade_is_not_noticed_by_who_reads_and_loses_nothing_that_was_written(
    cluster: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    writers = cluster.some(cluster.nodes[0], cluster.nodes[4])
    said = writers[0]("write", bucket=cluster.bucket, sizes=OLD)
    assert said["failed"] == {}
    hashes = {name: sha256(name, size) for name, size in OLD.items()}
    another_build(cluster)
    for client in writers:
        prefix = f"rolling/{client.node}"
        client.order("load", bucket=cluster.bucket, prefix=prefix, old=hashes, sizes=[500, 70_000, 2**20])
        assert client.answer() == {"loading": True}
    done = cluster.apply()
    found = {client.node: client.end_load() for client in writers}
    assert len(re.findall(r"^done .*one after the other", done, re.MULTILINE)) == len(cluster.nodes)
    for node, one in found.items():
        tell(capsys, f"{node}: {one['counts']}, slowest {one['slowest_s']}")
        assert {outcome for outcome in one["counts"] if outcome.startswith("read")} == {"read ok"}, one["counts"]
        assert len(one["written"]) > len(cluster.nodes)
        cluster.read([cluster.nodes[2]], one["written"])
    versions = cluster.run("storage", "status", cluster.lab.name)
    assert versions.stdout.count(OTHER_VERSION) == len(cluster.nodes), versions.stdout
