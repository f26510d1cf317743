"""`@kubernetes/<name>` as pyinfra sees it: commands, masked logs, servers that go away, known after apply, locks."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pyinfra.api.state import StateStage

from operations import api_call
from tests.unit.kube_server import keyed_hash
from unterbau.connectors import endpoint, kubernetes_client, kubernetes_kinds
from unterbau.connectors.endpoint import EndpointError, NotThereError
from unterbau.connectors.kubernetes import KubernetesConnector
from unterbau.connectors.kubernetes_members import BETWEEN, Members, login_of
from unterbau.secrets.hidden import Hidden

KINDS = {
    "items": [
        {
            "metadata": {},
            "versions": [
                {
                    "version": "v1",
                    "resources": [
                        {
                            "resource": "configmaps",
                            "responseKind": {"kind": "ConfigMap"},
                            "scope": "Namespaced",
                            "verbs": ["delete", "get", "list", "patch"],
                        }
                    ],
                }
            ],
        }
    ]
}
FOUND = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "a"}}
TREE = {
    "GET /api": (200, KINDS),
    "GET /apis": (200, {"items": []}),
    "GET /api/v1/namespaces/a/configmaps/x": (200, FOUND),
    "GET /api/v1/namespaces/a/pods/it/log": (200, "hello\n"),
}


class Session:
    """HTTP without a network."""

    def __init__(self, way: Way) -> None:
        self._way = way

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        self._way.asked.append(f"{method} {url}")
        if self._way.broken:
            raise self._way.broken.pop(0)
        path = "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
        status, content = self._way.tree.get(f"{method} {path}", (404, {"message": "not found"}))
        answer = requests.Response()
        answer.status_code, answer.reason = status, "it is so"
        answer._content = (content if isinstance(content, str) else json.dumps(content)).encode()
        return answer

    def close(self) -> None:
        """Nothing is open."""


class Way:
    """Servers that answer from a tree."""

    unguarded = False

    def __init__(self, tree: dict[str, tuple[int, Any]], broken: list[Exception], *, away: bool) -> None:
        self.tree, self.broken, self.away = tree, broken, away
        self.asked: list[str] = []
        self.forgotten, self.held = 0, [""]

    def url(self, patience_s: float) -> str:
        if self.away:
            raise NotThereError("no server answers")
        return "https://192.0.2.1:6443"

    def session(self) -> Any:
        return Session(self)

    def answers(self) -> bool:
        return not self.away

    def forget(self) -> None:
        self.forgotten += 1

    def lock(self, holder: str) -> None:
        self.held.append(holder)

    def close(self) -> None:
        """Nothing is held."""


def made(*broken: Exception, away: bool = False, **state: Any) -> tuple[KubernetesConnector, Way]:
    """A connector without its network: `pending` are names of operations that a server's plan has."""
    one = object.__new__(KubernetesConnector)
    pending = state.get("pending", [])
    operations = {str(n): SimpleNamespace(operation_meta=meta) for n, (_, meta) in enumerate(pending)}
    one.state = SimpleNamespace(  # type: ignore[assignment]
        current_stage=state.get("stage", StateStage.Prepare),
        inventory=SimpleNamespace(get_group=lambda _name: ["srv-1"]),
        ops={"srv-1": operations},
        op_meta={str(n): SimpleNamespace(names={name}) for n, (name, _) in enumerate(pending)},
    )
    data = SimpleNamespace(kubernetes=SimpleNamespace(members="servers", port=6443))
    one.host = SimpleNamespace(name="kubernetes", print_prefix="[kubernetes] ", data=data)  # type: ignore[assignment]
    way = Way(dict(TREE), list(broken), away=away)
    one._way = lambda: way  # type: ignore[method-assign]
    one._keyring = lambda: SimpleNamespace(keyed_hash=keyed_hash)  # type: ignore[method-assign,assignment,return-value]
    return one, way


