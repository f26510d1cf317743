"""What nodes of K3s are made of, who founds a cluster, and what the gates around a change wait for."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from facts.etcd import SILENT
from facts.k3s import OPEN_LINES, open_lines
from facts.k3s_api import DOWN, NodeState, ServerApi, arguments_of, node_of, readyz, servers_of
from operations import k3s, k3s_drain, k3s_founding, k3s_gate, k3s_hardening, k3s_ready, k3s_registries
from operations.k3s_config import Cluster, Node, Tokens, config_yaml, malformed, unit_text
from unterbau.changes import recording
from unterbau.domain.unknown import UNKNOWN
from unterbau.secrets.hidden import Hidden

SERVERS = {"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13"}
CLUSTER = Cluster(servers=SERVERS, agents={"wrk-1": "10.77.0.21"}, disable=("servicelb", "traefik"))
TOKENS = Tokens(agent=Hidden("agents-join-with-this"), server=Hidden("servers-join-with-this"))


def node(name: str = "srv-1", **changed: Any) -> Node:
    made = Node(name, "server" if name in SERVERS else "agent", CLUSTER, "/opt/k3s", "v1.34.4+k3s1")
    return replace(made, **changed)


def node_state(**changed: Any) -> NodeState:
    found: Any = node_of({"metadata": {"name": "x"}})
    found |= {"ready": True, "version": "v1.34.4+k3s1", **changed}
    return cast("NodeState", found)


def api(nodes: dict[str, NodeState] | None = None, **parts: bool) -> ServerApi:
    everybody = dict.fromkeys((*SERVERS, "wrk-1"), node_state())
    return {"answers": True, "ready": {"ping": True, **parts}, "nodes": everybody if nodes is None else nodes}


def member(name: str, learner: bool = False) -> Any:
    return {"id": name, "name": name, "peer_urls": [], "client_urls": [], "learner": learner, "started": True}


def cluster(*down: str, members: list[Any] | None = None) -> Any:
    servers = {name: DOWN if name in down else api() for name in SERVERS}
    voting = [member(f"{name}-0123abcd") for name in SERVERS] if members is None else members
    return {"servers": servers, "nodes": None, "etcd": {**SILENT, "answers": True, "members": voting}}


def test_a_server_joins_and_only_the_first_start_founds() -> None:
    first, ever_after = (yaml.safe_load(config_yaml(node(), TOKENS, way)) for way in (None, "srv-2"))
    assert (first["cluster-init"], "server" in first) == (True, False)
    assert ("cluster-init" in ever_after, ever_after["server"]) == (False, "https://10.77.0.12:6443")
    same = {key: value for key, value in first.items() if key != "cluster-init"}
    assert same == {key: value for key, value in ever_after.items() if key != "server"}


def test_a_server_is_hardened_and_encrypts_its_secrets() -> None:
    config = yaml.safe_load(config_yaml(node(), TOKENS, None))
    assert (config["secrets-encryption"], config["protect-kernel-defaults"]) == (True, True)
    arguments = dict(one.split("=", 1) for one in config["kube-apiserver-arg"])
    assert [arguments[f"audit-log-{name}"] for name in ("maxage", "maxbackup", "maxsize")] == ["30", "10", "100"]
    assert arguments["anonymous-auth"] == arguments["service-account-extend-token-expiration"] == "false"
    assert "EventRateLimit" in arguments["enable-admission-plugins"]
    assert config["kube-controller-manager-arg"] == ["terminated-pod-gc-threshold=100"]
    assert "etcd-snapshot-compress" not in config


def test_pods_are_restricted_but_in_the_namespace_of_the_system() -> None:
    found = yaml.safe_load(k3s_hardening.admission())
    security = found["plugins"][0]["configuration"]
    assert {security["defaults"][mode] for mode in ("enforce", "audit", "warn")} == {"restricted"}
    assert security["exemptions"]["namespaces"] == ["kube-system"]


def test_no_secret_is_said_to_the_audit_log() -> None:
    levels = {rule["level"] for rule in yaml.safe_load(k3s_hardening.audit_policy())["rules"]}
    assert levels == {"None", "Metadata"}


def test_an_agent_knows_only_the_agents_token() -> None:
    text = config_yaml(node("wrk-1"), Tokens(agent=Hidden("agents-join-with-this")), "srv-1")
    assert yaml.safe_load(text)["token"] == "agents-join-with-this"
    assert "etcd" not in text
    assert "cluster-cidr" not in text


def test_an_external_datastore_needs_no_way_to_join() -> None:
    outside = node(cluster=replace(CLUSTER, datastore=("https://10.1.0.1:2379", "https://10.1.0.2:2379")))
    config = yaml.safe_load(config_yaml(outside, TOKENS, "srv-2"))
    assert config["datastore-endpoint"] == "https://10.1.0.1:2379,https://10.1.0.2:2379"
    assert not {"server", "cluster-init", "etcd-snapshot-retention"} & set(config)


def test_whatever_is_declared_stays_one_value() -> None:
    odd = node(labels=("a=x\n  - y: `reboot`",), names=('x"; reboot #',))
    config = yaml.safe_load(config_yaml(odd, TOKENS, None))
    assert config["node-label"] == ["a=x\n  - y: `reboot`"]
    assert 'x"; reboot #' in config["tls-san"]
    assert malformed(node(binary="/opt/x y")) is not None


def test_the_unit_keeps_pods_alive_and_writes_down_what_is_read() -> None:
    text = unit_text(node())
    assert "KillMode=process" in text
    assert text.index("ExecStartPre=") < text.index("ExecStart=/opt/k3s server")
    assert "$" not in text
    assert "%" not in text
    for path in ("config.yaml", "registries.yaml", "admission.yaml", "audit-policy.yaml", "k3s.service"):
        assert path in text.partition("ExecStartPre=")[2].partition("\n")[0]


@pytest.mark.skipif(shutil.which("awk") is None, reason="the node's awk is compared with ours")
def test_of_the_configuration_only_what_is_open_leaves_the_node() -> None:
    text = (
        config_yaml(node(), TOKENS, None)
        + 'etcd-s3-secret-key: "a"\ndatastore-endpoint: |\n  https://u:p@x\n{"x": "y"}\n'
        + "vpn-auth: name=tailscale,joinKey=j0in\n"
    )
    shown = subprocess.run(["awk", OPEN_LINES], input=text, text=True, capture_output=True, check=True).stdout
    assert shown == open_lines(text)
    for hidden in ("agents-join", "servers-join", "s3-secret", "u:p@x", "j0in", "{"):
        assert hidden not in shown
    assert "cluster-cidr" in shown
    assert "secrets-encryption" in shown
    assert "service-account-extend-token-expiration" in shown


def test_mirrors_are_by_registry_and_their_logins_by_host() -> None:
    one = k3s_registries.Mirror("docker.io", ("https://mirror.example.com:5000",), Hidden("PEM"), "u", Hidden("p"))
    text = yaml.safe_load(k3s_registries.registries_yaml([one]))
    assert text["mirrors"] == {"docker.io": {"endpoint": ["https://mirror.example.com:5000"]}}
    assert text["configs"]["mirror.example.com:5000"]["auth"] == {"username": "u", "password": "p"}
    assert text["configs"]["mirror.example.com:5000"]["tls"]["ca_file"] in k3s_registries.files([one])
    assert k3s_registries.files([]) == {}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[+]ping ok;[-]etcd failed: reason withheld;readyz check failed;", {"ping": True, "etcd": False}),
        ("", None),
        ('{"kind":"Status","code":401}', None),
    ],
)
def test_the_parts_of_readyz(text: str, parts: dict[str, bool] | None) -> None:
    assert readyz(text) == parts


def test_the_arguments_of_a_server() -> None:
    said = json.dumps(
        ["server", "--secrets-encryption", "true", "--disable", "a", "--disable", "b", "--debug", "--x=1"]
    )
    assert arguments_of(said) == {
        "secrets-encryption": ["true"], "disable": ["a", "b"], "debug": ["true"], "x": ["1"],
    }  # fmt: skip
    assert arguments_of("[") == arguments_of("") == {}


def test_a_node_that_says_nothing_is_not_ready() -> None:
    found = node_of({"metadata": {"name": "x"}})
    assert (found["ready"], found["schedulable"], found["version"]) == (False, True, "")


def test_an_answer_that_was_cut_off_lists_no_nodes() -> None:
    found = servers_of(
        ["ready\tsrv-1\t[+]ping ok;", 'nodes\tsrv-1\t{"items":[{"meta', "ready\tsrv-2\t", "nodes\tsrv-2\t"]
    )
    assert found == {"srv-1": {"answers": True, "ready": {"ping": True}, "nodes": None}, "srv-2": DOWN}


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | str]:
    """What the disks of other servers say; none of them works."""
    said: dict[str, bool | str] = {"srv-2": False, "srv-3": False}
    monkeypatch.setattr(k3s_founding, "_has_data", lambda name, external: said[name])
    monkeypatch.setattr(k3s_founding, "host", SimpleNamespace(name="srv-1", state=SimpleNamespace(inventory=[])))
    monkeypatch.setattr(k3s_gate, "live", lambda host, node: iter(()))
    monkeypatch.setattr(k3s_founding, "ctx_host", type("C", (), {"get": staticmethod(lambda: None)}))
    return said


NO_DATA: Any = {"has_data": False}


def test_the_first_server_founds_where_nobody_has_data(others: dict[str, bool | str]) -> None:
    assert [k3s_founding.founds(node(name), NO_DATA) for name in (*SERVERS, "wrk-1")] == [True, False, False, False]


def test_nobody_founds_a_second_cluster(others: dict[str, bool | str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert k3s_founding.founds(node(), {"has_data": True}) is False  # type: ignore[typeddict-item]
    others["srv-3"] = True
    assert k3s_founding.founds(node(), NO_DATA) is False
    others["srv-3"] = "cannot found: srv-3 could not be read"
    assert k3s_founding.founds(node(), NO_DATA) == "cannot found: srv-3 could not be read"
    monkeypatch.setattr(k3s_gate, "live", lambda host, node: iter([cluster()]))
    assert k3s_founding.founds(node(), NO_DATA) is False


def test_a_server_that_cannot_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        name = "srv-2"
        data = type("Data", (), {"node": type("N", (), {"name": "srv-2"}), "get": lambda self, key: key == "node"})()

        def get_fact(self, _fact: object, **_arguments: object) -> object:
            return UNKNOWN

    here = type("Host", (), {"name": "srv-1", "state": type("S", (), {"inventory": [Other()]})})
    monkeypatch.setattr(k3s_founding, "host", here)
    for name in ("srv-2", "srv-9"):
        said = k3s_founding._has_data(name, external=False)
        assert isinstance(said, str)
        assert f"whether {name} has data of one could not be read" in said


TRACES = {"member": None, "password": False}


@pytest.mark.parametrize(
    ("name", "traces", "said"),
    [
        ("old-1", {**TRACES, "member": "old-1-0123abcd"}, "old-1 is of one already; add servers to that one first"),
        ("old-1", UNKNOWN, "whether old-1 has data of one could not be read"),
        ("wrk-1", {**TRACES, "password": True}, "wrk-1 is of one already"),
        ("srv-9", TRACES, "old-1 is in k3s_removed, so there has been one, and no such machine is in the inventory"),
        ("old-1", TRACES, None),
    ],
)
def test_nobody_founds_a_cluster_beside_the_one_whose_servers_are_all_replaced(
    others: dict[str, bool | str], monkeypatch: pytest.MonkeyPatch, name: str, traces: Any, said: str | None
) -> None:
    data = {"node": SimpleNamespace(name=name)}
    machine = SimpleNamespace(data=SimpleNamespace(get=data.get, **data), get_fact=lambda fact: traces)
    monkeypatch.setattr(k3s_founding.host.state, "inventory", [machine])
    removed = () if name == "wrk-1" else ("old-1",)
    found = k3s_founding.founds(node(cluster=replace(CLUSTER, removed=removed)), NO_DATA)
    assert found is True if said is None else said in str(found)


@pytest.mark.parametrize(
    ("found", "passed", "arithmetic"),
    [
        (cluster(), True, "restarting srv-1 leaves 2 of 3 members, quorum needs 2"),
        (cluster("srv-3"), False, "restarting srv-1 leaves 1 of 3 members, quorum needs 2"),
        (cluster("srv-1", "srv-3"), True, "srv-1 does not serve"),
        # Who is a member counts, not who is declared: one whose machine is gone, and one that only learns.
        (cluster(members=[member(f"{n}-0123abcd") for n in (*SERVERS, "srv-9")]), False, "leaves 2 of 4"),
        (
            cluster(members=[member("srv-1-0123abcd"), member("srv-1-9999ffff"), member("srv-2-0123abcd")]),
            False,
            "1 of 3",
        ),
        (cluster(members=[member("srv-1-0123abcd"), member("srv-2-0123abcd", learner=True)]), True, "only member"),
        (cluster(members=[member("srv-1-0123abcd", learner=True), member("srv-2-0123abcd")]), True, "has no vote"),
    ],
)
def test_a_restart_leaves_a_majority_of_those_who_vote(found: Any, passed: bool, arithmetic: str) -> None:
    verdict = k3s_gate.arithmetic(node(), found)
    assert (verdict.passed, arithmetic in verdict.arithmetic) == (passed, True), verdict


def test_a_vote_is_gone_only_if_etcd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of its API does not work, and its etcd is one of the two that are left."""
    found = cluster("srv-3")
    found["servers"]["srv-1"] = api(shutdown=False)
    assert k3s_gate.arithmetic(node(), found).passed  # its etcd leads nowhere
    found["etcd"]["leader_id"] = "1"
    verdict = k3s_gate.arithmetic(node(), found)
    assert (verdict.passed, "leaves 1 of 3 members" in verdict.arithmetic) == (False, True)
    found["etcd"]["learner"] = True
    assert k3s_gate.arithmetic(node(), found).passed
    found["etcd"]["learner"] = False
    host: Any = SimpleNamespace(
        state=SimpleNamespace(is_executing=True), get_fact=lambda *a, **k: found, log_styled=lambda *a, **k: None
    )
    monkeypatch.setattr(k3s_gate, "WAIT_S", -1)
    wait = k3s_gate.before_restart(node()).function
    assert not wait(None, host, "srv-1")
    found["etcd"]["leader_id"] = None
    assert wait(None, host, "srv-1")


