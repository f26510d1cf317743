"""What is not there is believed only if more than half of the servers say so: one of them may see too little."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.unit.test_s3_connector import EMPTY_LIST, FIRST, SECOND, Answer, Wire, made, never_sent, ran, refused
from unterbau.connectors import s3_client
from unterbau.connectors.s3 import S3Connector
from unterbau.connectors.s3_agreement import unordered

THIRD, FOURTH, FIFTH = (f"https://10.0.0.{number}:9000" for number in (3, 4, 5))
ALL = (FIRST, SECOND, THIRD, FOURTH, FIFTH)
BUCKETS = b"<ListAllMyBucketsResult><Buckets><Bucket><Name>abc</Name></Bucket></Buckets></ListAllMyBucketsResult>"
GET = 'get_object {"Bucket": "abc", "Key": "k"}'
DENIED = refused("NoSuchKey", 404)


class Servers(Wire):
    """Each answers the same again and again."""

    def __init__(self, said: dict[str, Answer]) -> None:
        super().__init__([])
        self.said = said
        self.group: Answer | None = None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        of_one = self.group if "/group?" in str(request.url) else None
        self.answers = [of_one or self.said[str(request.url).partition(":9000")[0] + ":9000"]]
        return super().send(request, **options)

    @property
    def asked(self) -> list[str]:
        return [str(request.url).partition(":9000")[0] + ":9000" for request in self.sent]


def five(*said: Answer) -> tuple[S3Connector, Servers]:
    one, _, way = made()
    way.wire = wire = Servers(dict(zip(ALL, said, strict=True)))
    way.urls, way.voters = (FIRST,), (list(ALL), 3)
    return one, wire


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "LOOK_AGAIN_S", 0)


@pytest.mark.parametrize(
    ("command", "denied", "found"),
    [
        (GET, DENIED, (200, b"there")),
        ('get_object {"Bucket": "abc", "Key": "k", "VersionId": "v"}', refused("NoSuchVersion", 404), (200, b"there")),
        ('head_bucket {"Bucket": "abc"}', (404, b""), (200, b"")),
        ('get_bucket_versioning {"Bucket": "abc"}', refused("NoSuchBucket", 404),
         (200, b"<VersioningConfiguration/>")),
    ],
)  # fmt: skip
def test_what_one_server_has_is_there_whatever_the_first_says_and_it_is_asked_next(
    command: str, denied: Answer, found: Answer
) -> None:
    """With two of five drives in sight MinIO says NoSuchKey of every object: pickLatestQuorumFilesInfo."""
    one, wire = five(denied, denied, found, found, found)
    assert ran(one, command)[0]
    assert wire.asked == [FIRST, SECOND, THIRD]
    assert ran(one, command)[0]
    assert wire.asked[3:] == [THIRD]


def test_what_more_than_half_do_not_have_is_not_there() -> None:
    one, wire = five(DENIED, DENIED, DENIED, DENIED, DENIED)
    done, said = ran(one, GET)
    assert not done
    assert said.startswith("cannot get_object abc k: found NoSuchKey (status 404)")
    assert wire.asked == [FIRST, SECOND, THIRD]


def test_a_list_is_what_more_than_half_say() -> None:
    less, all_of_it = (200, EMPTY_LIST), (200, BUCKETS)
    one, wire = five(less, all_of_it, less, all_of_it, all_of_it)
    done, said = ran(one, "list_buckets")
    assert (done, '"abc"' in said) == (True, True)
    assert wire.asked == list(ALL)
    assert ran(one, GET)[0]
    assert wire.asked[5:] == [FIFTH]


@pytest.mark.parametrize("useless", [refused("SlowDownRead", 503), refused("AccessDenied"), never_sent()])
def test_whoever_says_nothing_of_use_has_no_voice(useless: Answer) -> None:
    one, wire = five(DENIED, useless, useless, DENIED, DENIED)
    assert "found NoSuchKey (status 404)" in ran(one, GET)[1]
    assert wire.asked == list(ALL)


@pytest.mark.parametrize("command", [GET, "list_buckets"])
def test_too_few_are_not_believed(command: str) -> None:
    first = DENIED if command == GET else (200, EMPTY_LIST)
    silent = refused("SlowDownRead", 503)
    done, said = ran(five(first, first, silent, silent, silent)[0], command)
    assert not done
    assert "no server carried it out within 0.2 s, the last found: 3 servers have to say the same, found " in said
    assert ("NoSuchKey, NoSuchKey; look at" in said) == (command == GET)


def test_what_applications_write_meanwhile_is_no_disagreement() -> None:
    def versions(*keys: str) -> Answer:
        rows = "".join(f"<Version><Key>{key}</Key><VersionId>v</VersionId></Version>" for key in keys)
        return 200, f"<ListVersionsResult>{rows}</ListVersionsResult>".encode()

    one, wire = five(versions("a"), versions("a", "b"), versions("a", "b", "c"), versions(), versions())
    done, said = ran(one, 'list_object_versions {"Bucket": "abc"}')
    assert (done, said.count('"Key"')) == (True, 3)
    assert wire.asked == [FIRST, SECOND, THIRD]
    assert not ran(five(versions("a"), versions(), refused("X", 503), refused("X", 503), refused("X", 503))[0],
                   'list_object_versions {"Bucket": "abc"}')[0]  # fmt: skip


@pytest.mark.parametrize("command", ["policies", "groups"])
def test_a_server_that_has_forgotten_an_identity_is_not_believed(command: str) -> None:
    """It reads identities again now and then, and knows none after it did so while it was cut off."""
    empty, whole = (
        ((200, b"{}"), (200, b'{"ours": {}}')) if command == "policies" else ((200, b"[]"), (200, b'["ops"]'))
    )
    one, wire = five(empty, whole, whole, whole, whole)
    if command == "groups":
        wire.group = (200, b'{"name": "ops", "members": [], "status": "enabled", "policy": ""}')
    done, answer = ran(one, command)
    assert (done, list(json.loads(answer))) == (True, ["ours"] if command == "policies" else ["ops"])
    assert wire.asked[:4] == [FIRST, SECOND, THIRD, FOURTH]


GONE = 404, b'{"Code": "XMinioAdminNoSuchUser", "Message": "The specified user does not exist."}'
KNOWN = 200, b'{"status": "enabled", "policyName": "a"}'


@pytest.mark.parametrize(
    ("said", "done"),
    [
        ((GONE, KNOWN, KNOWN, KNOWN, KNOWN), True),
        ((GONE, KNOWN, GONE, GONE, KNOWN), False),  # who was cut off still knows who was deleted
        ((KNOWN, GONE, GONE, GONE, KNOWN), False),
    ],
)
def test_a_user_is_there_or_not_as_more_than_half_say(said: tuple[Answer, ...], done: bool) -> None:
    one, wire = five(*said)
    assert ran(one, 'attach {"policies": ["a"], "user": "app"}')[0] == done
    assert wire.asked[:4] == [FIRST, SECOND, THIRD, FOURTH]


def test_what_means_the_same_is_the_same_also_in_a_text() -> None:
    """MinIO writes the policy that a service account inherits into a text, its lists in another order each time."""
    one = {"parentUser": "app", "policy": '{"Statement": [{"Action": ["a", "b"], "Effect": "Allow"}]}'}
    same = {"policy": '{"Statement": [{"Effect": "Allow", "Action": ["b", "a"]}]}', "parentUser": "app"}
    other = {"parentUser": "app", "policy": '{"Statement": [{"Action": ["a", "c"], "Effect": "Allow"}]}'}
    assert unordered(one) == unordered(same) != unordered(other)
    assert unordered("{no JSON") == "{no JSON"
