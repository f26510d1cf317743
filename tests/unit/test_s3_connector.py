"""`@s3/<name>` as pyinfra sees it, on a wire that is made up: failures, failover, rotations, nothing ambient."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Collection, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pyinfra.api import HiddenValue, StringCommand
from pyinfra.api.state import StateStage
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import MaxRetryError, NewConnectionError

from operations.s3_object import call
from unterbau.connectors import s3_boto, s3_client
from unterbau.connectors.endpoint import FAILOVER_S, NotThereError
from unterbau.connectors.s3 import S3Connector
from unterbau.connectors.s3_client import Key, S3Client
from unterbau.connectors.s3_commands import Commands
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.store import StoreError

FIRST, SECOND = "https://10.0.0.1:9000", "https://10.0.0.2:9000"
OWN_SECRET = "own-secret-of-the-endpoint"
SECRET = 'correct "horse"\nbattery'
EMPTY_LIST = b"<ListAllMyBucketsResult><Owner><ID>x</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>"

Answer = Exception | tuple[int, bytes] | tuple[int, bytes, dict[str, str]]


def refused(code: str, status: int = 403, message: str = "no") -> Answer:
    return status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def never_sent() -> Exception:
    gone = MaxRetryError(None, "/", NewConnectionError(None, "refused"))  # type: ignore[arg-type]
    return requests.ConnectionError(gone)


class Wire(BaseAdapter):
    """Answers in turn, the last one again and again."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__()
        self.answers, self.sent = answers, []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body, *more = answer
        made = requests.Response()
        made.status_code, made.url = status, str(request.url)
        made.headers.update(more[0] if more else {})
        made.raw = HTTPResponse(io.BytesIO(body), status=status, headers=made.headers, preload_content=False)
        return made

    def close(self) -> None:
        """There is nothing open."""


class Way:
    """Servers that are asked one after another."""

    def __init__(self, wire: Wire, urls: tuple[str, ...] = (FIRST, SECOND)) -> None:
        self.wire, self.urls, self.chosen, self.unguarded, self.names = wire, urls, [], False, {}
        self.there, self.voters = True, ([], 1)

    def url(self, patience_s: float, avoided: Collection[str]) -> str:
        self.avoided = set(avoided)
        if not self.there:
            raise NotThereError("cannot reach the S3 API: no server answers")
        self.chosen.append(self.urls[len(self.chosen) % len(self.urls)])
        return self.chosen[-1]

    def session(self) -> requests.Session:
        made = requests.Session()
        made.mount("https://", self.wire)
        return made

    def answers(self) -> bool:
        return self.there

    def electorate(self) -> tuple[list[str], int]:
        return self.voters

    def lock(self, holder: str) -> None:
        self.holder = holder

    def close(self) -> None:
        self.closed = True


def made(
    *answers: Answer, engine: str = "minio", secrets: tuple[str, ...] = (OWN_SECRET,), **state: Any
) -> tuple[S3Connector, Wire, Way]:
    """A connector without its network: `pending` are names of operations that a member's plan has."""
    one = object.__new__(S3Connector)
    pending = state.get("pending", [])
    operations = {str(n): SimpleNamespace(operation_meta=meta) for n, (_, meta) in enumerate(pending)}
    metas = {str(n): SimpleNamespace(names={name}) for n, (name, _) in enumerate(pending)}
    one.state = SimpleNamespace(  # type: ignore[assignment]
        current_stage=state.get("stage", StateStage.Prepare), ops={"srv-1": operations}, op_meta=metas,
        inventory=SimpleNamespace(get_group=lambda name: ["srv-1"]),
    )  # fmt: skip
    declared = SimpleNamespace(members="storage")
    one.host = SimpleNamespace(name="storage", print_prefix="[storage] ", data=SimpleNamespace(s3=declared))  # type: ignore[assignment]
    wire = Wire(list(answers) or [(200, EMPTY_LIST)])
    way = Way(wire)
    key = Key("unterbau", lambda: [Hidden(secret) for secret in secrets])
    one._commands = Commands(S3Client(way, key, lambda: 0.2), engine)
    return one, wire, way