def ran(one: KubernetesConnector, command: Any) -> tuple[bool, str]:
    done, output = one.run_shell_command(command)
    return done, output.output


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ('GET v1/ConfigMap/a/x {"cluster": "demo"}', FOUND),
        ("GET v1/ConfigMap/a/y", None),
        ("GET example.com/v1/Thing/a/y", None),
        ('LOGS a/it {"lines": 5}', "hello\n"),
    ],
)
def test_commands_and_their_answers(command: str, answer: Any) -> None:
    done, output = ran(made()[0], command)
    assert done, output
    assert json.loads(output) == answer


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("GET v1/ConfigMap/a/../../nodes/x", "cannot GET: found the name"),
        ("GET v1/ConfigMap/..%2f/x", "cannot GET: found the name '..%2f'"),
        ("GET x", "cannot GET: found the name"),
        ("LOGS a/it?x", "cannot LOGS: found the name 'it?x'"),
        ("rm -rf /", "found the verb 'rm'"),
        ('APPLY v1/ConfigMap/a/x {"password": "s3cret', "found a body that is no JSON"),
        ("APPLY v1/ConfigMap/a/x {}", "cannot APPLY: found other parameters than its own ('object')"),
        ('DELETE v1/ConfigMap/a/x {"within_s": 1}', "cannot DELETE: found other parameters than its own ('uid')"),
        ("APPLY v1/ConfigMap/a/y " + json.dumps({"object": FOUND}), "found the object v1/ConfigMap/a/x"),
        ("LIST example.com/v1/Thing/a", "the API has no such kind"),
        ('AWAIT v1/ConfigMap/a/x {"until": {".status.phase": "Done"}, "within_s": 0}', "found .status.phase=None"),
        ('AWAIT v1/ConfigMap/a/y {"until": {}, "within_s": 0}', "is not as awaited within 0 s, found nothing"),
    ],
)
def test_a_failure_is_this_command_s_only_and_says_why(command: str, words: str) -> None:
    done, output = ran(made()[0], command)
    assert not done
    assert words in output
    assert "s3cret" not in output


def test_hidden_leaves_reach_no_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_kinds, "NEW_KIND_WITHIN_S", 0)
    one, _ = made()
    secret = {**FOUND, "kind": "Secret", "data": {"key": Hidden("correct-horse")}}
    command = api_call.command("APPLY v1/Secret/a/x", {"object": secret, "cluster": "demo"})
    one.run_shell_command(command, print_input=True, print_output=True)
    logged = capsys.readouterr().err
    assert '"data": {"key": *MASKED*}' in logged
    assert "horse" not in logged + repr(command)


def test_a_request_goes_to_another_server_while_there_is_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_client, "LOOK_AGAIN_S", 0)
    one, way = made(requests.ConnectionError("gone"), requests.Timeout("silent"), stage=StateStage.Execute)
    assert ran(one, "GET v1/ConfigMap/a/x")[0]
    assert len(way.asked) == 5  # twice in vain, two for the kinds, one for the object


STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (500, {**STATUS, "message": "etcdserver: leader changed"},
         "no server of the Kubernetes API carried it out: status 500: etcdserver: leader changed"),
        (500, {**STATUS, "message": 'failed calling webhook "v.example.com": connection refused'},
         'found status 500: failed calling webhook "v.example.com": connection refused'),
        (503, {**STATUS, "message": "the server of metrics.k8s.io is away"},
         "found status 503: the server of metrics.k8s.io is away"),
        (503, "no backend", "no server of the Kubernetes API carried it out: status 503"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pending", [[], [("k3s | servers | join", SimpleNamespace(will_change=True))]])
def test_what_the_api_itself_says_at_last_is_its_answer(
    monkeypatch: pytest.MonkeyPatch, status: int, said: Any, words: str, pending: list[Any]
) -> None:
    """Also while the plan changes its servers: an API that refuses is there, and nothing is known after apply."""
    monkeypatch.setattr(endpoint, "FAILOVER_S", 0)
    one, way = made(pending=pending)
    way.tree["GET /api/v1/namespaces/a/configmaps/broken"] = status, said
    done, output = ran(one, "GET v1/ConfigMap/a/broken")
    if "no server" in words and pending:
        assert output == '"(known after apply)"'
        return
    assert not done
    assert words in output


def test_a_renewed_certificate_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FAILOVER_S", 0)
    one, way = made(stage=StateStage.Execute)
    way.tree["GET /api"] = (401, {"message": "Unauthorized"})
    assert not ran(one, "GET v1/ConfigMap/a/x")[0]
    assert way.forgotten


WILL, WILL_NOT = SimpleNamespace(will_change=True), SimpleNamespace(will_change=False)


@pytest.mark.parametrize(
    ("pending", "stage", "known_later"),
    [
        ([("k3s | servers | join", WILL)], StateStage.Prepare, True),
        ([("k3s | servers | join", WILL_NOT)], StateStage.Prepare, False),
        ([("kubernetes | namespaces", WILL), ("base | packages", WILL)], StateStage.Prepare, False),
        ([("k3s | servers | join", WILL)], StateStage.Execute, False),
    ],
)
def test_known_after_apply_only_while_planning_and_only_if_the_same_plan_makes_it(
    monkeypatch: pytest.MonkeyPatch, pending: list[Any], stage: StateStage, known_later: bool
) -> None:
    monkeypatch.setattr(endpoint, "FAILOVER_S", 0)
    one, _ = made(away=True, pending=pending, stage=stage)
    done, output = ran(one, "OURS demo")
    assert done is known_later
    assert (output == '"(known after apply)"') is known_later
    assert known_later or "no server answers" in output


@pytest.mark.parametrize(
    "command", ['APPLY v1/ConfigMap/a/x {"x": 1}', "STRIP v1/ConfigMap/a/x {}", "DELETE v1/ConfigMap/a/x"]
)
def test_nothing_is_written_once_another_run_may_be_at_work(command: str) -> None:
    one, way = made()
    way.unguarded = True
    done, output = ran(one, command)
    assert not done
    assert "the lock on its servers was lost: another run may be at work" in output
    assert not way.asked
    assert ran(one, "GET v1/ConfigMap/a/x")[0]


def test_a_run_s_lock_reaches_the_servers() -> None:
    one, way = made()
    one.lock("me")
    assert way.held[-1] == "me"


def test_a_login_is_three_files_or_none() -> None:
    files = [
        "-----BEGIN CERTIFICATE-----root\n",
        "-----BEGIN CERTIFICATE-----client\n",
        "-----BEGIN EC PRIVATE KEY-----k\n",
    ]
    login = login_of(f"{BETWEEN}\n".join(files))
    assert login.roots == files[0]
    assert login.client.unmask() == files[2] + files[1]
    assert "PRIVATE" not in repr(login)
    for damaged in (files[:2], [*files[:2], "cat: no such file\n"], []):
        with pytest.raises(ValueError, match="not all PEM"):
            login_of(f"{BETWEEN}\n".join(damaged))


class Channel:
    """A session on a node that has the files, or has not."""

    def __init__(self, text: str, status: int) -> None:
        self.text, self.status, self.ran, self.closed = text, status, "", False

    def exec_command(self, command: str) -> None:
        self.ran = command

    def makefile(self, _mode: str) -> Any:
        return io.BytesIO(self.text.encode())

    def recv_exit_status(self) -> int:
        return self.status

    def settimeout(self, _timeout_s: float) -> None:
        """It answers at once."""

    def close(self) -> None:
        self.closed = True


def test_the_first_node_that_has_the_files_lets_deploys_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = f"{BETWEEN}\n".join(f"-----BEGIN {name}-----\n" for name in ("CERTIFICATE", "CERTIFICATE", "PRIVATE KEY"))
    without, having = Channel("", 1), Channel(pem, 0)
    state: Any = SimpleNamespace(inventory=SimpleNamespace(get_group=lambda _name: []))
    members = Members(state, "servers", 6443)
    ways = [("srv-1", SimpleNamespace(open_session=lambda timeout: without)),
            ("srv-2", SimpleNamespace(open_session=lambda timeout: having))]  # fmt: skip
    monkeypatch.setattr(members, "_ways", lambda _nearest: ways)
    assert members._read().client.unmask()
    assert without.closed
    assert having.ran.startswith("cat -- /var/lib/rancher/k3s/server/tls/server-ca.crt && echo ")
    assert "no node has its certificates" not in having.ran
    monkeypatch.setattr(members, "_ways", lambda _nearest: ways[:1])
    with pytest.raises(NotThereError, match="srv-1: /var/lib/rancher/k3s/server/tls is not there"):
        members._read()


def certificate(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def reading(monkeypatch: pytest.MonkeyPatch, **roots: str) -> Members:
    """Servers of which each has these authorities, and a client certificate of its own."""
    state: Any = SimpleNamespace(inventory=SimpleNamespace(get_group=lambda _name: []))
    members = Members(state, "servers", 6443)

    def opened(name: str, pem: str) -> Any:
        files = (pem, certificate(name), "-----BEGIN PRIVATE KEY-----\n")
        return SimpleNamespace(open_session=lambda timeout: Channel(f"{BETWEEN}\n".join(files), 0))

    ways = [(name, opened(name, pem)) for name, pem in roots.items()]
    monkeypatch.setattr(members, "_ways", lambda _nearest: ways)
    return members


def test_a_login_that_let_nobody_in_is_not_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    members = reading(monkeypatch, srv_1=certificate("a"), srv_2=certificate("a"), srv_3=certificate("a"))
    used = [members._read().client.unmask() for _ in range(4)]
    assert [name for client in used for name in ("srv_1", "srv_2", "srv_3") if name in client] == [
        "srv_1", "srv_2", "srv_3", "srv_1"]  # fmt: skip


def test_servers_that_were_founded_apart_are_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    members = reading(monkeypatch, srv_1=certificate("a"), srv_2=certificate("b"), srv_3=certificate("a"))
    with pytest.raises(EndpointError, match="srv_1 and srv_2 have no authority in common"):
        members._read()
    rotating = certificate("b") + certificate("a")
    assert reading(monkeypatch, srv_1=certificate("a"), srv_2=rotating)._read()
