"""Buckets in one answer each: how they are set, what is in them, how they are emptied. S3's own calls only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.s3_client import S3Client
from unterbau.connectors.s3_wire import S3Error

COUNTED = 100_000  # versions that are listed to say what a bucket holds
LOOKED_AT = 1_000  # versions, newest first, whose retention is asked for: one request each
ABSENT = frozenset(
    {
        "NoSuchBucketPolicy", "NoSuchLifecycleConfiguration", "NoSuchTagSet", "NoSuchTagSetError",
        "NoSuchCORSConfiguration", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration",
    }
)  # fmt: skip

Quota = Callable[[str], int | None]


class Buckets:
    """See the module."""

    def __init__(self, client: S3Client, *, cors: bool, quota: Quota) -> None:
        self._client, self._cors, self._quota = client, cors, quota

    def described(self, names: list[str] | None) -> dict[str, Any]:
        """{name: how it is set} of these that exist, or of all."""
        there = {bucket["Name"] for bucket in self._client.call("list_buckets", {}).get("Buckets", [])}
        return {name: self._one(name) for name in sorted(there if names is None else there & set(names))}

    def _one(self, bucket: str) -> dict[str, Any]:
        lock = self._setting("get_object_lock_configuration", bucket).get("ObjectLockConfiguration")
        tags = self._setting("get_bucket_tagging", bucket).get("TagSet", [])
        return {
            "versioning": self._setting("get_bucket_versioning", bucket).get("Status", ""),
            "lock": None if not lock or lock.get("ObjectLockEnabled") != "Enabled" else _retention(lock),
            "lifecycle": self._setting("get_bucket_lifecycle_configuration", bucket).get("Rules", []),
            "policy": self._setting("get_bucket_policy", bucket).get("Policy"),
            "cors": self._setting("get_bucket_cors", bucket).get("CORSRules", []) if self._cors else [],
            "tags": {tag["Key"]: tag["Value"] for tag in tags},
            "quota_bytes": self._quota(bucket),
        }

    def _setting(self, method: str, bucket: str) -> dict[str, Any]:
        try:
            return self._client.call(method, {"Bucket": bucket})
        except S3Error as error:
            if error.code in ABSENT:
                return {}
            raise

    def used(self, name: str) -> dict[str, Any]:
        """{objects, versions, bytes, uploads, complete, retained, retained_until, on_hold, looked_at}: what would go.

        Counted by listing, up to COUNTED versions; `complete` says whether that was all. Of a bucket with object lock
        the newest LOOKED_AT versions are asked whether they are under retention or a legal hold.
        """
        versions: list[dict[str, Any]] = []
        complete = True
        for version in self._versions(name):
            if len(versions) == COUNTED:
                complete = False
                break
            versions.append(version)
        current = [version for version in versions if version["IsLatest"] and "Size" in version]
        return {
            "objects": len(current),
            "versions": len(versions),
            "bytes": sum(version.get("Size", 0) for version in versions),
            "uploads": sum(1 for _ in self._uploads(name)),
            "complete": complete,
            **self._held(name, [version for version in versions if "Size" in version]),
        }

    def _held(self, name: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
        lock = self._setting("get_object_lock_configuration", name).get("ObjectLockConfiguration")
        asked = sorted(versions, key=lambda one: one["LastModified"], reverse=True)[:LOOKED_AT] if lock else []
        heads = [
            self._client.call("head_object", {"Bucket": name, "Key": one["Key"], "VersionId": one["VersionId"]})
            for one in asked
        ]
        now = datetime.now(UTC)
        until = [date for head in heads if (date := head.get("ObjectLockRetainUntilDate")) and date > now]
        on_hold = sum(head.get("ObjectLockLegalHoldStatus") == "ON" for head in heads)
        return {
            "retained": len(until),
            "retained_until": max(until, default=None),
            "on_hold": on_hold,
            "looked_at": len(asked),
        }

    def emptied(self, name: str) -> dict[str, Any]:
        """Delete every version and every unfinished upload; {versions, uploads} of them. A killed one goes on later."""
        uploads = 0
        for upload in list(self._uploads(name)):
            place = {"Bucket": name, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            self._client.call("abort_multipart_upload", place)
            uploads += 1
        versions = 0
        while batch := _first(self._versions(name), 1000):
            self._delete(name, [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in batch])
            versions += len(batch)
        return {"versions": versions, "uploads": uploads}

    def _delete(self, name: str, objects: list[dict[str, str]]) -> None:
        answer = self._client.call("delete_objects", {"Bucket": name, "Delete": {"Objects": objects, "Quiet": True}})
        if errors := answer.get("Errors"):
            first = errors[0]
            raise EndpointError(
                f"cannot empty the bucket {name}: {len(errors)} of {len(objects)} versions stayed, the first "
                f"{first.get('Key')!r}: {first.get('Code')}: {first.get('Message')}; see who holds or writes them"
            )

    def _versions(self, name: str) -> Iterator[dict[str, Any]]:
        """Versions and delete markers; a marker has no Size."""
        marker: dict[str, str] = {}
        while True:
            page = self._client.call("list_object_versions", {"Bucket": name, **marker})
            yield from page.get("Versions", [])
            yield from page.get("DeleteMarkers", [])
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                marker["VersionIdMarker"] = page["NextVersionIdMarker"]

    def _uploads(self, name: str) -> Iterator[dict[str, Any]]:
        marker: dict[str, str] = {}
        while True:
            page = self._client.call("list_multipart_uploads", {"Bucket": name, **marker})
            yield from page.get("Uploads", [])
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _retention(lock: dict[str, Any]) -> dict[str, Any]:
    """{mode, days} of the default retention; {} if versions are kept only where each says so."""
    default = lock.get("Rule", {}).get("DefaultRetention", {})
    if not default:
        return {}
    return {"mode": default["Mode"], "days": default.get("Days") or default.get("Years", 0) * 365}


def _first(items: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return [item for item, _ in zip(items, range(count), strict=False)]