def ran(one: S3Connector, command: str | StringCommand) -> tuple[bool, str]:
    done, output = one.run_shell_command(command if isinstance(command, StringCommand) else StringCommand(command))
    return done, output.output


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "LOOK_AGAIN_S", 0)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("rm -rf /", "found the method 'rm', which there is none of"),
        ('upload_file {"Filename": "/etc/shadow", "Bucket": "abc", "Key": "x"}', "which there is none of"),
        ('download_file {"Filename": "/etc/shadow"}', "which there is none of"),
        ("generate_presigned_url {}", "which there is none of"),
        ('put_user {"name": "a", "secret": "s3cret', "cannot run put_user: found parameters that are no JSON"),
        ('put_user ["s3cret"]', "found parameters that are no JSON object"),
        ('put_mark {"knd": "s3cret"}', "cannot put_mark: found other parameters than its own"),
        ('put_policy {"x": "s3cret"}', "cannot put_policy: found other parameters than its own"),
        ('create_bucket {"Bukket": "abc"}', "cannot create_bucket: Parameter validation failed"),
        ('head_bucket {"Bucket": "../x"}', "found the bucket name '../x'"),
        ('head_bucket {"Bucket": ["abc"]}', "found the bucket name"),
    ],
)
def test_what_is_no_command_is_sent_nowhere_and_said_without_its_text(command: str, words: str) -> None:
    one, wire, _ = made()
    done, said = ran(one, command)
    assert not done
    assert words in said
    assert "s3cret" not in said
    assert not wire.sent


def test_hidden_leaves_reach_the_api_and_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    one, wire, _ = made((200, b""))
    command = call("put_object", Bucket="abc", Key="k", Body=Hidden(SECRET), Metadata={"x": HiddenValue("other")})
    assert one.run_shell_command(command, print_input=True, print_output=True)[0]
    assert wire.sent[0].body.read() == SECRET.encode()
    assert wire.sent[0].headers["x-amz-meta-x"] == "other"
    logged = capsys.readouterr().err
    assert '>>> put_object {"Body": *MASKED*, "Bucket": "abc", "Key": "k", "Metadata": {"x": *MASKED*}}' in logged
    assert "horse" not in logged + repr(command) + str(command)


