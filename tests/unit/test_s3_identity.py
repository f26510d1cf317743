"""Who may use an S3 service, on a real MinIO: exactly what is declared, killed anywhere, and never what is not ours."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from operations import s3_group, s3_policy, s3_service_account, s3_user
from operations.s3_group import Group
from operations.s3_object import call
from operations.s3_service_account import Account
from operations.s3_user import Login
from tests.unit.s3_host import Ran, ran
from tests.unit.s3_server import Endpoint, Server, minio
from unterbau.domain.s3_policy import normalised
from unterbau.secrets.hidden import Hidden

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # boto3 leaves its connections to the end


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with minio(tmp_path_factory.mktemp("minio")) as one:
        yield one


@pytest.fixture
def endpoint(server: Server) -> Iterator[Endpoint]:
    """Nobody is there but the root, and nothing is ours."""
    one = Endpoint(server)
    for reading, deleting in (("users", "delete_user"), ("groups", "delete_group"), ("policies", "delete_policy")):
        for name in asked(one, reading):
            done, said = one.ran(call(deleting, name=name))
            assert done, said
    for kind in ("user", "group", "policy", "service-account"):
        for name in asked(one, "marks", kind=kind):
            assert one.ran(call("delete_mark", kind=kind, name=name))[0]
    yield one
    one.connector.disconnect()


def asked(endpoint: Endpoint, method: str, **parameters: Any) -> dict[str, Any]:
    done, said = endpoint.ran(call(method, **parameters))
    assert done, said
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


SOMEBODY, PROGRAM = "a-secret-of-somebody", "a-secret-of-a-program"


def reading(bucket: str, *actions: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": actions or ("s3:GetObject",), "Resource": f"arn:aws:s3:::{bucket}/*"}
    return normalised({"Statement": [statement]})


def login(name: str, *policies: str, secret: str = SOMEBODY, **more: Any) -> Login:
    return Login(name, Hidden(secret), f"hash of {secret}", policies, **more)


def account(name: str, user: str, *, secret: str = PROGRAM, policy: Any = None) -> Account:
    return Account(name, user, Hidden(secret), f"hash of {secret}", policy)


LAYER = 5  # operations


class Declared:
    """What one run of the layer has, in the layer's order."""

    def __init__(self, **kinds: Any) -> None:
        self.policies: dict[str, Any] = kinds.get("policies", {})
        self.users: list[Login] = kinds.get("users", [])
        self.groups: list[Group] = kinds.get("groups", [])
        self.accounts: list[Account] = kinds.get("accounts", [])
        self.deletions: list[str] = kinds.get("deletions", [])

    def applied(self, endpoint: Endpoint, until: int | None = None) -> list[Ran]:
        """With `until`, killed after so many commands in all."""
        identities = [*(f"user/{one.name}" for one in self.users), *(f"group/{one.name}" for one in self.groups)]
        steps = [
            (s3_policy.exactly, [self.policies], {}),
            (s3_user.exactly, [self.users], {"root": "unterbau"}),
            (s3_group.exactly, [self.groups], {}),
            (s3_service_account.exactly, [self.accounts], {}),
            (s3_policy.withdrawn, [list(self.policies)], {"identities": identities}),
        ]
        done: list[Ran] = []
        for operation, arguments, more in steps:
            left = None if until is None else until - sum(len(one.commands) for one in done)
            done.append(ran(endpoint, operation, *arguments, until=left, deletions=self.deletions, **more))
            if done[-1].error or done[-1].refused or left == len(done[-1].commands):
                break
        return done


def commands(runs: list[Ran]) -> list[str]:
    assert not [one.error or one.refused for one in runs if one.error or one.refused]
    return [command for one in runs for command in one.commands]


FIRST = Declared(
    policies={"reader": reading("app"), "writer": reading("app", "s3:PutObject")},
    users=[login("alice", "reader"), login("bob", enabled=False)],
    groups=[Group("writers", ["alice", "bob"], ["writer"])],
    accounts=[account("alice-ci", "alice", policy=reading("app"))],
)
# Another policy, another group, another user, and one less of each
SECOND = Declared(
    policies={"reader": reading("app", "s3:GetObject", "s3:GetObjectTagging")},
    users=[login("alice", "reader", secret="another-secret"), login("carol")],
    groups=[Group("readers", ["carol"], ["reader"])],
    accounts=[account("alice-ci", "carol")],
    deletions=["policy/writer", "user/bob", "group/writers"],
)


def state(endpoint: Endpoint) -> dict[str, Any]:
    kinds = ("policies", "users", "groups", "service_accounts")
    marks = {kind: asked(endpoint, "marks", kind=kind) for kind in ("policy", "user", "group", "service-account")}
    return {**{kind: asked(endpoint, kind) for kind in kinds}, "marks": marks}


