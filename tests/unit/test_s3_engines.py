"""The same buckets on MinIO and on SeaweedFS, real ones on loopback: what is declared is there, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from facts.s3_bucket import Buckets, Features, Usage
from operations import s3_bucket
from operations.s3_bucket_settings import Bucket
from tests.unit.s3_run import Runs
from tests.unit.s3_server import Endpoint, Server, minio, seaweedfs
from unterbau.domain.s3_policy import normalised

ENGINES = {"minio": minio, "seaweedfs": seaweedfs}

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Deny", "Principal": {"AWS": ["*"]}, "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
         "Resource": ["arn:aws:s3:::full/keep/*"]},
        {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"],
         "Resource": ["arn:aws:s3:::full/public/*"], "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}},
    ],
}  # fmt: skip
LIFECYCLE = (
    {"ID": "tmp", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3},
     "NoncurrentVersionExpiration": {"NoncurrentDays": 7}},
    {"ID": "markers", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
)  # fmt: skip
FULL = Bucket(
    "full", versioning=True, lock_days=30, lifecycle=LIFECYCLE, policy=POLICY, tags={"team": "a", "cost centre": "1"}
)
CORS = ({"AllowedOrigins": ["https://a.example.com"], "AllowedMethods": ["PUT", "GET"], "MaxAgeSeconds": 60},)


@pytest.fixture(scope="module", params=sorted(ENGINES))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ENGINES[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Iterator[Endpoint]:
    one = Endpoint(server)
    yield one
    one.connector.disconnect()


@pytest.fixture
def runs(server: Server, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(server, endpoint, monkeypatch)


@pytest.fixture
def asked(endpoint: Endpoint) -> Any:
    """A question to the endpoint as it is: `asked("head_bucket", Bucket="a")`."""

    def ask(method: str, **parameters: Any) -> Any:
        done, said = endpoint.ran(f"{method} {json.dumps(parameters)}")
        return json.loads(said) if done else said

    return ask


@pytest.fixture(autouse=True)
def nothing_left(asked: Any) -> Iterator[None]:
    """Each test begins with an empty service. What is under retention is let go as only an administrator can."""
    yield
    for bucket in asked("list_buckets")["Buckets"]:
        name = bucket["Name"]
        for version in asked("list_object_versions", Bucket=name).get("Versions", []):
            place = {"Bucket": name, "Key": version["Key"], "VersionId": version["VersionId"]}
            asked("delete_object", **place, BypassGovernanceRetention=True)
        assert "found" not in str(asked("empty_bucket", name=name))
        assert asked("delete_bucket", Bucket=name) == {}


def test_a_bucket_comes_to_be_as_declared_and_a_second_run_changes_nothing(runs: Runs) -> None:
    first = runs.applied(s3_bucket.exactly, buckets=[FULL, Bucket("plain")])
    assert first.done
    assert first.changes["bucket full object lock"] == "None -> 30 days, GOVERNANCE"
    assert first.changes["bucket full versioning"] == "None -> enabled"
    assert '"10.0.0.0/8"' in first.changes["bucket full policy"]
    found = runs.fact(Buckets, names=["full", "plain", "absent"])
    assert found["full"]["versioning"] == "Enabled"
    assert found["full"]["lock"] == {"mode": "GOVERNANCE", "days": 30}
    assert [rule["ID"] for rule in found["full"]["lifecycle"]] == ["markers", "tmp"]
    assert found["full"]["tags"] == {"team": "a", "cost centre": "1"}
    assert found["plain"] == {
        "versioning": "", "lock": None, "lifecycle": [], "policy": None, "cors": [], "tags": {}, "quota_bytes": None,
    }  # fmt: skip
    assert "absent" not in found
    assert runs.planned(s3_bucket.exactly, buckets=[FULL, Bucket("plain")]).nothing


def test_each_setting_is_changed_alone_and_taken_away_again(runs: Runs) -> None:
    full = replace(FULL, lock_days=None)
    runs.applied(s3_bucket.exactly, buckets=[full])
    other = replace(
        full, versioning=False, lifecycle=LIFECYCLE[:1], policy={**POLICY, "Statement": POLICY["Statement"][:1]},
        tags={"team": "b"},
    )  # fmt: skip
    for name, wanted in {"versioning": other, "lifecycle": other, "policy": other, "tags": other}.items():
        full = replace(full, **{name: getattr(wanted, name)})
        ran = runs.applied(s3_bucket.exactly, buckets=[full])
        assert ran.done
        assert list(ran.changes) == [f"bucket full {name}"]
        assert len(ran.commands) == 1
        assert runs.planned(s3_bucket.exactly, buckets=[full]).nothing
    bare = Bucket("full")
    ran = runs.applied(s3_bucket.exactly, buckets=[bare])
    assert set(ran.changes) == {"bucket full lifecycle", "bucket full policy", "bucket full tags"}
    assert runs.planned(s3_bucket.exactly, buckets=[bare]).nothing
    assert runs.fact(Buckets, names=["full"])["full"]["versioning"] == "Suspended"


def test_a_document_that_says_the_same_in_another_way_is_no_change(runs: Runs, asked: Any) -> None:
    runs.applied(s3_bucket.exactly, buckets=[replace(FULL, lock_days=None)])
    deny, allow = json.loads(json.dumps(POLICY["Statement"]))
    deny["Principal"], allow["Action"], allow["Resource"] = "*", "s3:GetObject", allow["Resource"][0]
    deny["Action"].reverse()
    said = {"Version": "2012-10-17", "Statement": [allow, deny]}
    assert asked("put_bucket_policy", Bucket="full", Policy=json.dumps(said)) == {}
    assert runs.planned(s3_bucket.exactly, buckets=[replace(FULL, lock_days=None)]).nothing


def test_what_is_changed_by_hand_is_named_and_corrected(runs: Runs, asked: Any) -> None:
    runs.applied(s3_bucket.exactly, buckets=[FULL])
    asked("delete_bucket_policy", Bucket="full")
    asked("put_bucket_tagging", Bucket="full", Tagging={"TagSet": [{"Key": "team", "Value": "mallory"}]})
    ran = runs.applied(s3_bucket.exactly, buckets=[FULL])
    assert set(ran.changes) == {"bucket full policy", "bucket full tags"}
    assert '-  "team": "mallory"' in ran.changes["bucket full tags"]
    assert runs.planned(s3_bucket.exactly, buckets=[FULL]).nothing


@pytest.mark.parametrize(
    "name", ["../x", "a;reboot", "xn--a", "192.168.0.1", "a" * 64, "Upper", "ab", "unterbau", "-a-", "a_b", "a\nb", ""]
)
def test_a_hostile_name_creates_nothing(runs: Runs, asked: Any, name: str) -> None:
    ran = runs.applied(s3_bucket.exactly, buckets=[Bucket("good"), Bucket(name)])
    assert not ran.done
    assert ran.refusals[0].startswith(f"cannot make the bucket {name!r}: found a name that it cannot have; use ")
    assert asked("list_buckets")["Buckets"] == []


@pytest.mark.parametrize("name", ["../x", "a;reboot", "arn:aws:s3:us-east-1:1:accesspoint/a", "a..b", "A", "a/b"])
def test_nor_does_the_connector_take_it_somewhere_else(asked: Any, name: str) -> None:
    assert asked("create_bucket", Bucket=name).startswith("cannot create_bucket: found the bucket name")
    assert asked("list_buckets")["Buckets"] == []


def test_object_lock_is_given_to_no_bucket_that_is_there_nor_taken_away(runs: Runs) -> None:
    runs.applied(s3_bucket.exactly, buckets=[Bucket("plain", versioning=True), FULL])
    refused = runs.applied(s3_bucket.exactly, buckets=[Bucket("plain", versioning=True, lock_days=1), FULL])
    assert refused.refusals == [
        "cannot give the bucket plain object lock: found it without, and S3 enables it only when a bucket is made; "
        "declare a new bucket with lock_days, copy the objects there, and then let this one go"
    ]
    taken = runs.applied(s3_bucket.exactly, buckets=[Bucket("plain", versioning=True), replace(FULL, lock_days=None)])
    assert "cannot take object lock away from the bucket full" in taken.refusals[0]
    off = runs.applied(s3_bucket.exactly, buckets=[Bucket("plain", versioning=True), replace(FULL, versioning=False)])
    assert "cannot suspend versioning of the bucket full: object lock needs it" in off.refusals[0]
    assert not (refused.done or taken.done or off.done)
    assert runs.fact(Buckets, names=["plain"])["plain"]["lock"] is None
    assert runs.fact(Buckets, names=["full"])["full"]["versioning"] == "Enabled"


@pytest.mark.parametrize(
    ("mode", "days", "passed"),
    [("COMPLIANCE", 10, False), ("GOVERNANCE", 30, False), ("GOVERNANCE", 99, False), ("COMPLIANCE", 31, True)],
)
def test_compliance_is_never_shortened(runs: Runs, mode: str, days: int, passed: bool) -> None:
    compliance = replace(FULL, lock_mode="COMPLIANCE", policy=None)
    runs.applied(s3_bucket.exactly, buckets=[compliance])
    ran = runs.applied(s3_bucket.exactly, buckets=[replace(compliance, lock_mode=mode, lock_days=days)])
    assert [(rule.name, rule.passed) for rule in ran.rules] == [("COMPLIANCE retention is never shortened", passed)]
    assert ran.rules[0].arithmetic.startswith(f"bucket full: 30 days, COMPLIANCE -> {days} days, {mode}")
    assert ran.done is passed
    kept = {"mode": mode, "days": days} if passed else {"mode": "COMPLIANCE", "days": 30}
    assert runs.fact(Buckets, names=["full"])["full"]["lock"] == kept


def test_governance_that_is_shortened_is_a_change_to_see(runs: Runs) -> None:
    runs.applied(s3_bucket.exactly, buckets=[FULL])
    ran = runs.applied(s3_bucket.exactly, buckets=[replace(FULL, lock_days=1)])
    assert ran.done
    assert ran.changes == {"bucket full object lock": "30 days, GOVERNANCE -> 1 day, GOVERNANCE"}


def test_a_bucket_of_somebody_else_is_adopted_if_it_is_equal_and_refused_if_not(runs: Runs, asked: Any) -> None:
    asked("create_bucket", Bucket="theirs")
    refused = runs.applied(s3_bucket.exactly, buckets=[Bucket("theirs", versioning=True)])
    assert not refused.done
    assert (
        "cannot change bucket theirs on storage: found one that is not ours and differs in versioning"
        in (refused.refusals[0])
    )
    assert asked("get_bucket_versioning", Bucket="theirs") == {}
    adopted = runs.applied(s3_bucket.exactly, buckets=[Bucket("theirs")])
    assert adopted.changes == {"bucket theirs owner": "None -> unterbau"}
    assert runs.applied(s3_bucket.exactly, buckets=[Bucket("theirs", versioning=True)]).done


def test_what_is_not_ours_is_not_seen(runs: Runs, asked: Any) -> None:
    asked("create_bucket", Bucket="theirs")
    runs.applied(s3_bucket.exactly, buckets=[Bucket("ours")])
    assert runs.planned(s3_bucket.exactly, buckets=[Bucket("ours")]).nothing
    assert {bucket["Name"] for bucket in asked("list_buckets")["Buckets"]} == {"ours", "theirs", "unterbau"}


def filled(asked: Any, bucket: str, **options: Any) -> None:
    for body in ("hello", "hello again"):
        asked("put_object", Bucket=bucket, Key="a key/ä", Body=body, **options)
    asked("delete_object", Bucket=bucket, Key="a key/ä")
    asked("put_object", Bucket=bucket, Key="other", Body="x", **options)
    asked("create_multipart_upload", Bucket=bucket, Key="begun")


def test_a_bucket_goes_only_if_it_is_named_and_says_what_goes_with_it(runs: Runs, asked: Any) -> None:
    runs.applied(s3_bucket.exactly, buckets=[Bucket("going", versioning=True)])
    filled(asked, "going")
    kept = runs.applied(s3_bucket.exactly, buckets=[], deletions=["bucket/other", "user/going"])
    assert not kept.done
    assert [rule.passed for rule in kept.rules] == [False]
    assert "bucket/going (1 object, 4 versions, 17 B, 1 unfinished upload)" in kept.rules[0].arithmetic
    gone = runs.applied(s3_bucket.exactly, buckets=[], deletions=["bucket/going"])
    assert gone.done
    assert [rule.passed for rule in gone.rules] == [True]
    assert gone.changes == {"bucket going": "present, 1 object, 4 versions, 17 B, 1 unfinished upload -> None"}
    assert runs.fact(Buckets).keys() == {"unterbau"}
    assert runs.planned(s3_bucket.exactly, buckets=[]).nothing


def test_what_is_under_retention_keeps_its_bucket(runs: Runs, asked: Any) -> None:
    locked = Bucket("going", versioning=True, lock_days=3)
    runs.applied(s3_bucket.exactly, buckets=[locked])
    filled(asked, "going")
    usage = runs.fact(Usage, bucket="going")
    assert (usage["retained"], usage["looked_at"], usage["complete"]) == (3, 3, True)
    ran = runs.applied(s3_bucket.exactly, buckets=[], deletions=["bucket/going"])
    assert not ran.done
    assert ran.refusals == [
        "cannot delete the bucket going: found 3 versions under retention among its newest 3, the last until "
        f"{usage['retained_until']}; wait until then"
    ]
    assert runs.fact(Usage, bucket="going") == usage


def test_deleting_goes_on_where_a_killed_run_stopped(runs: Runs, asked: Any) -> None:
    runs.applied(s3_bucket.exactly, buckets=[Bucket("going", versioning=True), Bucket("gone")])
    filled(asked, "going")
    version = asked("list_object_versions", Bucket="going")["Versions"][0]
    asked("delete_object", Bucket="going", Key=version["Key"], VersionId=version["VersionId"])  # emptied in part
    asked("delete_bucket", Bucket="gone")  # deleted, with its mark left
    ran = runs.applied(s3_bucket.exactly, buckets=[], deletions=["bucket/going"])
    assert ran.done
    assert ran.changes["bucket gone mark"] == "unterbau -> None"
    assert runs.planned(s3_bucket.exactly, buckets=[]).nothing


def test_creating_goes_on_where_a_killed_run_stopped(runs: Runs, asked: Any) -> None:
    asked("put_mark", kind="bucket", name="full")
    asked("create_bucket", Bucket="full", ObjectLockEnabledForBucket=True)
    ran = runs.applied(s3_bucket.exactly, buckets=[FULL])
    assert ran.done
    assert ran.changes["bucket full object lock"] == "no retention by itself -> 30 days, GOVERNANCE"
    assert runs.planned(s3_bucket.exactly, buckets=[FULL]).nothing


READ = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::plain/*"]}
]}  # fmt: skip
WRITE = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::plain/*"]}
]}  # fmt: skip


def test_identities_are_the_same_words_on_both(asked: Any) -> None:
    asked("put_policy", name="read", document=WRITE)
    assert asked("put_policy", name="read", document=READ) == {}  # changed
    asked("put_policy", name="write", document=WRITE)
    assert {name: normalised(found) for name, found in asked("policies").items()} == {
        "read": normalised(READ), "write": normalised(WRITE),
    }  # fmt: skip
    asked("put_user", name="reader", secret="first-secret-of-reader")
    asked("put_user", name="reader", secret="secret-of-the-reader", enabled=False)
    asked("put_group", name="readers")
    asked("join", group="readers", users=["reader"])
    asked("attach", policies=["read"], group="readers")
    asked("attach", policies=["write"], user="reader")
    disabled = {"enabled": False, "policies": ["write"], "groups": ["readers"]}
    assert asked("users") == {"reader": disabled}
    assert asked("groups") == {"readers": {"enabled": True, "members": ["reader"], "policies": ["read"]}}
    assert "cannot" in asked("delete_policy", name="read")  # somebody has it
    asked("put_user", name="reader", secret="secret-of-the-reader", enabled=True)
    asked("detach", policies=["write"], user="reader")
    asked("leave", group="readers", users=["reader"])
    assert asked("users") == {"reader": {"enabled": True, "policies": [], "groups": []}}
    for _ in range(2):  # what is gone stays gone
        assert asked("delete_group", name="readers") == {}
        assert asked("delete_user", name="reader") == {}
        assert asked("delete_policy", name="read") == asked("delete_policy", name="write") == {}
    assert asked("users") == asked("groups") == asked("policies") == {}


def test_what_a_policy_allows_is_what_its_user_may_do(server: Server, asked: Any) -> None:
    asked("create_bucket", Bucket="plain")
    asked("put_object", Bucket="plain", Key="k", Body="hello")
    asked("put_policy", name="read", document=READ)
    asked("put_user", name="reader", secret="first-secret-of-reader")
    asked("attach", policies=["read"], user="reader")
    asked("put_user", name="reader", secret="secret-of-the-reader")
    reader = Endpoint(server, ("secret-of-the-reader",), access_key="reader")
    late = Endpoint(server, ("first-secret-of-reader",), access_key="reader")
    assert json.loads(reader.ran('get_object {"Bucket": "plain", "Key": "k"}')[1])["Body"] == "hello"
    for one, command in (
        (reader, 'put_object {"Bucket": "plain", "Key": "k", "Body": "mine"}'),
        (reader, 'delete_object {"Bucket": "plain", "Key": "k"}'),
        (reader, 'put_user {"name": "another", "secret": "secret-of-another"}'),
        (late, 'get_object {"Bucket": "plain", "Key": "k"}'),
    ):
        done, said = one.ran(command)
        assert not done, command
        assert "status 403" in said
    assert asked("users").keys() == {"reader"}
    asked("delete_user", name="reader")
    asked("delete_policy", name="read")


WANTED = {
    "cors": Bucket("wants", cors=CORS),
    "quota": Bucket("wants", quota_gib=1),
    "abort_multipart": Bucket(
        "wants",
        lifecycle=[{"ID": "a", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}}],
    ),
}


@pytest.mark.parametrize("feature", sorted(WANTED))
def test_what_an_engine_has_it_does_and_what_it_lacks_is_refused_before_anything_is_made(
    runs: Runs, asked: Any, feature: str
) -> None:
    bucket = WANTED[feature]
    ran = runs.applied(s3_bucket.exactly, buckets=[bucket])
    if feature in runs.fact(Features):
        assert ran.done
        assert runs.planned(s3_bucket.exactly, buckets=[bucket]).nothing
        assert runs.applied(s3_bucket.exactly, buckets=[Bucket("wants")]).done
        assert runs.planned(s3_bucket.exactly, buckets=[Bucket("wants")]).nothing
        return
    assert not ran.done
    assert f"the engine of storage has no {feature.replace('_', ' ')}" in ran.refusals[0]
    assert asked("list_buckets")["Buckets"] == []


def test_the_engines_differ_in_what_is_known(runs: Runs, server: Server) -> None:
    both = {"lifecycle", "lock", "policy", "tags", "versioning", "policies", "groups", "users"}
    alone = {
        "minio": {"quota", "service_accounts", "cluster", "heal"},
        "seaweedfs": {"cors", "abort_multipart"},
    }
    assert set(runs.fact(Features)) == both | alone[server.engine]
