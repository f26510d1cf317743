"""What somebody tries who stole the key of a writer of backups: `python -m tests.s3_writer` in any network namespace.

Each attempt is really made, with boto3 and by raw requests, and after each the first version of an object is looked at
by the root: its bytes, its retention, what the bucket says of versions. Standard input is a JSON `Target`; standard
output {"attempts": {name: [what was answered, what is no more as it was]}, "work": {name: what was answered}}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError
from minio.error import MinioAdminException

from tests.s3_target import Target, added

DONE = "done"
SOON = timedelta(seconds=30)


class RefusedError(Exception):
    """An answer that boto3 does not make an exception of."""


Attempt = Callable[[Target], object]


def _retained(mode: str, *, bypass: bool, days: int = 0) -> Attempt:
    def attempt(target: Target) -> object:
        until = datetime.now(UTC) + (timedelta(days=days) if days else SOON)
        return target.by_writer.put_object_retention(
            Bucket=target.bucket, **target.first, Retention={"Mode": mode, "RetainUntilDate": until},
            BypassGovernanceRetention=bypass,
        )  # fmt: skip

    return attempt


def _locked(operation: str, **more: Any) -> Attempt:
    """A new version, with a shorter retention than the bucket's."""

    def attempt(target: Target) -> object:
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime.now(UTC) + SOON}
        source = {"CopySource": f"{target.bucket}/{target.first['Key']}"} if operation == "copy_object" else {}
        return getattr(target.by_writer, operation)(
            Bucket=target.bucket, Key=target.first["Key"], **lock, **source, **more
        )

    return attempt


def _over_the_version(operation: str, method: str) -> Attempt:
    """A request that names the version it would replace."""

    def attempt(target: Target) -> object:
        to = {"Bucket": target.bucket, "Key": target.first["Key"]}
        with added(target.by_writer, operation, f"versionId={target.first['VersionId']}") as client:
            if method == "copy_object":
                return client.copy_object(**to, CopySource=f"{target.bucket}/{to['Key']}", MetadataDirective="REPLACE")
            if method == "put_object":
                return client.put_object(**to, Body=b"replaced")
            return _multipart(client, to, b"replaced")

    return attempt


def _multipart(client: Any, to: Mapping[str, str], content: bytes) -> object:
    upload = client.create_multipart_upload(**to)["UploadId"]
    part = client.upload_part(**to, UploadId=upload, PartNumber=1, Body=content)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    return client.complete_multipart_upload(**to, UploadId=upload, MultipartUpload=parts)


def _presigned(target: Target) -> object:
    url = target.by_writer.generate_presigned_url(
        "put_object", Params={"Bucket": target.bucket, "Key": target.first["Key"]}
    )
    return _answered(
        requests.put(f"{url}&versionId={target.first['VersionId']}", b"x", verify=target.authorities, timeout=30)
    )


