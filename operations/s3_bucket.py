"""Buckets of an S3 service, exactly as declared. What cannot be undone is refused before anything is changed."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import chain

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand

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
    ours = [bucket for bucket in buckets if isinstance(marks, dict) and {bucket.name} <= marks.keys() & there.keys()]
    leaving = sorted(there.keys() & marks.keys() - {one.name for one in buckets}) if isinstance(marks, dict) else []
    contents: Mapping[str, Counted] = {name: host.get_fact(Usage, bucket=name) for name in leaving}
    missing = lacking(buckets, features) if isinstance(features, list) else ()
    never = chain.from_iterable(impossible(bucket, there[bucket.name]) for bucket in ours)
    refusals = [*missing, *never, *staying(contents, deletions)]
    passed = yield from _asked(ours, there)
    yield from _refused(refusals)
    if refusals or not passed:
        return
    things = [
        Thing(one.name, attributes(one, there.get(one.name)), commands(one, there.get(one.name))) for one in buckets
    ]
    shown = {name: found_attributes(one) for name, one in found.items()} if isinstance(found, dict) else found
    yield from converge(_kind(contents), things, shown, marks, deletions)


def _asked(ours: Sequence[Bucket], there: Mapping[str, Found]) -> Generator[PyinfraCommand, None, bool]:
    """Ask the rule about each retention that changes; whether all may."""
    answers = [answer for bucket in ours for answer in compliance(bucket, there[bucket.name])]
    for passed, arithmetic in answers:
        yield from changes.rule(RULE, passed=passed, arithmetic=arithmetic)
    return all(passed for passed, _ in answers)


def _refused(sentences: Sequence[str]) -> Commands:
    for sentence in sentences:
        yield from changes.refuse(sentence)


def _kind(contents: Mapping[str, Counted]) -> Kind:
    return s3_kind(
        "bucket",
        lambda name: [call("empty_bucket", name=name), call("delete_bucket", Bucket=name)],
        lambda name: goes(contents[name]),
    )
