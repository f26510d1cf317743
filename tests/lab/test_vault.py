"""The Vault cluster of the lab: it loses a leader, it reboots, and applications get what their policy says, no more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.lab.bao import Bao, BaoError, eventually
from tests.lab.commands import plan, settled, unterbau
from unterbau.lab.layout import Lab

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("converged")]

MEMBERS = ("srv-1", "srv-2", "srv-3")
DRILL = "kv/data/demo/drill"
LIMIT_S = 180


@pytest.fixture
def bao(lab: Lab) -> Iterator[Bao]:
    """The cluster, whole; whatever a test killed is up again after it."""
    yield Bao(lab)
    ran = unterbau("lab", "up")
    assert ran.returncode == 0, ran.stderr
    eventually(lambda: all(serves(Bao(lab), member) for member in MEMBERS), LIMIT_S)


def serves(bao: Bao, member: str) -> bool:
    """Whether it is unsealed and leads or follows."""
    said = bao.call(member, "GET", "sys/health")
    return bool(said["initialized"] and not said["sealed"])


def voters(bao: Bao, member: str) -> list[str]:
    """Who votes and is healthy."""
    state = bao.call(member, "GET", "sys/storage/raft/autopilot/state", token=bao.deploy_token(member))["data"]
    return sorted(name for name, one in state["servers"].items() if one["healthy"] and name in state["voters"])


def application(bao: Bao, member: str) -> str:
    """A token of the application `demo`, by its AppRole."""
    deploy = bao.deploy_token(member)
    role_id = bao.call(member, "GET", "auth/approle/role/demo/role-id", token=deploy)["data"]["role_id"]
    path = "auth/approle/role/demo/secret-id"
    wrapping = bao.call(member, "POST", path, {}, token=deploy, wrap="60s")["wrap_info"]["token"]
    secret_id = bao.call(member, "POST", "sys/wrapping/unwrap", {}, token=wrapping)["data"]["secret_id"]
    login = {"role_id": role_id, "secret_id": secret_id}
    return str(bao.call(member, "POST", "auth/approle/login", login)["auth"]["client_token"])


def write(bao: Bao, member: str, text: str) -> None:
    bao.call(member, "POST", DRILL, {"data": {"text": text}}, token=bao.deploy_token(member))


def read(bao: Bao, member: str, token: str) -> str:
    return str(bao.call(member, "GET", DRILL, token=token)["data"]["data"]["text"])


def test_three_members_vote_and_a_second_run_has_nothing_to_do(bao: Bao) -> None:
    assert voters(bao, "srv-2") == list(MEMBERS)
    assert [member for member in MEMBERS if bao.call(member, "GET", "sys/leader")["is_self"]] == [bao.leader()]
    settled()
    status = unterbau("vault", "status", "lab")
    assert status.returncode == 0, status.stdout + status.stderr


def test_a_killed_leader_is_followed_by_another_and_unseals_by_itself_when_it_is_back(bao: Bao) -> None:
    leader = bao.leader()
    assert leader is not None
    survivors = [member for member in MEMBERS if member != leader]
    token = application(bao, survivors[0])
    write(bao, survivors[0], "before")

    assert unterbau("lab", "fault", "kill", leader).returncode == 0
    eventually(lambda: leads_one_of(bao, survivors), LIMIT_S)
    # Who follows refuses until it knows who leads now.
    eventually(lambda: write(bao, survivors[1], "after") is None, LIMIT_S)
    eventually(lambda: read(bao, survivors[0], token) == "after", LIMIT_S)

    code, document = plan()
    assert code == 1
    assert {problem["host"] for problem in document["problems"]} == {leader}
    status = unterbau("vault", "status", "lab")
    assert status.returncode == 2, status.stdout + status.stderr
    assert leader in status.stdout

    assert unterbau("lab", "up").returncode == 0
    eventually(lambda: serves(bao, leader), LIMIT_S)
    eventually(lambda: voters(bao, survivors[0]) == list(MEMBERS), LIMIT_S)
    settled()


def leads_one_of(bao: Bao, members: list[str]) -> bool:
    return any(bao.call(member, "GET", "sys/leader")["is_self"] for member in members)


def test_all_three_rebooted_at_once_unseal_without_anybody(bao: Bao) -> None:
    write(bao, "srv-1", "before the reboot")
    reboots = [threading.Thread(target=unterbau, args=("lab", "fault", "reboot", member)) for member in MEMBERS]
    for reboot in reboots:
        reboot.start()
    for reboot in reboots:
        reboot.join()
    eventually(lambda: all(serves(bao, member) for member in MEMBERS), LIMIT_S)
    eventually(lambda: voters(bao, "srv-1") == list(MEMBERS), LIMIT_S)
    assert read(bao, "srv-2", application(bao, "srv-2")) == "before the reboot"
    settled()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "kv/data/other/secret"),
        ("POST", "kv/data/demo/api"),
        ("DELETE", "kv/metadata/demo/api"),
        ("GET", "sys/policies/acl/deploy"),
        ("POST", "sys/policies/acl/demo"),
        ("GET", "database/config/demo"),
        ("POST", "auth/approle/role/demo/secret-id"),
    ],
)
def test_a_policy_denies_what_it_does_not_name(bao: Bao, method: str, path: str) -> None:
    leader = bao.active()
    token = application(bao, leader)
    assert bao.call(leader, "GET", "kv/data/demo/api", token=token)["data"]["data"]["key"] == bao.secret("demo/api-key")
    with pytest.raises(BaoError) as denied:
        bao.call(leader, method, path, {} if method == "POST" else None, token=token)
    assert denied.value.status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "kv/data/demo/api"),
        ("GET", "database/creds/demo"),
        ("POST", "auth/approle/role/demo/secret-id"),  # not wrapped
        ("DELETE", "sys/auth/deploy"),
        ("POST", "sys/seal"),
        ("GET", "sys/raw/core/keyring"),
        ("POST", "auth/token/create"),
    ],
)
def test_the_deploys_own_identity_cannot_read_values(bao: Bao, method: str, path: str) -> None:
    leader = bao.active()
    token = bao.deploy_token(leader)
    with pytest.raises(BaoError) as denied:
        bao.call(leader, method, path, {} if method == "POST" else None, token=token)
    assert denied.value.status == 403
    assert all(serves(bao, member) for member in MEMBERS)


def test_nobody_has_a_root_token(bao: Bao) -> None:
    with pytest.raises(BaoError) as refused:
        bao.call("srv-1", "POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    assert refused.value.status in (400, 403)
    with pytest.raises(BaoError) as refused:
        bao.call("srv-1", "PUT", "sys/generate-root/attempt", {})
    assert refused.value.status in (400, 403, 404, 405)
