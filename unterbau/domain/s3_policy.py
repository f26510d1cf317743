"""S3 policies: their documents in one form, and what they allow.

Source: AWS, "IAM JSON policy elements" and "Policy evaluation logic" (a Deny wins; what nothing allows is denied).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

VERSION = "2012-10-17"
ARN = "arn:aws:s3:::"
# What S3 engines know. A name that they do not know is refused by one and means nothing to another.
ACTIONS = tuple(
    f"s3:{name}"
    for name in (
        "AbortMultipartUpload", "BypassGovernanceRetention", "CreateBucket", "DeleteBucket", "DeleteBucketCors",
        "DeleteBucketPolicy", "DeleteObject", "DeleteObjectTagging", "DeleteObjectVersion",
        "DeleteObjectVersionTagging", "ForceDeleteBucket", "GetBucketCors", "GetBucketLocation",
        "GetBucketNotification", "GetBucketObjectLockConfiguration", "GetBucketPolicy", "GetBucketPolicyStatus",
        "GetBucketTagging", "GetBucketVersioning", "GetEncryptionConfiguration", "GetLifecycleConfiguration",
        "GetObject", "GetObjectAttributes", "GetObjectLegalHold", "GetObjectRetention", "GetObjectTagging",
        "GetObjectVersion", "GetObjectVersionTagging", "GetReplicationConfiguration", "ListAllMyBuckets", "ListBucket",
        "ListBucketMultipartUploads", "ListBucketVersions", "ListMultipartUploadParts", "PutBucketCors",
        "PutBucketNotification", "PutBucketObjectLockConfiguration", "PutBucketPolicy", "PutBucketTagging",
        "PutBucketVersioning", "PutEncryptionConfiguration", "PutLifecycleConfiguration", "PutObject",
        "PutObjectLegalHold", "PutObjectRetention", "PutObjectTagging", "PutObjectVersionTagging",
        "PutReplicationConfiguration", "ReplicateDelete", "ReplicateObject", "RestoreObject",
    )
)  # fmt: skip
# With any of these whoever only writes could take away, or let expire, what was written.
DESTRUCTIVE = tuple(
    f"s3:{name}"
    for name in (
        "BypassGovernanceRetention", "DeleteBucket", "DeleteBucketPolicy", "DeleteObject", "DeleteObjectVersion",
        "ForceDeleteBucket", "PutBucketObjectLockConfiguration", "PutBucketPolicy", "PutBucketVersioning",
        "PutLifecycleConfiguration", "PutObjectLegalHold", "PutObjectRetention", "PutReplicationConfiguration",
        "ReplicateDelete", "ReplicateObject",
    )
)  # fmt: skip
PUT = "s3:PutObject"
# Requests by which MinIO lets whoever may put an object replace a version that is under retention: one that names the
# version, and a form upload. Source: cmd/bucket-object-lock.go and PostPolicyBucketHandler; tried.
REPLACING: tuple[dict[str, dict[str, tuple[str, ...]]], ...] = (
    {"StringLike": {"s3:versionid": ("?*",)}},
    {"StringEquals": {"s3:authType": ("POST",)}},
)


class Statement(Protocol):
    """One declared statement. `conditions`: {operator: {key: values}}."""

    @property
    def effect(self) -> str: ...  # noqa: D102
    @property
    def actions(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def conditions(self) -> Mapping[str, Mapping[str, Sequence[str]]]: ...  # noqa: D102


class IdentityStatement(Statement, Protocol):
    """Of an identity's policy: `resources` are "bucket" and "bucket/key*"."""

    @property
    def resources(self) -> Sequence[str]: ...  # noqa: D102


