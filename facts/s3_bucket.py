"""Buckets of an S3 service: how they are set, what is in them, and what the engine can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import answer
from unterbau.domain.s3_bucket import Lock, normalised_cors, normalised_lifecycle
from unterbau.domain.s3_policy import normalised
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class Bucket(TypedDict):
    """One bucket. Rules and the policy are S3's own, in one order."""

    versioning: str  # Enabled, Suspended, or "" if it never was
    lock: Lock | None
    lifecycle: list[dict[str, Any]]
    policy: dict[str, Any] | None
    cors: list[dict[str, Any]]
    tags: dict[str, str]
    quota_bytes: int | None


class Buckets(FactBase[dict[str, Bucket] | Unknown | AfterApply]):
    """{name: bucket} of these that exist, or of all; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, Bucket] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str] | None = None) -> str:
        return f"describe_buckets {json.dumps({'names': None if names is None else sorted(names)})}"

    @override
    def process(self, output: list[str]) -> dict[str, Bucket] | Unknown | AfterApply:
        return answer(output, lambda value: {name: _bucket(found) for name, found in value.items()})


def _bucket(value: dict[str, Any]) -> Bucket:
    lock, policy = value["lock"], value["policy"]
    return Bucket(
        versioning=value["versioning"],
        lock=None if lock is None else Lock(mode=lock.get("mode", ""), days=lock.get("days", 0)),
        lifecycle=normalised_lifecycle(value["lifecycle"]),
        policy=normalised(json.loads(policy)) if policy else None,
        cors=normalised_cors(value["cors"]),
        tags=dict(value["tags"]),
        quota_bytes=value["quota_bytes"],
    )


class Content(TypedDict):
    """What is in a bucket. Counted up to a bound: `complete` says whether that was all."""

    objects: int
    versions: int  # replaced ones and delete markers included
    bytes: int
    uploads: int  # unfinished
    complete: bool
    retained: int  # versions whose retention has not passed, of the newest `looked_at`
    retained_until: str | None  # the latest of these, UTC
    on_hold: int  # versions under a legal hold, of the same
    looked_at: int


class Usage(FactBase[Content | Unknown | AfterApply]):
    """What a bucket holds, and what of it cannot be deleted."""

    @override
    @staticmethod
    def default() -> Content | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, bucket: str) -> str:
        return f"bucket_usage {json.dumps({'name': bucket})}"

    @override
    def process(self, output: list[str]) -> Content | Unknown | AfterApply:
        return answer(output, _content)


def _content(value: dict[str, Any]) -> Content:
    return Content(
        objects=value["objects"],
        versions=value["versions"],
        bytes=value["bytes"],
        uploads=value["uploads"],
        complete=value["complete"],
        retained=value["retained"],
        retained_until=value["retained_until"],
        on_hold=value["on_hold"],
        looked_at=value["looked_at"],
    )


class Features(FactBase[list[str] | Unknown | AfterApply]):
    """What the engine can do beside keeping objects: versioning, lock, lifecycle, abort_multipart, policy, cors …"""

    @override
    @staticmethod
    def default() -> list[str] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "features {}"

    @override
    def process(self, output: list[str]) -> list[str] | Unknown | AfterApply:
        return answer(output, lambda value: [str(name) for name in value])
