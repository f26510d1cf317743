"""Buckets of an S3 service, exactly as declared. What cannot be undone is refused before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from pyinfra import host
from pyinfra.api import operation

from facts.endpoint import Mark
from facts.s3_bucket import Bucket as Found
from facts.s3_bucket import Buckets, Features, Usage
from facts.s3_identity import Marks
from operations.config_file import Commands
from operations.owned import Kind, Thing, converge, names_of
from operations.s3_bucket_rules import Counted, bad_names, compliance, goes, impossible, lacking, staying
from operations.s3_bucket_settings import Bucket, attributes, commands, found_attributes
from operations.s3_object import call, s3_kind
from unterbau import changes
from unterbau.domain.unknown import Unknown

RULE = "COMPLIANCE retention is never shortened"


@operation()
def exactly(buckets: list[Bucket], *, deletions: Sequence[str] = ()) -> Commands:
    """These buckets, and of ours no others.

    Args:
        buckets: all that are declared.
        deletions: "bucket/<name>" of those that may be deleted, with all that is in them.
    """
    if bad := list(bad_names(buckets)):
        yield from _refused(bad)
        return
    marks, features = host.get_fact(Marks, kind="bucket"), host.get_fact(Features)
    found = host.get_fact(Buckets, names=names_of([bucket.name for bucket in buckets], marks))
    if isinstance(found, Unknown) or isinstance(marks, Unknown) or isinstance(features, Unknown):
        yield from _refused([f"cannot converge buckets: {host.name} could not be read; see the error above"])
        return
    there: Mapping[str, Found] = found if isinstance(found, dict) else {}
    ours: Mapping[str, Mark] = marks if isinstance(marks, dict) else {}
    pairs = [(bucket, there[bucket.name]) for bucket in buckets if bucket.name in there and bucket.name in ours]
    leaving = sorted({*ours} & {*there} - {bucket.name for bucket in buckets})
    contents: Mapping[str, Counted] = {name: host.get_fact(Usage, bucket=name) for name in leaving}
    asked = [answer for pair in pairs for answer in compliance(*pair)]
    for passed, arithmetic in asked:
        yield from changes.rule(RULE, passed=passed, arithmetic=arithmetic)
    refusals = [
        *(lacking(buckets, features) if isinstance(features, list) else ()),
        *chain.from_iterable(impossible(*pair) for pair in pairs),
        *staying(contents, deletions),
    ]
    yield from _refused(refusals)
    if refusals or not all(passed for passed, _ in asked):
        return
    things = [_thing(bucket, there.get(bucket.name)) for bucket in buckets]
    shown = {name: found_attributes(one) for name, one in found.items()} if isinstance(found, dict) else found
    yield from converge(_kind(contents), things, shown, marks, deletions)


def _refused(sentences: Sequence[str]) -> Commands:
    for sentence in sentences:
        yield from changes.refuse(sentence)


def _thing(bucket: Bucket, found: Found | None) -> Thing:
    return Thing(bucket.name, attributes(bucket, found), commands(bucket, found))


def _kind(contents: Mapping[str, Counted]) -> Kind:
    return s3_kind(
        "bucket",
        lambda name: [call("empty_bucket", name=name), call("delete_bucket", Bucket=name)],
        lambda name: goes(contents[name]),
    )