class BucketStatement(Statement, Protocol):
    """Of a bucket's policy: `prefixes` are keys' patterns; "" is the bucket itself."""

    @property
    def prefixes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def principals(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class Said:
    """A statement that the platform itself says."""

    actions: Sequence[str]
    resources: Sequence[str]
    effect: str = "Allow"
    conditions: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


def appending(bucket: str) -> tuple[Said, ...]:
    """What a writer needs that may write, read and list, but neither delete nor replace what it wrote."""
    uploads = ("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
    return (
        Said((PUT, "s3:GetObject", *uploads), (f"{bucket}/*",)),
        Said(("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"), (bucket,)),
        *(Said((PUT,), (f"{bucket}/*",), "Deny", conditions) for conditions in REPLACING),
    )


def may_replace(statements: Iterable[IdentityStatement], bucket: str) -> bool:
    """Whether they allow to put objects and do not deny the requests that replace a version in place."""
    own = list(statements)
    denied = [
        {op: {key: tuple(values) for key, values in keys.items()} for op, keys in one.conditions.items()}
        for one in own
        if one.effect == "Deny"
        and _names([one], PUT)
        and any(matches(name, f"{bucket}/any/key") for name in one.resources)
    ]
    return bool(allowed(own, (PUT,), bucket)) and not all(one in denied for one in REPLACING)


def document(statements: Iterable[IdentityStatement]) -> dict[str, Any]:
    """The policy of an identity, normalised."""
    return normalised({"Statement": [_statement(one, one.resources) for one in statements]})


def bucket_document(bucket: str, statements: Iterable[BucketStatement]) -> dict[str, Any]:
    """The policy of a bucket, normalised."""
    found = [
        {**_statement(one, [f"{bucket}/{prefix}" if prefix else bucket for prefix in one.prefixes]),
         "Principal": {"AWS": list(one.principals)}}
        for one in statements
    ]  # fmt: skip
    return normalised({"Statement": found})


def _statement(one: Statement, resources: Iterable[str]) -> dict[str, Any]:
    conditions = {
        operator: {key: list(values) for key, values in keys.items()} for operator, keys in one.conditions.items()
    }
    made = {"Effect": one.effect, "Action": list(one.actions), "Resource": [f"{ARN}{name}" for name in resources]}
    return {**made, "Condition": conditions} if conditions else made


def normalised(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The document to compare by: one version, lists where one value may stand, everything in a fixed order."""
    found = policy.get("Statement", [])
    statements = [_in_order(one) for one in ([found] if isinstance(found, Mapping) else found)]
    return {"Version": VERSION, "Statement": sorted(statements, key=lambda one: json.dumps(one, sort_keys=True))}


def _in_order(statement: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": statement.get("Effect", "")}
    for key in sorted(statement.keys() - {"Effect", "Sid"}):
        value = statement[key]
        if key == "Principal":
            value = {"AWS": ["*"]} if value == "*" else {who: _many(names) for who, names in sorted(value.items())}
        elif key == "Condition":
            value = {op: {k: _many(v) for k, v in sorted(keys.items())} for op, keys in sorted(value.items())}
        else:
            value = _many(value)
        if value:
            made[key] = value
    return made


def _many(value: Any) -> list[str]:
    return sorted({str(one) for one in ([value] if isinstance(value, str | int | bool) else value)})


def matches(pattern: str, text: str) -> bool:
    """'*' is any text, '/' included, and '?' any one character. Source: AWS, "Using wildcards"."""
    written = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(written, text, re.DOTALL) is not None


def allowed(statements: Iterable[IdentityStatement], actions: Iterable[str], bucket: str) -> list[str]:
    """Which of the actions they allow on the bucket or on some object in it.

    Careful for whoever asks what is possible: an Allow counts under whatever condition, a Deny only without one and
    if it is for the whole bucket.
    """
    own = list(statements)
    may = [one for one in own if one.effect == "Allow" and any(_touches(name, bucket) for name in one.resources)]
    never = [one for one in own if one.effect == "Deny" and not one.conditions and _covers(one.resources, bucket)]
    return [action for action in actions if _names(may, action) and not _names(never, action)]


def _names(statements: Iterable[IdentityStatement], action: str) -> bool:
    return any(matches(pattern, action) for one in statements for pattern in one.actions)


def _touches(resource: str, bucket: str) -> bool:
    """Whether a resource's pattern may mean the bucket, or something in it."""
    return matches(resource.partition("/")[0], bucket) or matches(resource, bucket) or "*" in resource.partition("/")[0]


def _covers(resources: Iterable[str], bucket: str) -> bool:
    names = list(resources)
    return all(any(matches(pattern, name) for pattern in names) for name in (bucket, f"{bucket}/any/key"))


def unknown_actions(patterns: Iterable[str]) -> Iterator[str]:
    """Patterns that match no action there is."""
    for pattern in patterns:
        if not any(matches(pattern, action) for action in ACTIONS):
            yield pattern
