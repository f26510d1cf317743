"""What must not, or cannot, be done to a bucket. Each answer is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pyinfra import host

from facts.s3_bucket import Bucket as Found
from facts.s3_bucket import Content
from operations.s3_bucket_settings import Bucket
from unterbau.declaration.s3 import bucket_name
from unterbau.domain.s3_bucket import COMPLIANCE, counted, shortens, shown_bytes, shown_lock
from unterbau.domain.unknown import AfterApply, Unknown

Counted = Content | Unknown | AfterApply


def bad_names(buckets: Sequence[Bucket]) -> Iterator[str]:
    """Names that S3 does not know, or that are not to be had."""
    for bucket in buckets:
        try:
            bucket_name(bucket.name)
        except ValueError as error:
            yield f"cannot make the bucket {bucket.name!r}: found a name that it cannot have; use {error}"


def lacking(buckets: Sequence[Bucket], features: Sequence[str]) -> Iterator[str]:
    """What the engine cannot do."""
    for bucket in buckets:
        for feature, declared in bucket.needs():
            if feature not in features:
                yield (
                    f"cannot give the bucket {bucket.name} its {declared}: the engine of {host.name} has no "
                    f"{feature.replace('_', ' ')}; remove {declared} from its declaration"
                )


def impossible(bucket: Bucket, found: Found) -> Iterator[str]:
    """What S3 lets nobody do to a bucket that is there. Source: Amazon S3, "Object Lock considerations"."""
    if bucket.lock and found["lock"] is None:
        yield (
            f"cannot give the bucket {bucket.name} object lock: found it without, and S3 enables it only when a bucket "
            "is made; declare a new bucket with lock_days, copy the objects there, and then let this one go"
        )
    if bucket.lock is None and found["lock"] is not None:
        yield (
            f"cannot take object lock away from the bucket {bucket.name}: found {shown_lock(found['lock'])}, and S3 "
            "keeps it for ever; declare lock_days, or a new bucket without it"
        )
    if bucket.lock and found["lock"] is not None and not bucket.versioning:
        yield f"cannot suspend versioning of the bucket {bucket.name}: object lock needs it; declare versioning=True"


def compliance(bucket: Bucket, found: Found) -> Iterator[tuple[bool, str]]:
    """(whether it may be, the arithmetic) of a retention in COMPLIANCE mode that changes."""
    was, wanted = found["lock"], bucket.lock
    if was is None or wanted is None or was["mode"] != COMPLIANCE or was == wanted:
        return
    passed = not shortens(was, wanted)
    step = "" if passed else "; declare at least what is there, or a new bucket"
    yield passed, f"bucket {bucket.name}: {shown_lock(was)} -> {shown_lock(wanted)}{step}"


def staying(contents: Mapping[str, Counted], deletions: Sequence[str]) -> Iterator[str]:
    """Why buckets that may go cannot."""
    for name, content in contents.items():
        if f"bucket/{name}" not in deletions:
            continue
        if not isinstance(content, dict):
            yield f"cannot delete the bucket {name}: what is in it could not be counted; see the error above"
        elif content["retained"]:
            yield (
                f"cannot delete the bucket {name}: found {counted(content['retained'], 'version')} under retention "
                f"among its newest {content['looked_at']}, the last until {content['retained_until']}; wait until then"
            )
        elif content["on_hold"]:
            held = counted(content["on_hold"], "version")
            yield f"cannot delete the bucket {name}: found {held} under a legal hold; end it first"


def goes(content: Counted) -> str:
    """What a bucket takes with it: "3 objects, 5 versions, 1.5 KiB"."""
    if not isinstance(content, dict):
        return "of unknown content"
    many = "" if content["complete"] else "more than "
    parts = [
        counted(content["objects"], "object"),
        counted(content["versions"], "version"),
        shown_bytes(content["bytes"]),
        *([counted(content["uploads"], "unfinished upload")] if content["uploads"] else []),
    ]
    return many + ", ".join(parts)