def test_the_plan_says_what_the_gate_would_wait_for() -> None:
    """Four of five are enough for the quorum, but nothing restarts while one is down."""
    five = node(cluster=replace(CLUSTER, servers={**SERVERS, "srv-4": "10.77.0.14", "srv-5": "10.77.0.15"}))
    found = cluster(members=[member(f"{name}-0123abcd") for name in five.cluster.servers])
    found["servers"] |= {"srv-4": api(dict.fromkeys(five.cluster.servers, node_state())), "srv-5": DOWN}
    found["servers"] |= dict.fromkeys(SERVERS, found["servers"]["srv-4"])
    assert k3s_gate.arithmetic(five, found).passed
    verdict = k3s_gate.restartable(five, found)
    assert (verdict.passed, "restarting srv-1 leaves 3 of 5 members, quorum needs 3, but srv-5 does not answer") == (
        False,
        verdict.arithmetic.partition(";")[0],
    )
    found["etcd"]["members"].pop()
    assert k3s_gate.restartable(five, found).passed  # srv-5 has yet to join
    found["servers"]["srv-1"] = DOWN
    assert k3s_gate.restartable(five, found).passed


@pytest.mark.parametrize(
    ("there", "rule"),
    [
        (node_state(version="v1.32.1+k3s1"), "versions of K3s follow each other"),
        (node_state(version="v1.35.1+k3s1"), "versions of K3s follow each other"),
        (node_state(arguments={"cluster-cidr": ["10.99.0.0/16"]}), "servers of K3s agree on what they must"),
    ],
)
def test_a_server_that_was_down_starts_behind_the_same_rules(
    monkeypatch: pytest.MonkeyPatch, there: NodeState, rule: str
) -> None:
    found = {"has_data": True, "active": "inactive", "node": None, "lab_machine": False}
    monkeypatch.setattr(k3s_gate, "state_of", lambda host, node: found)
    monkeypatch.setattr(k3s_gate, "live", lambda host, node: iter([{"nodes": {"srv-2": there}}]))
    monkeypatch.setattr(k3s, "ctx_host", SimpleNamespace(get=lambda: None))
    with recording() as record:
        assert len(list(k3s.founded._inner(node(), TOKENS))) == 1  # type: ignore[attr-defined]
    assert [(one.name, one.passed) for one in record.rules] == [(rule, False)]


