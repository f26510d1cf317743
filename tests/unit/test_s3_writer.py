"""A writer of backups, on a real MinIO: it does its work, and whoever steals its key can destroy nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from operations.s3_object import call
from tests.s3_target import Target
from tests.s3_writer import ATTEMPTS, DONE, WORK, said, tried
from tests.unit.s3_server import SECRET, Endpoint, Server, minio
from unterbau.declaration import S3Policy, S3Statement
from unterbau.domain.s3_policy import document

FORMS = ("post a form", "post a form with a shorter retention", "post a form over the version")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with minio(tmp_path_factory.mktemp("minio")) as one:
        yield one


def writer_of(server: Server, bucket: str, policy: S3Policy, mode: str = "COMPLIANCE") -> Target:
    """A bucket with retention, and a writer with this policy; other data beside it."""
    endpoint = Endpoint(server)
    rule = {"DefaultRetention": {"Mode": mode, "Days": 1}}
    locked = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    for command in (
        call("create_bucket", Bucket=bucket, ObjectLockEnabledForBucket=True),
        call("put_object_lock_configuration", Bucket=bucket, ObjectLockConfiguration=locked),
        call("create_bucket", Bucket=f"{bucket}-other"),
        call("put_object", Bucket=f"{bucket}-other", Key="secret", Body="of others"),
        call("put_mark", kind="bucket", name=bucket),
        call("put_policy", name=policy.name, document=document(policy.every_statement)),
        call("put_user", name=bucket, secret="secret-of-the-writer", enabled=True),
        call("attach", policies=[policy.name], user=bucket),
    ):
        done, answer = endpoint.ran(command)
        assert done, answer
    endpoint.connector.disconnect()
    return Target(
        server.url, str(server.roots), "unterbau", SECRET, bucket, "secret-of-the-writer", bucket, f"{bucket}-other"
    )


@pytest.fixture(scope="module")
def target(server: Server) -> Target:
    return writer_of(server, "backups", S3Policy(name="append", appends_to=("backups",)))


@pytest.mark.parametrize("name", WORK)
def test_a_writer_does_its_work(target: Target, name: str) -> None:
    assert said(target, WORK[name]) == DONE
    assert target.broken() == []


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_writer_can_do_nothing_else(target: Target, name: str) -> None:
    answer, broken = tried(target, {name: ATTEMPTS[name]})[name]
    assert broken == []
    assert answer != DONE
    assert "403" in answer or "AccessDenied" in answer or "WORM protected" in answer


def test_why_appending_denies_forms(server: Server) -> None:
    """Without the denials a form replaces even what is under COMPLIANCE retention: the attempts do find it."""
    actions = ("s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
    plain = S3Policy(name="plain", statements=(S3Statement(actions=actions, resources=("plain/*",)),))
    found = tried(writer_of(server, "plain", plain), {name: ATTEMPTS[name] for name in FORMS})
    assert {answer for answer, _ in found.values()} == {DONE}
    assert found["post a form over the version"][1][0] == "its content is b'replaced'"


def test_why_retention_is_compliance(server: Server) -> None:
    """Whoever says that it is bypassed shortens GOVERNANCE, without any permission to; no policy can deny it."""
    policy = S3Policy(name="governed", appends_to=("governed",))
    target = writer_of(server, "governed", policy, "GOVERNANCE")
    answer, broken = tried(target, {"it": ATTEMPTS["shorten the retention, bypassing"]})["it"]
    assert answer == DONE
    assert "its retention is {'Mode': 'COMPLIANCE'" in broken[0]
