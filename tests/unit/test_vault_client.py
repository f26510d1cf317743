"""Requests to a cluster whose leader changes, whose tokens end, and whose authorities rotate; without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from urllib3.exceptions import NewConnectionError

from unterbau.connectors import vault_client
from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.vault_client import Credentials, VaultClient, sentence
from unterbau.secrets.hidden import Hidden, redact

CAS = {"options": {"cas": 1}, "data": {"password": "s3cret-value"}}
REPEATABLE = [("GET", None), ("LIST", None), ("DELETE", None), ("POST", {"policy": ""})]
TOKEN = "s.token-of-the-test"


def response(status: int, body: Any = None) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = b"" if body is None else json.dumps(body).encode()
    return made


def not_sent() -> requests.ConnectionError:
    class Reason:
        reason = NewConnectionError(None, "refused")  # type: ignore[arg-type]

    return requests.ConnectionError(Reason())


LOGIN = response(200, {"auth": {"client_token": TOKEN, "lease_duration": 900}})


class Cluster:
    """Answers in turn what a test wants, and notes what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked, self.logins, self.elections = list(answers), [], [], 0
        self.login: Callable[[str], requests.Response] = lambda client: LOGIN

    def active(self, patience_s: float) -> Any:
        self.elections += 1
        return type("Member", (), {"url": "https://192.0.2.7:8200"})

    def open(self, *_: Any) -> None:
        raise AssertionError("no network here")

    def close(self) -> None:
        self.asked.append("closed")

    def request(self, client: str, method: str, url: str) -> requests.Response:
        path = url.partition("/v1/")[2]
        if path == vault_client.AUTH_PATH:
            self.logins.append(client)
            return self.login(client)
        self.asked.append(f"{method} {path}")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., VaultClient]:
    monkeypatch.setattr(vault_client, "LOOK_AGAIN_S", 0)
    monkeypatch.setattr(vault_client, "tls_context", lambda roots, client: client)

    def make(cluster: Cluster, *clients: str) -> VaultClient:
        class Session(requests.Session):
            def __init__(self, _open: Any, client: str) -> None:
                super().__init__()
                self.client = client

            def request(self, method: str, url: str, **_: Any) -> requests.Response:  # type: ignore[override]
                return cluster.request(self.client, method, url)

        monkeypatch.setattr(vault_client, "session", Session)
        hidden = [Hidden(client) for client in clients or ("current-client",)]
        return VaultClient(cluster, Credentials(lambda: ["root"], lambda: hidden), lambda: 0.2)  # type: ignore[arg-type]

    return make


