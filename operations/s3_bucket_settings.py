"""Settings of a bucket: how plans show each, and the calls that make it so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import StringCommand

from facts import s3_bucket
from operations.s3_object import call
from unterbau import declaration
from unterbau.domain.s3_bucket import (
    GIB,
    Lock,
    cors,
    lifecycle,
    normalised_cors,
    normalised_lifecycle,
    shown_lock,
    text,
)
from unterbau.domain.s3_policy import bucket_document, normalised


@dataclass(frozen=True)
class Bucket:
    """A bucket as it should be. Rules and the policy are S3's own JSON."""

    name: str
    versioning: bool = False
    lock_days: int | None = None
    lock_mode: str = "GOVERNANCE"
    lifecycle: Sequence[Mapping[str, Any]] = ()
    policy: Mapping[str, Any] | None = None
    cors: Sequence[Mapping[str, Any]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    quota_gib: int | None = None

    @property
    def lock(self) -> Lock | None:
        """Of versions that say nothing themselves."""
        return Lock(mode=self.lock_mode, days=self.lock_days) if self.lock_days else None

    @property
    def quota_bytes(self) -> int | None:
        """None: no limit."""
        return self.quota_gib * GIB if self.quota_gib else None

    def needs(self) -> Iterator[tuple[str, str]]:
        """(feature of the engine, the declared field) that it cannot be made without."""
        yield from (("versioning", "versioning"),) if self.versioning else ()
        yield from (("lock", "lock_days"),) if self.lock_days else ()
        yield from (("lifecycle", "lifecycle"),) if self.lifecycle else ()
        if any("AbortIncompleteMultipartUpload" in rule for rule in self.lifecycle):
            yield "abort_multipart", "abort_multipart_days"
        yield from (("policy", "policy"),) if self.policy else ()
        yield from (("cors", "cors"),) if self.cors else ()
        yield from (("tags", "tags"),) if self.tags else ()
        yield from (("quota", "quota_gib"),) if self.quota_gib else ()


def bucket_of(declared: declaration.Bucket) -> Bucket:
    """A declaration in S3's words."""
    return Bucket(
        name=declared.name,
        versioning=declared.versioning,
        lock_days=declared.lock_days,
        lock_mode=declared.lock_mode,
        lifecycle=lifecycle(declared.lifecycle),
        policy=bucket_document(declared.name, declared.policy) if declared.policy else None,
        cors=cors(declared.cors),
        tags=dict(declared.tags),
        quota_gib=declared.quota_gib,
    )


def attributes(bucket: Bucket, found: s3_bucket.Bucket | None) -> dict[str, str]:
    """As plans show them. What was versioned once is suspended, not off."""
    was = bool(found and found["versioning"])
    return {
        "exists": "yes",  # so that a plan shows one that has nothing else
        "versioning": "enabled" if bucket.versioning else "suspended" if was else "",
        "object lock": shown_lock(bucket.lock),
        "lifecycle": text(normalised_lifecycle(bucket.lifecycle)),
        "policy": text(normalised(bucket.policy)) if bucket.policy else "",
        "CORS": text(normalised_cors(bucket.cors)),
        "tags": text(bucket.tags),
        "quota": _gib(bucket.quota_bytes),
    }


def found_attributes(found: s3_bucket.Bucket) -> dict[str, str]:
    """The same of a bucket that is there."""
    return {
        "exists": "yes",
        "versioning": found["versioning"].lower(),
        "object lock": shown_lock(found["lock"]),
        "lifecycle": text(found["lifecycle"]),
        "policy": text(found["policy"]),
        "CORS": text(found["cors"]),
        "tags": text(found["tags"]),
        "quota": _gib(found["quota_bytes"]),
    }


def commands(bucket: Bucket, found: s3_bucket.Bucket | None) -> list[StringCommand]:
    """What creates it, or sets what differs. First what keeps data, last what lets others at them."""
    wanted = attributes(bucket, found)
    there = dict.fromkeys(wanted, "") if found is None else found_attributes(found)
    if found is None and bucket.lock:
        there["versioning"] = "enabled"  # comes with the lock
    makers = {
        "versioning": _versioning, "object lock": _lock, "lifecycle": _lifecycle, "quota": _quota, "tags": _tags,
        "policy": _policy, "CORS": _cors,
    }  # fmt: skip
    settings = [make(bucket) for name, make in makers.items() if wanted[name] != there[name]]
    return settings if found is not None else [_create(bucket), *settings]


def _create(bucket: Bucket) -> StringCommand:
    lock = {"ObjectLockEnabledForBucket": True} if bucket.lock else {}
    return call("create_bucket", Bucket=bucket.name, **lock)


def _versioning(bucket: Bucket) -> StringCommand:
    status = "Enabled" if bucket.versioning else "Suspended"
    return call("put_bucket_versioning", Bucket=bucket.name, VersioningConfiguration={"Status": status})


def _lock(bucket: Bucket) -> StringCommand:
    retention = {"Mode": bucket.lock_mode, "Days": bucket.lock_days}
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    return call("put_object_lock_configuration", Bucket=bucket.name, ObjectLockConfiguration=rule)


def _lifecycle(bucket: Bucket) -> StringCommand:
    if not bucket.lifecycle:
        return call("delete_bucket_lifecycle", Bucket=bucket.name)
    rules = {"Rules": normalised_lifecycle(bucket.lifecycle)}
    return call("put_bucket_lifecycle_configuration", Bucket=bucket.name, LifecycleConfiguration=rules)


def _policy(bucket: Bucket) -> StringCommand:
    if not bucket.policy:
        return call("delete_bucket_policy", Bucket=bucket.name)
    return call("put_bucket_policy", Bucket=bucket.name, Policy=json.dumps(normalised(bucket.policy), sort_keys=True))


def _cors(bucket: Bucket) -> StringCommand:
    if not bucket.cors:
        return call("delete_bucket_cors", Bucket=bucket.name)
    rules = {"CORSRules": normalised_cors(bucket.cors)}
    return call("put_bucket_cors", Bucket=bucket.name, CORSConfiguration=rules)


def _tags(bucket: Bucket) -> StringCommand:
    if not bucket.tags:
        return call("delete_bucket_tagging", Bucket=bucket.name)
    tags = [{"Key": key, "Value": value} for key, value in sorted(bucket.tags.items())]
    return call("put_bucket_tagging", Bucket=bucket.name, Tagging={"TagSet": tags})


def _quota(bucket: Bucket) -> StringCommand:
    return call("put_quota", name=bucket.name, bytes=bucket.quota_bytes)


def _gib(size_bytes: int | None) -> str:
    """GiB where it is a number of them, so that no byte of another quota is overlooked."""
    if size_bytes is None:
        return ""
    return f"{size_bytes // GIB} GiB" if size_bytes % GIB == 0 else f"{size_bytes} B"