def test_with_a_datastore_outside_one_server_that_answers_is_enough() -> None:
    outside = node(cluster=replace(CLUSTER, datastore=("https://10.1.0.1:2379",)))
    assert k3s_gate.arithmetic(outside, cluster("srv-3")).passed
    assert not k3s_gate.arithmetic(outside, cluster("srv-2", "srv-3")).passed


def test_a_server_is_there_when_every_server_says_so_and_it_votes() -> None:
    assert k3s_gate.unready(node(), cluster(), ["srv-2", "srv-3"]) is None
    assert k3s_gate.unready(node(), cluster("srv-3"), ["srv-2"]) is None
    assert k3s_gate.unready(node(), cluster("srv-3"), ["srv-3"]) == "srv-3 does not answer"
    failing = cluster()
    failing["servers"]["srv-3"] = api(etcd=False)
    assert k3s_gate.unready(node(), failing, ["srv-3"]) == "srv-3 says that etcd does not work"
    failing["servers"]["srv-3"] = api({"srv-2": node_state(ready=False)})
    assert k3s_gate.unready(node(), failing, ["srv-2"]) == "srv-3 says that the Node srv-2 is not ready"
    failing["servers"]["srv-3"] = api({})
    assert k3s_gate.unready(node(), failing, ["srv-2"]) == "srv-3 says that there is no Node srv-2"


