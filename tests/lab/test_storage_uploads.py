"""A server killed and a machine without power in the middle of 50 multipart uploads: what was acknowledged is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.s3_client import sha256
from tests.lab.storage import Storage, storage, tell

pytestmark = pytest.mark.lab

UPLOADS, PARTS, PART_SIZE = 50, 2, 5 * 2**20  # S3's smallest part
PREFIX = "uploads"


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage(spare_command, tmp_path_factory.mktemp("uploads")) as made:
        yield made


def test_no_acknowledged_upload_is_lost(cluster: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    ours, killed, cut = cluster.nodes[0], cluster.nodes[3], cluster.nodes[4]
    client = cluster.client(ours)
    client.order("uploads", bucket=cluster.bucket, prefix=PREFIX, count=UPLOADS, parts=PARTS, part_size=PART_SIZE)
    seen = []
    while "acknowledged" in (said := client.answer()):
        seen.append(said["acknowledged"])
        if len(seen) == UPLOADS // 5:
            cluster.on(killed, "kill -9 $(systemctl show --value -p MainPID minio)")
        if len(seen) == UPLOADS // 2:
            cluster.kill(cut)
    acknowledged, failed = said["written"], said["failed"]
    tell(capsys, f"{len(acknowledged)} of {UPLOADS} uploads were acknowledged; refused: {sorted(failed.values())}")
    assert len(acknowledged) > UPLOADS // 2, failed  # it went on after both
    rest = [node for node in cluster.nodes if node != cut]
    cluster.until_serving(*rest)
    cluster.read(rest, acknowledged)
    whole = cluster.client(ours)("listing", bucket=cluster.bucket, prefix=PREFIX)["names"]
    assert set(acknowledged) <= set(whole)
    assert set(whole.values()) == {PARTS * PART_SIZE}
    # What was written and not acknowledged is whole, or it is not there.
    cluster.read([ours], {name: sha256(name, size) for name, size in whole.items()})
    cluster.start()
    cluster.heal_until_whole()
    assert cluster.uneven(PREFIX) == {}
    cluster.read([killed, cut], acknowledged)
