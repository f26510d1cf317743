"""S3 policies: one form for equal documents, and what statements allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.s3_policy import (
    ACTIONS,
    DESTRUCTIVE,
    allowed,
    appending,
    bucket_document,
    document,
    matches,
    may_replace,
    normalised,
    unknown_actions,
)


@dataclass(frozen=True)
class Said:
    actions: Sequence[str]
    resources: Sequence[str] = ("backups/*",)
    effect: str = "Allow"
    conditions: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class SaidOfBucket:
    actions: Sequence[str]
    prefixes: Sequence[str] = ("*",)
    principals: Sequence[str] = ("*",)
    effect: str = "Allow"
    conditions: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


def test_a_document_has_one_form_whatever_the_order() -> None:
    one = document([Said(("s3:PutObject", "s3:GetObject")), Said(("s3:ListBucket",), ("backups",))])
    other = document([Said(("s3:ListBucket",), ("backups",)), Said(("s3:GetObject", "s3:PutObject"))])
    assert one == other
    assert one["Statement"][0] == {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": ["arn:aws:s3:::backups/*"],
    }


def test_what_an_engine_gives_back_is_the_same_document() -> None:
    declared = bucket_document("site", [SaidOfBucket(("s3:GetObject",), ("public/*",))])
    given_back = {
        "Version": "2012-10-17",
        "Statement": {
            "Sid": "",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::site/public/*",
            "Condition": {},
        },
    }
    assert normalised(given_back) == declared
    assert normalised(declared) == declared


def test_an_empty_prefix_is_the_bucket_itself() -> None:
    made = bucket_document("site", [SaidOfBucket(("s3:ListBucket",), ("", "a/*"))])
    assert made["Statement"][0]["Resource"] == ["arn:aws:s3:::site", "arn:aws:s3:::site/a/*"]


@pytest.mark.parametrize(
    ("pattern", "text", "yes"),
    [
        ("s3:*", "s3:GetObject", True), ("backups/*", "backups/a/b", True), ("backups/*", "backups", False),
        ("b?ckups", "backups", True), ("backups", "backups-2", False), ("a.c", "abc", False), ("*", "a\nb", True),
    ],
)  # fmt: skip
def test_wildcards(pattern: str, text: str, yes: bool) -> None:
    assert matches(pattern, text) is yes


def test_unknown_actions_are_named() -> None:
    assert list(unknown_actions(["s3:Get*", "s3:GetObjects", "iam:*"])) == ["s3:GetObjects", "iam:*"]
    assert set(DESTRUCTIVE) <= set(ACTIONS)


@pytest.mark.parametrize(
    ("statements", "may"),
    [
        ([Said(("s3:PutObject",))], []),
        ([Said(("s3:*",))], list(DESTRUCTIVE)),
        ([Said(("s3:DeleteObject",), ("backups/tmp/*",))], ["s3:DeleteObject"]),
        ([Said(("s3:DeleteObject",), ("b*",))], ["s3:DeleteObject"]),
        ([Said(("s3:DeleteObject",), ("*/tmp",))], ["s3:DeleteObject"]),
        ([Said(("s3:DeleteObject",), ("others/*",))], []),
        ([Said(("s3:DeleteObject",)), Said(("s3:Delete*",), ("backups", "backups/*"), "Deny")], []),
        ([Said(("s3:DeleteObject",)), Said(("s3:Delete*",), ("backups/a/*",), "Deny")], ["s3:DeleteObject"]),
        (
            [
                Said(("s3:DeleteObject",)),
                Said(("s3:*",), ("*",), "Deny", {"IpAddress": {"aws:SourceIp": ("10.0.0.1/32",)}}),
            ],
            ["s3:DeleteObject"],
        ),
        (
            [Said(("s3:DeleteObject",), conditions={"IpAddress": {"aws:SourceIp": ("10.0.0.1/32",)}})],
            ["s3:DeleteObject"],
        ),
    ],
)
def test_what_a_writer_may_destroy(statements: list[Said], may: list[str]) -> None:
    assert allowed(statements, DESTRUCTIVE, "backups") == may


def test_an_appender_may_write_and_nothing_that_takes_away() -> None:
    said = appending("backups")
    assert allowed(said, (*DESTRUCTIVE, "s3:PutObject", "s3:GetObject", "s3:ListBucket"), "backups") == [
        "s3:PutObject",
        "s3:GetObject",
        "s3:ListBucket",
    ]
    assert not may_replace(said, "backups")
    assert allowed(said, ACTIONS, "others") == []


@pytest.mark.parametrize("left_out", [2, 3])
def test_each_of_the_two_denials_is_needed(left_out: int) -> None:
    said = [one for number, one in enumerate(appending("backups")) if number != left_out]
    assert may_replace(said, "backups")


def test_denials_for_another_bucket_are_none() -> None:
    assert may_replace([Said(("s3:PutObject",)), *appending("others")], "backups")
    assert not may_replace([Said(("s3:GetObject",))], "backups")  # whoever may not put replaces nothing


names = st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=4)


@given(st.lists(names, min_size=1, max_size=3), names)
def test_a_deny_of_everything_there_wins(allows: list[list[str]], denied: list[str]) -> None:
    statements = [Said(actions) for actions in allows] + [Said(denied, ("*",), "Deny")]
    assert allowed(statements, ACTIONS, "backups") == [
        action for action in ACTIONS if any(action in actions for actions in allows) and action not in denied
    ]


@given(st.permutations([("s3:GetObject",), ("s3:PutObject",), ("s3:ListBucket", "s3:GetBucketLocation")]))
def test_the_form_does_not_depend_on_the_order(order: list[tuple[str, ...]]) -> None:
    made = document([Said(actions) for actions in order])
    assert normalised(made) == made
    assert made == document([Said(actions) for actions in sorted(order)])