def test_it_logs_in_once_and_gives_the_token_back(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(response(200), response(200), response(204))
    client = client_of(cluster)
    client.request("GET", "a")
    client.request("GET", "b")
    client.close()
    assert cluster.logins == ["current-client"]
    assert cluster.asked == ["GET a", "GET b", "POST auth/token/revoke-self", "closed"]


def test_what_was_not_carried_out_is_sent_to_the_next_leader_even_with_check_and_set(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(response(307), response(503), not_sent(), response(200))
    assert client_of(cluster).request("POST", "kv/data/a", CAS).status_code == 200
    assert cluster.asked == ["POST kv/data/a"] * 4
    assert cluster.elections == 4


def test_a_write_with_check_and_set_that_may_have_been_carried_out_is_not_sent_again(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(requests.ReadTimeout("s3cret-value"), response(200))
    with pytest.raises(EndpointError, match="cannot tell whether") as error:
        client_of(cluster).request("POST", "kv/data/a", CAS)
    assert cluster.asked == ["POST kv/data/a"]
    assert "s3cret" not in str(error.value)


def test_a_login_that_breaks_off_leaves_no_doubt_about_the_write(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster, answers = Cluster(response(200)), [requests.ReadTimeout(), LOGIN]

    def login(_client: str) -> requests.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cluster.login = login
    assert client_of(cluster).request("POST", "kv/data/a", CAS).status_code == 200
    assert cluster.asked == ["POST kv/data/a"]


@pytest.mark.parametrize(("method", "body"), REPEATABLE)
def test_everything_else_is_repeated(client_of, method: str, body: Any) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(requests.ReadTimeout(), response(200))
    assert client_of(cluster).request(method, "a", body).status_code == 200
    assert len(cluster.asked) == 2


UPGRADING = {"errors": ["Upgrading from non-versioned to versioned data. This backend will be unavailable"]}
IN_USE = response(400, {"errors": ["path is already in use at kv/"]})


@pytest.mark.parametrize("body", [CAS, {"custom_metadata": {}}])
def test_a_kv_engine_that_was_just_made_is_waited_for_with_the_same_login(client_of, body: Any) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(response(400, UPGRADING), response(400, UPGRADING), response(200))
    assert client_of(cluster).request("POST", "kv/data/a", body).status_code == 200
    assert (len(cluster.asked), len(cluster.logins)) == (3, 1)


@pytest.mark.parametrize("lost", [requests.ReadTimeout(), response(500, {"errors": ["context canceled"]})])
def test_an_engine_that_the_first_request_made_though_its_answer_was_lost_is_made(client_of, lost: Any) -> None:  # type: ignore[no-untyped-def]
    answer = client_of(Cluster(lost, IN_USE)).request("POST", "sys/mounts/kv", {"type": "kv"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("before", [[], [response(503)], [not_sent()]])
def test_an_engine_that_somebody_else_made_is_an_error(client_of, before: list[Any]) -> None:  # type: ignore[no-untyped-def]
    assert client_of(Cluster(*before, IN_USE)).request("POST", "sys/mounts/kv", {"type": "kv"}).status_code == 400


def test_a_leader_that_loses_its_office_at_the_login_is_followed_by_the_next(client_of) -> None:  # type: ignore[no-untyped-def]
    said = {"errors": ["local node not active but active cluster node not found"]}
    cluster, answers = Cluster(response(200)), [response(500, said), LOGIN]
    cluster.login = lambda client: answers.pop(0)
    assert client_of(cluster).request("GET", "a").status_code == 200
    assert cluster.elections == 2


def test_a_token_that_has_ended_is_replaced_once_and_a_denial_stays_one(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(response(200), response(403), response(200), response(403), response(403))
    client = client_of(cluster)
    client.request("GET", "a")
    assert client.request("GET", "b").status_code == 200
    assert len(cluster.logins) == 2
    assert client.request("GET", "c").status_code == 403
    assert len(cluster.logins) == 3


def test_a_denial_of_a_fresh_token_costs_no_second_login(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(response(403))
    assert client_of(cluster).request("GET", "a").status_code == 403
    assert len(cluster.logins) == 1


def test_during_a_rotation_the_authority_before_the_newest_still_opens_the_door(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster(response(200))
    cluster.login = lambda client: LOGIN if client == "previous-client" else response(400, {"errors": ["invalid"]})
    client_of(cluster, "current-client", "previous-client").request("GET", "a")
    assert cluster.logins == ["current-client", "previous-client"]


def test_no_authority_opens_the_door(client_of) -> None:  # type: ignore[no-untyped-def]
    cluster = Cluster()
    cluster.login = lambda client: response(400, {"errors": ["invalid certificate"]})
    with pytest.raises(EndpointError, match=r"cannot PUT auth/deploy/login: found status 400: invalid certificate"):
        client_of(cluster).request("GET", "a")


def test_a_cluster_without_a_leader_is_given_up(client_of) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotThereError, match=r"no member carried it out within 0\.2 s, the last found: status 503"):
        client_of(Cluster(response(503))).request("GET", "a")


def test_a_member_that_takes_requests_and_answers_none_is_named_for_what_it_does(client_of) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotThereError, match=r"no answer within 10 s \(a disk or an audit device that blocks\?\)"):
        client_of(Cluster(requests.ReadTimeout())).request("GET", "a")


def test_the_token_is_hidden_from_everything(client_of) -> None:  # type: ignore[no-untyped-def]
    client = client_of(Cluster(response(200)))
    client.request("GET", "a")
    assert TOKEN not in repr(client._login) + redact(f"X-Vault-Token: {TOKEN}")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, {"errors": ["check-and-set parameter did not match"]}, "it was changed meanwhile: plan again"),
        (
            403,
            {"errors": ["1 error occurred:\n\t* permission denied\n\n"]},
            "occurred: * permission denied; the policy",
        ),
        (418, {"errors": []}, "no reason given; read the server's log"),
    ],
)
def test_a_status_in_words(status: int, body: Any, words: str) -> None:
    assert words in sentence("POST", "kv/data/a", response(status, body))
    assert sentence("POST", "kv/data/a", response(status, body)).startswith(
        f"cannot PUT kv/data/a: found status {status}"
    )
