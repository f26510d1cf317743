"""A snapshot out of a real S3 service, as the first server fetches it: signed, verified, keys on standard input."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.unit.s3_server import SECRET, Server, minio
from unterbau.etcd import restore_steps
from unterbau.etcd.restore_steps import Places

CONTENT = bytes(range(256)) * 512


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("s3")
    with minio(folder) as found:
        client = boto3.client(
            "s3", endpoint_url=found.url, verify=str(found.roots), region_name="us-east-1",
            aws_access_key_id="unterbau", aws_secret_access_key=SECRET,
        )  # fmt: skip
        client.create_bucket(Bucket="snapshots")
        client.put_object(Bucket="snapshots", Key="k3s/etcd-snapshot-srv-1-1", Body=CONTENT)
        yield found


def fetched(server: Server, places: Places, name: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    command = restore_steps.download(places, f"{server.url}/snapshots/k3s/{name}", "us-east-1", str(server.roots))
    assert SECRET not in command
    login = restore_steps.login("unterbau", secret)
    return subprocess.run(["sh", "-c", command], input=login + "\n", capture_output=True, text=True, check=False)


def test_it_comes_whole_and_readable_by_root_only(server: Server, tmp_path: Path) -> None:
    places = Places(ours=str(tmp_path / "ours"))
    done = fetched(server, places, "etcd-snapshot-srv-1-1")
    assert done.returncode == 0, done.stderr
    identity = done.stdout.split()[0][:12]
    assert done.stdout.split()[0] == hashlib.sha256(CONTENT).hexdigest()
    subprocess.run(["sh", "-c", restore_steps.downloaded(places, identity)], check=True)
    file = Path(places.snapshot(identity))
    assert file.read_bytes() == CONTENT
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "secret", "said"), [("gone", SECRET, "404"), ("gone", 'an"other\\one', "403")])
def test_what_does_not_come_is_an_error(server: Server, tmp_path: Path, name: str, secret: str, said: str) -> None:
    done = fetched(server, Places(ours=str(tmp_path / "ours")), name, secret)
    assert done.returncode != 0
    assert said in done.stderr