def _form(*, over: bool = False, locked: bool = False) -> Attempt:
    """An upload as pages of browsers do it."""

    def attempt(target: Target) -> object:
        until = f"{datetime.now(UTC) + SOON:%Y-%m-%dT%H:%M:%SZ}"
        lock = {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": until} if locked else {}
        form = target.by_writer.generate_presigned_post(
            target.bucket, target.first["Key"], Fields=lock, Conditions=[{name: text} for name, text in lock.items()]
        )
        url = f"{form['url']}?versionId={target.first['VersionId']}" if over else form["url"]
        files = {"file": b"replaced"}
        return _answered(requests.post(url, form["fields"], files=files, verify=target.authorities, timeout=30))

    return attempt


def _answered(answer: requests.Response) -> object:
    if not answer.ok:
        raise RefusedError(f"{answer.status_code} {answer.text[:200]}")
    return answer


def _many(target: Target) -> object:
    objects = [{"Key": target.first["Key"]}, dict(target.first)]
    answer = target.by_writer.delete_objects(
        Bucket=target.bucket, Delete={"Objects": objects}, BypassGovernanceRetention=True
    )
    if not answer.get("Deleted"):
        raise RefusedError(f"{answer['Errors'][0]['Code']}")
    return answer


def _marker(target: Target) -> object:
    key = f"{target.first['Key']}.deleted"
    target.by_writer.put_object(Bucket=target.bucket, Key=key, Body=b"x")
    marker = target.by_root.delete_object(Bucket=target.bucket, Key=key)["VersionId"]
    return target.by_writer.delete_object(Bucket=target.bucket, Key=key, VersionId=marker)


def _forced(target: Target) -> object:
    with added(target.by_writer, "DeleteBucket", x_minio_force_delete="true") as client:
        return client.delete_bucket(Bucket=target.bucket)


def _replica(target: Target) -> object:
    with added(target.by_writer, "PutObject", X_Amz_Replication_Status="REPLICA") as client:
        return client.put_object(Bucket=target.bucket, Key=target.first["Key"], Body=b"without retention")


def _of_object(method: str, *, versioned: bool = True, **more: Any) -> Attempt:
    def attempt(target: Target) -> object:
        which = target.first if versioned else {"Key": target.first["Key"]}
        return getattr(target.by_writer, method)(Bucket=target.bucket, **which, **more)

    return attempt


def _of_bucket(method: str, **more: Any) -> Attempt:
    return lambda target: getattr(target.by_writer, method)(Bucket=target.bucket, **more)


def _of_another(method: str, **more: Any) -> Attempt:
    return lambda target: getattr(target.by_writer, method)(Bucket=target.other, **more)


def _hold(status: str) -> Attempt:
    return lambda target: target.by_writer.put_object(
        Bucket=target.bucket, Key=target.first["Key"], Body=b"x", ObjectLockLegalHoldStatus=status
    )


def _with_policy(target: Target) -> object:
    return target.admin.attach_policy(["consoleAdmin"], user=target.writer)


RULE = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
OPEN = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::backups/*"}],
}
ATTEMPTS: dict[str, Attempt] = {
    "delete the object": _of_object("delete_object", versioned=False),
    "delete the version": _of_object("delete_object"),
    "delete the version, bypassing": _of_object("delete_object", BypassGovernanceRetention=True),
    "delete many at once": _many,
    "delete a delete marker": _marker,
    "delete the bucket": _of_bucket("delete_bucket"),
    "delete the bucket by force": _forced,
    "put over the version": _over_the_version("PutObject", "put_object"),
    "copy over the version": _over_the_version("CopyObject", "copy_object"),
    "begin an upload over the version": _over_the_version("CreateMultipartUpload", "multipart"),
    "end an upload over the version": _over_the_version("CompleteMultipartUpload", "multipart"),
    "put over the version by a signed address": _presigned,
    "post a form": _form(),
    "post a form with a shorter retention": _form(locked=True),
    "post a form over the version": _form(over=True),
    "put with a shorter retention": _locked("put_object", Body=b"x"),
    "copy with a shorter retention": _locked("copy_object"),
    "begin an upload with a shorter retention": _locked("create_multipart_upload"),
    "put as a replica": _replica,
    "put with a legal hold": _hold("ON"),
    "put without a legal hold": _hold("OFF"),
    "shorten the retention": _retained("COMPLIANCE", bypass=False),
    "shorten the retention, bypassing": _retained("COMPLIANCE", bypass=True),
    "shorten the retention to GOVERNANCE": _retained("GOVERNANCE", bypass=False),
    "shorten the retention to GOVERNANCE, bypassing": _retained("GOVERNANCE", bypass=True),
    "lengthen the retention": _retained("COMPLIANCE", bypass=False, days=3650),
    "lengthen the retention, bypassing": _retained("COMPLIANCE", bypass=True, days=3650),
    "lift a legal hold": _of_object("put_object_legal_hold", LegalHold={"Status": "OFF"}),
    "tag the version": _of_object("put_object_tagging", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
    "restore the version": _of_object("restore_object", RestoreRequest={"Days": 1}),
    "suspend versioning": _of_bucket("put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"}),
    "change the lock": _of_bucket(
        "put_object_lock_configuration", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    ),
    "let it expire": _of_bucket("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": [RULE]}),
    "open the bucket": _of_bucket("put_bucket_policy", Policy=json.dumps(OPEN)),
    "drop the bucket's policy": _of_bucket("delete_bucket_policy"),
    "tag the bucket": _of_bucket("put_bucket_tagging", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
    "make a bucket": lambda target: target.by_writer.create_bucket(Bucket=f"{target.bucket}-of-mine"),
    "read from another bucket": _of_another("get_object", Key="secret"),
    "list another bucket": _of_another("list_objects_v2"),
    "write to another bucket": _of_another("put_object", Key="secret", Body=b"x"),
    "delete in another bucket": _of_another("delete_object", Key="secret"),
    "copy from another bucket": lambda target: target.by_writer.copy_object(
        Bucket=target.bucket, Key="stolen", CopySource=f"{target.other}/secret"
    ),
    "read the marks": lambda target: target.by_writer.list_objects_v2(Bucket="unterbau"),
    "forge a mark": lambda target: target.by_writer.put_object(Bucket="unterbau", Key="marks/user/x", Body=b"{}"),
    "make a user": lambda target: target.admin.user_add("evil", "secret-of-evil"),
    "list users": lambda target: target.admin.user_list(),
    "give itself a policy": _with_policy,
}
# What MinIO lets every user do, whatever its policies: where clients are let in, this must not be reachable.
SELF_SERVICE: dict[str, Attempt] = {
    "make a key of its own": lambda target: target.admin.add_service_account(
        access_key="key-of-mine", secret_key="secret-of-mine"
    ),
    "change its own secret": lambda target: target.admin.user_add(target.writer, target.writer_secret),
    "borrow a key": lambda target: boto3.client(
        "sts", endpoint_url=target.url, aws_access_key_id=target.writer, aws_secret_access_key=target.writer_secret,
        region_name="us-east-1", verify=target.authorities, config=Config(retries={"total_max_attempts": 1}),
    ).assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="mine", DurationSeconds=900),
}  # fmt: skip


def _upload_ended(target: Target) -> object:
    to = {"Bucket": target.bucket, "Key": "given-up"}
    upload = target.by_writer.create_multipart_upload(**to)["UploadId"]
    target.by_writer.list_parts(**to, UploadId=upload)
    return target.by_writer.abort_multipart_upload(**to, UploadId=upload)


def _read(target: Target, content: bytes) -> None:
    found = target.by_writer.get_object(Bucket=target.bucket, Key="work")["Body"].read()
    if found != content:
        raise RefusedError(f"read {found!r}")


def _put_and_read(target: Target) -> object:
    target.by_writer.put_object(Bucket=target.bucket, Key="work", Body=b"one")
    return _read(target, b"one")


def _replaced_and_read(target: Target) -> object:
    target.by_writer.put_object(Bucket=target.bucket, Key="work", Body=b"two")
    return _read(target, b"two")


def _in_parts_and_read(target: Target) -> object:
    _multipart(target.by_writer, {"Bucket": target.bucket, "Key": "work"}, b"three")
    return _read(target, b"three")


# What a writer of backups needs
WORK: dict[str, Attempt] = {
    "put and read": _put_and_read,
    "put again and read": _replaced_and_read,
    "upload in parts and read": _in_parts_and_read,
    "give an upload up": _upload_ended,
    "see what is being uploaded": _of_bucket("list_multipart_uploads"),
    "list": _of_bucket("list_objects_v2"),
    "ask where it is": _of_bucket("get_bucket_location"),
    "put over the object": lambda target: target.by_writer.put_object(
        Bucket=target.bucket, Key=target.first["Key"], Body=b"a newer one"
    ),
}


def said(target: Target, attempt: Attempt) -> str:
    """DONE, or what was answered."""
    try:
        attempt(target)
    except (ClientError, RefusedError, MinioAdminException) as error:
        return str(error)
    return DONE


def tried(target: Target, attempts: Mapping[str, Attempt]) -> dict[str, tuple[str, list[str]]]:
    """{attempt: (what was answered, what is no more as it was)}."""
    assert target.retention and target.configuration
    return {name: (said(target, attempt), target.broken()) for name, attempt in attempts.items()}


def main() -> None:
    """See the module."""
    target = Target(**json.load(sys.stdin))
    work = {name: said(target, attempt) for name, attempt in WORK.items()}
    json.dump({"work": work, "attempts": tried(target, {**ATTEMPTS, **SELF_SERVICE})}, sys.stdout)


if __name__ == "__main__":
    main()