@pytest.mark.parametrize("engine", ["minio", "seaweedfs"])
def test_no_library_logs_a_secret_however_much_it_says(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint's own, and one that is being set: `pyinfra --debug-all` shows what botocore thinks of a request."""
    one, wire, _ = made((200, b""), engine=engine)
    with caplog.at_level(logging.DEBUG):
        ran(one, call("put_user", name="writer", secret=Hidden("secret-of-the-writer")))
        ran(one, 'get_bucket_versioning {"Bucket": "abc"}')
    assert wire.sent
    assert "Calculating signature" in caplog.text
    assert OWN_SECRET not in caplog.text
    assert "secret-of-the-writer" not in caplog.text


def test_an_error_that_quotes_a_secret_is_redacted() -> None:
    Hidden("quoted-secret-value")
    done, said = ran(made(refused("InvalidArgument", 400, "bad quoted-secret-value"))[0], "list_buckets")
    assert not done
    assert said.startswith("cannot list_buckets: found InvalidArgument (status 400): bad *MASKED*; correct what")


@pytest.mark.parametrize(
    "said",
    [
        b'{"Code": "XMinioAdminNoSuchUser", "Message": "it is not"}',
        b"<Error><Code>XMinioAdminNoSuchUser</Code><Message>it is not</Message></Error>",
    ],
)
def test_an_engine_s_own_errors_are_read_in_both_forms(said: bytes) -> None:
    done, output = ran(made((400, said))[0], "policies {}")
    assert not done
    assert output == (
        "cannot GET /minio/admin/v3/list-canned-policies: found XMinioAdminNoSuchUser (status 400): it is not; correct "
        "what is declared, or read the server's log"
    )


def test_nothing_ambient_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Neither keys, profiles, endpoints, regions, proxies and bundles of the environment nor files in ~/.aws."""
    aws = tmp_path / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text("[default]\naws_access_key_id = theirs\naws_secret_access_key = theirs\n")
    (aws / "config").write_text("[default]\nregion = mars\nendpoint_url = https://evil.example\n")
    for name, value in {
        "HOME": str(tmp_path), "AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_SESSION_TOKEN": "theirs", "AWS_ENDPOINT_URL": "https://evil.example", "AWS_CA_BUNDLE": "/nonexistent",
        "AWS_DEFAULT_REGION": "mars", "AWS_CONFIG_FILE": str(aws / "config"), "HTTPS_PROXY": "http://evil.example",
        "AWS_ENDPOINT_URL_S3": "https://evil.example", "AWS_S3_ADDRESSING_STYLE": "virtual", "AWS_MAX_ATTEMPTS": "9",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported", "AWS_USE_FIPS_ENDPOINT": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_boto, "_BOTO3", s3_boto.boto3.Session(botocore_session=s3_boto._isolated()))
    one, wire, _ = made((200, b""))
    done, said = ran(one, 'put_object {"Bucket": "abc", "Key": "k", "Body": "x"}')
    assert done, said
    (sent,) = wire.sent
    assert sent.url == f"{FIRST}/abc/k"
    assert "Credential=unterbau/" in sent.headers["Authorization"]
    assert "/us-east-1/s3/aws4_request" in sent.headers["Authorization"]
    assert not any(
        name.lower().startswith(("x-amz-security", "x-amz-checksum", "x-amz-trailer")) for name in sent.headers
    )
    assert "theirs" not in str(sent.headers)


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_to_elsewhere_is_not_followed(status: int) -> None:
    body = b"<Error><Code>PermanentRedirect</Code><Message>there</Message><Endpoint>evil.example</Endpoint></Error>"
    away = {"Location": "https://evil.example/abc", "x-amz-bucket-region": "eu-west-1"}
    one, wire, _ = made((status, body, away))
    done, said = ran(one, 'get_bucket_versioning {"Bucket": "abc"}')
    assert not done
    assert "cannot get_bucket_versioning abc" in said
    assert {request.url.split("?")[0].rstrip("/") for request in wire.sent} <= {f"{FIRST}/abc"}


def test_what_was_never_sent_is_sent_to_the_next_server() -> None:
    one, wire, way = made(never_sent(), (200, b""))
    assert ran(one, 'delete_objects {"Bucket": "abc", "Delete": {"Objects": [{"Key": "k"}]}}')[0]
    assert way.chosen == [FIRST, SECOND]
    assert [request.url.split("/abc")[0] for request in wire.sent] == [FIRST, SECOND]


def test_a_read_whose_connection_broke_is_asked_again_and_a_write_that_cannot_be_repeated_is_not() -> None:
    one, _, way = made(requests.ConnectionError("broken"), (200, EMPTY_LIST))
    assert ran(one, "list_buckets")[0]
    assert way.chosen == [FIRST, SECOND]
    one, wire, _ = made(requests.ConnectionError("broken"), (200, b""))
    done, said = ran(one, 'create_multipart_upload {"Bucket": "abc", "Key": "k"}')
    assert not done
    assert said == (
        "cannot tell whether create_multipart_upload abc k was carried out: the connection broke; plan again"
    )
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ('create_bucket {"Bucket": "abc"}', "BucketAlreadyOwnedByYou"),
        ('delete_bucket {"Bucket": "abc"}', "NoSuchBucket"),
    ],
)
def test_what_the_first_of_two_equal_requests_did_is_done(command: str, code: str) -> None:
    one, _, _ = made(requests.ConnectionError("broken"), refused(code, 409))
    assert ran(one, command) == (True, "{}")
    assert not ran(made(refused(code, 409))[0], command)[0]  # nothing was lost on the way: it is an error


def test_a_server_that_starts_is_waited_for_and_then_given_up() -> None:
    one, _, _ = made(refused("XMinioServerNotInitialized", 503), (200, EMPTY_LIST))
    assert ran(one, "list_buckets")[0]
    one, wire, way = made(refused("SlowDownWrite", 503))
    done, said = ran(one, 'create_bucket {"Bucket": "abc"}')
    assert not done
    assert "no server carried it out within 0.2 s, the last found: SlowDownWrite (status 503)" in said
    assert len(wire.sent) > 1
    assert way.avoided == {FIRST, SECOND}
    wire.answers = [(200, EMPTY_LIST)]
    assert ran(one, "list_buckets")[0]
    assert way.avoided == set()  # another question, another try


def test_a_server_that_does_not_know_the_newest_secret_gets_the_one_before() -> None:
    one, wire, _ = made(refused("SignatureDoesNotMatch"), (200, EMPTY_LIST), secrets=("newest-secret", "older-secret"))
    assert ran(one, "list_buckets")[0]
    assert len(wire.sent) == 2
    assert ran(one, "list_buckets")[0]
    assert len(wire.sent) == 3  # it is remembered
    one, wire, _ = made(refused("SignatureDoesNotMatch"), secrets=("newest-secret", "older-secret"))
    done, said = ran(one, "list_buckets")
    assert not done
    assert "found SignatureDoesNotMatch (status 403): no; the endpoint's secret is not what the server knows" in said
    assert len(wire.sent) == 2


def test_answers_are_json_with_moments_in_utc_and_bodies_as_text() -> None:
    head = {"Last-Modified": "Sun, 22 Nov 2026 04:00:00 GMT", "Content-Length": "2", "ETag": '"e"'}
    done, said = ran(made((200, "ä".encode(), head))[0], 'get_object {"Bucket": "abc", "Key": "k"}')
    assert done
    answer = json.loads(said)
    assert answer["Body"] == "ä"
    assert answer["LastModified"] == "2026-11-22T04:00:00+00:00"
    assert "ResponseMetadata" not in answer


@pytest.mark.parametrize(("body", "words"), [(b"\xff\xfe", "found no UTF-8 text"), (b"x" * (1 << 20) + b"y", "1 MiB")])
def test_an_object_that_is_no_text_is_not_shown(body: bytes, words: str) -> None:
    one, _, _ = made((200, body, {"Content-Length": str(len(body))}))
    done, said = ran(one, 'get_object {"Bucket": "abc", "Key": "k"}')
    assert not done
    assert words in said


@pytest.mark.parametrize("engine", ["seaweedfs", "aws"])
def test_what_an_engine_lacks_is_said_and_what_it_has_none_of_is_empty(engine: str) -> None:
    one, wire, _ = made(engine=engine)
    done, said = ran(one, 'put_service_account {"name": "a", "user": "b", "secret": "c"}')
    assert not done
    assert said == (
        f"cannot put_service_account: {engine} has no service accounts; remove it from the declaration, or use an "
        "engine that has it"
    )
    assert ran(one, "service_accounts {}") == (True, "{}")
    assert not ran(one, "cluster {}")[0]
    assert not wire.sent


WILL, WILL_NOT = SimpleNamespace(will_change=True), SimpleNamespace(will_change=False)
MEMBER = "object storage | servers | members"


@pytest.mark.parametrize(
    ("pending", "there", "stage", "patience_s"),
    [
        ([], True, StateStage.Prepare, FAILOVER_S),
        ([], False, StateStage.Prepare, 0),
        ([(MEMBER, WILL)], True, StateStage.Prepare, 0),
        ([(MEMBER, WILL)], False, StateStage.Execute, FAILOVER_S),
    ],
)
def test_a_plan_waits_for_nobody_that_cannot_come(
    pending: list[Any], there: bool, stage: StateStage, patience_s: float
) -> None:
    one, _, way = made(pending=pending, stage=stage)
    way.there = there
    assert one.patience_s() == patience_s


def test_a_plan_waits_in_vain_once_only() -> None:
    one, _, _ = made(refused("SlowDownRead", 503), refused("SlowDownRead", 503), (200, EMPTY_LIST))
    one._commands.client._patience_s = lambda: 0  # type: ignore[union-attr]
    assert not ran(one, "list_buckets")[0]
    assert one.patience_s() == 0
    one.state.current_stage = StateStage.Execute
    assert one.patience_s() == FAILOVER_S  # what an earlier question of the plan met is no reason not to wait now
    one.state.current_stage = StateStage.Prepare
    ran(one, "list_buckets")
    assert ran(one, "list_buckets")[0]
    assert one.patience_s() == FAILOVER_S  # it has answered


@pytest.mark.parametrize("error", [NotThereError("no server answers"), StoreError("there is no such secret yet")])
@pytest.mark.parametrize(
    ("pending", "stage", "known_later"),
    [
        ([("object storage | servers | members", WILL)], StateStage.Prepare, True),
        ([("object storage | servers | members", WILL_NOT)], StateStage.Prepare, False),
        ([("object storage | packages", WILL), ("vault | servers | leader", WILL)], StateStage.Prepare, False),
        ([], StateStage.Prepare, False),
        ([("object storage | servers | members", WILL)], StateStage.Execute, False),
    ],
)
def test_known_after_apply_only_while_planning_and_only_if_the_same_plan_makes_it(
    error: Exception, pending: list[Any], stage: StateStage, known_later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, way = made(pending=pending, stage=stage)

    def url(patience_s: float, avoided: Collection[str]) -> str:
        raise error

    monkeypatch.setattr(way, "url", url)
    done, said = ran(one, "list_buckets")
    assert done is known_later
    assert (said == '"(known after apply)"') is known_later
    assert known_later or str(error) in said


def test_what_an_api_that_is_there_denies_is_not_known_later() -> None:
    one, _, _ = made(refused("AccessDenied"), pending=[("object storage | servers | members", WILL)])
    assert not ran(one, "list_buckets")[0]


WRITES = (
    'create_bucket {"Bucket": "abc"}',
    'put_user {"name": "a", "secret": "b"}',
    'put_mark {"kind": "a", "name": "b"}',
    'empty_bucket {"name": "abc"}',
    "heal_start {}",
    'delete_objects {"Bucket": "abc", "Delete": {}}',
)


def test_nothing_is_written_once_another_run_may_be_at_work() -> None:
    one, wire, way = made()
    way.unguarded = True
    for command in WRITES:
        done, said = ran(one, command)
        assert not done
        method = command.partition(" ")[0]
        assert said == f"cannot {method}: the lock on its members was lost: another run may be at work"
    assert not wire.sent
    assert ran(one, "list_buckets")[0]


def test_a_lock_reaches_the_members_and_the_end_gives_everything_back() -> None:
    one, _, way = made()
    one.lock("me")
    assert way.holder == "me"
    one.disconnect()
    assert way.closed
    one.disconnect()  # twice, as pyinfra may


def pages(*bodies: bytes) -> Iterator[Answer]:
    yield from ((200, body) for body in bodies)


def test_marks_beyond_one_page_are_all_read() -> None:
    def page(key: str, rest: str) -> bytes:
        return f"<ListBucketResult><Contents><Key>{key}</Key></Contents>{rest}</ListBucketResult>".encode()

    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    mark = (200, b'{"owner": "unterbau"}', {"Content-Length": "21"})
    one, wire, _ = made(*pages(page("marks/user/a", more), page("marks/user/b", "")), mark)
    assert ran(one, 'marks {"kind": "user"}') == (True, '{"a": {"owner": "unterbau"}, "b": {"owner": "unterbau"}}')
    assert "continuation-token=t" in str(wire.sent[1].url)


def test_a_mark_that_is_no_json_is_no_mark() -> None:
    page = b"<ListBucketResult><Contents><Key>marks/user/a</Key></Contents></ListBucketResult>"
    one, _, _ = made((200, page), (200, b"[]", {"Content-Length": "2"}))
    done, said = ran(one, 'marks {"kind": "user"}')
    assert not done
    assert said.startswith("cannot read the mark unterbau/marks/user/a: found no JSON object")


def test_there_are_no_files() -> None:
    one, _, _ = made()
    transfers: tuple[Callable[..., Any], ...] = (one.put_file, one.get_file)
    for transfer in transfers:
        with pytest.raises(NotImplementedError, match="it is an API"):
            transfer("a", "b")