def test_a_member_that_learns_holds_up_the_next_step() -> None:
    voting = [member("srv-1-0123abcd"), member("srv-2-0123abcd")]
    learning = cluster(members=[*voting, member("srv-3-0123abcd", learner=True)])
    assert k3s_gate.unready(node(), learning, ["srv-3"]) == "srv-3 has no vote in etcd"
    assert k3s_gate.unready(node(), learning, ["srv-2"]) == "srv-3-0123abcd is still learning"
    silent = cluster()
    silent["etcd"]["members"] = None
    assert k3s_gate.unready(node(), silent, ["srv-2"]) == "etcd does not answer"


def test_a_node_of_a_member_with_any_name() -> None:
    assert k3s_gate.node_of_member("srv-1-0123abcd") == "srv-1"
    assert k3s_gate.node_of_member("a-b-c-0123abcd") == "a-b-c"
    assert k3s_gate.node_of_member("") == ""
    assert k3s_gate.node_of_member("etcd1") == "etcd1"


def test_servers_that_differ_are_named_with_their_values() -> None:
    there = {"srv-2": node_state(arguments={"cluster-cidr": ["10.99.0.0/16"], "secrets-encryption": ["true"]})}
    found: Any = {"nodes": there}
    said = k3s_ready.disagreement(node(), found) or ""
    assert "cluster-cidr is 10.99.0.0/16 on srv-2, declared is 10.42.0.0/16" in said
    assert "disable-helm-controller is false on srv-2, declared is true" in said
    assert "secrets-encryption" not in said
    assert k3s_ready.disagreement(node(), None) is None