def test_all_of_it_is_as_declared_and_a_second_run_does_nothing(endpoint: Endpoint) -> None:
    assert commands(FIRST.applied(endpoint))
    found = state(endpoint)
    assert found["users"] == {
        "alice": {"enabled": True, "policies": ["reader"], "groups": ["writers"]},
        "bob": {"enabled": False, "policies": [], "groups": ["writers"]},
    }
    assert found["groups"] == {"writers": {"members": ["alice", "bob"], "policies": ["writer"], "enabled": True}}
    assert {name: normalised(one) for name, one in found["policies"].items()} == FIRST.policies
    narrow = found["service_accounts"]["alice-ci"]
    assert (narrow["user"], normalised(narrow["policy"])) == ("alice", reading("app"))
    assert commands(FIRST.applied(endpoint)) == []


def test_what_is_in_use_goes_in_the_run_that_declares_it_no_more(endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    assert commands(SECOND.applied(endpoint))
    found = state(endpoint)
    assert (sorted(found["policies"]), sorted(found["groups"])) == (["reader"], ["readers"])
    assert found["users"]["alice"] == {"enabled": True, "policies": ["reader"], "groups": []}
    assert found["service_accounts"]["alice-ci"] == {"user": "carol", "policy": None, "enabled": True}
    assert sorted(found["marks"]["user"]) == ["alice", "carol"]
    assert commands(SECOND.applied(endpoint)) == []


def test_runs_that_are_killed_again_and_again_get_there(endpoint: Endpoint) -> None:
    """After one command, after two, after one …: a secret is written once more, and nothing is forgotten."""
    commands(FIRST.applied(endpoint))
    for kill in itertools.islice(itertools.cycle((1, 2)), 60):
        runs = SECOND.applied(endpoint, until=kill)
        if not commands(runs):
            break
    assert len(runs) == LAYER
    found = state(endpoint)
    assert (sorted(found["policies"]), sorted(found["groups"])) == (["reader"], ["readers"])
    assert sorted(found["users"]) == sorted(found["marks"]["user"]) == ["alice", "carol"]
    assert found["users"]["alice"] == {"enabled": True, "policies": ["reader"], "groups": []}
    assert found["service_accounts"]["alice-ci"] == {"user": "carol", "policy": None, "enabled": True}
    assert {mark.get("hash") for mark in found["marks"]["user"].values()} == {
        f"hash of {SOMEBODY}",
        "hash of another-secret",
    }


def accepted(server: Server, name: str, secret: str) -> bool:
    """Whether it is who it says, whatever it may do."""
    try:
        buckets_of(server, name, secret)
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId")
        return error.response["Error"]["Code"] == "AccessDenied"
    return True


def buckets_of(server: Server, name: str, secret: str) -> Any:
    client: Any = boto3.client(
        "s3", endpoint_url=server.url, aws_access_key_id=name, aws_secret_access_key=secret,
        region_name="us-east-1", verify=str(server.roots),
    )  # fmt: skip
    return client.list_buckets()["Buckets"]


def test_a_rotated_secret_reaches_user_and_account_in_the_same_run(server: Server, endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    assert accepted(server, "alice", SOMEBODY)
    assert accepted(server, "alice-ci", PROGRAM)
    rotated = Declared(
        policies=FIRST.policies, groups=FIRST.groups,
        users=[login("alice", "reader", secret="rotated-secret"), FIRST.users[1]],
        accounts=[account("alice-ci", "alice", secret="rotated-program", policy=reading("app"))],
    )  # fmt: skip
    said = [str(change) for one in rotated.applied(endpoint) for change in one.said.changes]
    assert len(said) == 2
    assert not [line for line in said if "rotated" in line]
    assert accepted(server, "alice", "rotated-secret")
    assert accepted(server, "alice-ci", "rotated-program")
    assert not accepted(server, "alice", SOMEBODY)
    assert not accepted(server, "alice-ci", PROGRAM)


def test_a_disabled_user_is_out(server: Server, endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    assert not accepted(server, "bob", SOMEBODY)


def test_what_somebody_else_made_is_left_alone(endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    assert endpoint.ran(call("put_policy", name="wide", document=reading("*", "s3:*")))[0]
    assert endpoint.ran(call("put_user", name="eve", secret="secret-of-eve", enabled=True))[0]
    assert endpoint.ran(call("attach", policies=["wide"], user="eve"))[0]
    assert endpoint.ran(call("put_group", name="made by hand"))[0]
    before = state(endpoint)
    same_names = Declared(
        policies={**FIRST.policies, "wide": reading("app")}, users=[*FIRST.users, login("eve")], groups=FIRST.groups
    )
    refusal = ran(endpoint, s3_policy.exactly, same_names.policies).refused
    assert "found one that is not ours and differs in text" in refusal
    assert (
        "a value that cannot be read back" in ran(endpoint, s3_user.exactly, same_names.users, root="unterbau").refused
    )
    assert state(endpoint) == before
    assert commands(FIRST.applied(endpoint)) == []


def test_what_was_given_by_hand_to_what_is_ours_is_taken_away(endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    before = state(endpoint)
    assert endpoint.ran(call("put_user", name="eve", secret="secret-of-eve", enabled=True))[0]
    assert endpoint.ran(call("join", group="writers", users=["eve"]))[0]
    assert endpoint.ran(call("attach", policies=["consoleAdmin"], user="alice"))[0]
    assert endpoint.ran(call("attach", policies=["consoleAdmin"], group="writers"))[0]
    assert len(commands(FIRST.applied(endpoint))) == 3
    after = state(endpoint)
    assert after["users"].pop("eve") == {"enabled": True, "policies": [], "groups": []}
    assert after == before


def test_nothing_is_deleted_that_is_not_named(endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    before = state(endpoint)
    nothing = Declared(deletions=["policy/reader"])
    assert "policy/writer; declare them, or name them in s3_deletions" in nothing.applied(endpoint)[0].refused
    assert (
        "user/alice (with the service accounts alice-ci)" in ran(endpoint, s3_user.exactly, [], root="unterbau").refused
    )
    assert state(endpoint) == before


def test_a_policy_that_a_stranger_has_is_kept_and_said_so(endpoint: Endpoint) -> None:
    commands(FIRST.applied(endpoint))
    assert endpoint.ran(call("put_user", name="eve", secret="secret-of-eve", enabled=True))[0]
    assert endpoint.ran(call("attach", policies=["writer"], user="eve"))[0]
    last = SECOND.applied(endpoint)[-1]
    assert "the user eve has it, which is not declared; detach it by hand" in last.refused
    assert "writer" in asked(endpoint, "policies")


def test_the_root_is_no_user(endpoint: Endpoint) -> None:
    root = login("unterbau", secret="taken-over")
    assert "the access key of deploys themselves" in ran(endpoint, s3_user.exactly, [root], root="unterbau").refused
    done, said = endpoint.ran(call("put_user", name="unterbau", secret="taken-over", enabled=True))
    assert not done
    assert "admin access key" in said
    assert asked(endpoint, "users") == {}


@pytest.mark.parametrize("name", ["../x", "a/../b", "a b", "a\0b", "x; reboot", "a,b", "a\nb", "x" * 300, ""])
def test_names_that_are_none_make_nothing(endpoint: Endpoint, name: str) -> None:
    runs = [
        ran(endpoint, s3_policy.exactly, {name: reading("app")}),
        ran(endpoint, s3_user.exactly, [login(name)], root="unterbau"),
        ran(endpoint, s3_group.exactly, [Group(name)]),
        ran(endpoint, s3_service_account.exactly, [account(name, "alice")]),
    ]
    assert [one for one in runs if not (one.refused or one.error).startswith("cannot")] == []
    found = state(endpoint)
    assert (found["policies"], found["users"], found["groups"], found["service_accounts"]) == ({}, {}, {}, {})


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ({"Action": "s3:Frobnicate"}, "unsupported action 's3:Frobnicate'"),
        ({"Action": "ec2:RunInstances"}, "unsupported action 'ec2:RunInstances'"),
        ({"Resource": "arn:aws:ec2:::x"}, "invalid resource 'arn:aws:ec2:::x'"),
        ({"Resource": "arn:aws:s3:::/x"}, "invalid resource"),
        ({"Resource": "app/*"}, "invalid resource 'app/*'"),
        ({"Resource": f"arn:aws:s3:::app/{'x' * 30000}"}, "EntityTooLarge"),
        ({"Condition": {"StringEquals": {"aws:nope": "x"}}}, "invalid condition key 'aws:nope'"),
        ({"Condition": {"Sometimes": {"aws:SourceIp": "x"}}}, "invalid condition name 'Sometimes'"),
        ({"Effect": "Perhaps"}, "invalid Effect Perhaps"),
    ],
)  # fmt: skip
def test_documents_that_mean_nothing_make_nothing(endpoint: Endpoint, statement: Any, words: str) -> None:
    """A mark that stands for nothing goes by itself, once the policy is declared no more."""
    whole = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::app/*", **statement}
    said = ran(endpoint, s3_policy.exactly, {"odd": normalised({"Statement": [whole]})}).error
    assert words in said
    assert "cannot" in said
    assert asked(endpoint, "policies") == {}
    assert ran(endpoint, s3_policy.exactly, {}).commands == ['delete_mark {"kind": "policy", "name": "odd"}']


def test_no_secret_is_in_what_is_said(endpoint: Endpoint) -> None:
    shown = json.dumps(commands(FIRST.applied(endpoint)))
    assert "put_user" in shown
    assert "a-secret-of" not in shown
    assert "hash of" not in shown