def test_what_was_cordoned_by_somebody_else_gets_no_mark() -> None:
    text = k3s_drain.drain_command("srv-1", 30, "upgrade to v1.34.4+k3s1")
    assert text.index("annotate") < text.index("cordon srv-1") < text.index("drain srv-1")
    assert "--timeout=30s" in text
    assert "--force" not in text
    assert "--disable-eviction" not in text
    assert "'unterbau.io/cordoned=upgrade to v1.34.4+k3s1'" in text
    back = k3s_drain.uncordon_command("x; reboot")
    assert back.index("uncordon 'x; reboot'") < back.index("unterbau.io/cordoned-")


@pytest.mark.parametrize(("down", "at"), [((), "srv-1"), (("srv-1",), "srv-2")])
def test_a_server_whose_own_api_is_broken_is_drained_at_another_one(
    monkeypatch: pytest.MonkeyPatch, down: tuple[str, ...], at: str
) -> None:
    ran: list[str] = []

    def machine(name: str) -> Any:
        def run(command: Any, **_how: Any) -> tuple[bool, None]:
            ran.append(name)
            return True, None

        state = SimpleNamespace(is_executing=True)
        return SimpleNamespace(data={}, state=state, run_shell_command=run, get_fact=lambda *a, **k: cluster(*down))

    monkeypatch.setattr(k3s_gate, "live_hosts", lambda host, node: iter([(machine("srv-2"), cluster())]))
    assert k3s_drain.uncordoned(node()).function(None, machine("srv-1"), "srv-1")
    assert ran == [at]
