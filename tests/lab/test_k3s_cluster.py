"""K3s on five machines of its own: from nothing, again, changed one at a time, killed half way, refused in time."""

from __future__ import annotations

import time

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.k3s import Cluster, Prober, is_ready

pytestmark = pytest.mark.lab

EVERYBODY = ["srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"]


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three servers and two agents, made by one apply from nothing."""
    return Cluster(spare_command, tmp_path_factory.mktemp("k3s")).from_nothing()


def everybody(cluster: Cluster) -> list[str]:
    return [cluster.name(one) for one in EVERYBODY]


def test_from_nothing_all_are_ready_and_three_vote(cluster: Cluster) -> None:
    for server in cluster.servers:
        assert cluster.ready(server) == everybody(cluster)
        members = cluster.members(server)
        assert sorted(name[:-9] for name in members) == [cluster.name(one) for one in cluster.servers]
        assert all(members.values())


def test_a_second_run_changes_nothing_and_restarts_nothing(cluster: Cluster) -> None:
    before = cluster.started()
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])
    cluster.apply()
    assert cluster.started() == before


def test_nobody_but_root_reads_what_holds_a_token_and_no_process_shows_one(cluster: Cluster) -> None:
    for node in EVERYBODY:
        assert cluster.on(node, "stat -c '%a %U' /etc/rancher/k3s/config.yaml").split() == ["600", "root"]
        tokens = "sed -n 's/^[a-z-]*token: \"\\(.*\\)\"$/\\1/p' /etc/rancher/k3s/config.yaml"
        # Said before any is looked for: grep's own command line has one.
        said = "said=$(cat /proc/[0-9]*/cmdline | tr '\\0' ' ')"
        shown = f'{said}; {tokens} | while read -r token; do printf %s "$said" | grep -cF -- "$token"; done'
        assert set(cluster.on(node, f"{shown}; :").split()) <= {"0"}
    server, agent = (cluster.on(node, "cat /etc/rancher/k3s/config.yaml") for node in ("srv-1", "wrk-1"))
    secret = server.partition('\ntoken: "')[2].partition('"')[0]
    assert secret
    assert secret not in agent


def test_a_change_restarts_one_server_at_a_time_and_the_api_stays(cluster: Cluster) -> None:
    before = cluster.started()
    cluster.write(tls_san='("api.example.com",)')
    code, plan = cluster.plan()
    assert code == 2
    rules = {rule["name"]: rule for rule in plan["rules"]}
    assert "leaves 2 of 3 members, quorum needs 2" in rules["etcd keeps its quorum"]["arithmetic"]
    prober = Prober(cluster)
    cluster.apply()
    requests, failed = prober.stop()
    print(f"{failed} of {requests} requests failed while three servers restarted")  # noqa: T201  # what it must show
    after = cluster.started()
    assert all(after[name] != before[name] for name in cluster.servers)
    assert all(after[name] == before[name] for name in cluster.workers)
    assert requests
    assert failed < requests // 2
    assert cluster.plan()[0] == 0


def test_killed_half_way_the_next_run_goes_on_from_there(cluster: Cluster) -> None:
    before = cluster.started()
    cluster.write(tls_san='("api.example.com", "api.example.org")')
    under_way = cluster.applying()
    cluster.until(lambda: cluster.started()["srv-1"] != before["srv-1"], "the restart of srv-1")
    under_way.process.kill()
    under_way.end()
    cluster.until(lambda: cluster.ready() == everybody(cluster), "all nodes ready again")
    first = cluster.started()
    cluster.apply()
    after = cluster.started()
    assert after["srv-1"] == first["srv-1"]
    assert after["srv-3"] != before["srv-3"]
    assert cluster.plan()[0] == 0


def test_no_restart_while_another_server_is_down(cluster: Cluster) -> None:
    before = cluster.started()
    cluster.on("srv-3", "systemctl stop k3s")
    cluster.write(tls_san='("api.example.net",)')
    code, plan = cluster.plan("--limit", cluster.name("srv-2"))
    failed = {rule["name"]: rule["arithmetic"] for rule in plan["rules"] if not rule["passed"]}
    assert code == 3
    assert "restarting spare-srv-2 leaves 1 of 3 members, quorum needs 2" in failed["etcd keeps its quorum"]
    assert cluster.started()["srv-2"] == before["srv-2"]
    cluster.write(tls_san='("api.example.com", "api.example.org")')
    cluster.apply()
    assert cluster.ready() == everybody(cluster)


def test_a_difference_in_what_all_must_share_is_refused_with_its_values(cluster: Cluster) -> None:
    cluster.write(cluster_cidr='"10.52.0.0/16"')
    code, plan = cluster.plan()
    failed = {rule["name"]: rule["arithmetic"] for rule in plan["rules"] if not rule["passed"]}
    assert code == 3
    assert "cluster-cidr is 10.42.0.0/16 on spare-srv-1, declared is 10.52.0.0/16" in str(failed)
    cluster.write(cluster_cidr='"10.42.0.0/16"')
    assert cluster.plan()[0] == 0


def test_all_servers_stopped_come_back_together(cluster: Cluster) -> None:
    for server in cluster.servers:
        cluster.on(server, "systemctl stop k3s")
    cluster.apply()
    cluster.until(lambda: cluster.ready() == everybody(cluster), "all nodes ready again")


def test_what_we_cordoned_is_let_in_again_and_what_others_did_stays(cluster: Cluster) -> None:
    kubectl = "/usr/local/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml"
    ours, theirs = cluster.name("wrk-1"), cluster.name("wrk-2")
    cluster.on("srv-1", f"{kubectl} annotate node {ours} unterbau.io/cordoned=upgrade && {kubectl} cordon {ours}")
    cluster.on("srv-1", f"{kubectl} cordon {theirs}")
    cluster.apply()
    cordoned = {name for name, one in cluster.nodes().items() if one["spec"].get("unschedulable")}
    assert cordoned == {theirs}
    cluster.on("srv-1", f"{kubectl} uncordon {theirs}")
    assert cluster.plan()[0] == 0


def test_a_killed_process_is_back_by_itself(cluster: Cluster) -> None:
    before = cluster.started()["srv-2"]
    cluster.on("srv-2", "systemctl kill --signal=KILL k3s")
    cluster.until(lambda: cluster.started()["srv-2"] != before, "the restart of srv-2")
    began = time.monotonic()
    cluster.until(lambda: is_ready(cluster.nodes("srv-1")[cluster.name("srv-2")]), "srv-2 ready")
    print(f"srv-2 was ready {time.monotonic() - began:.1f} s after its process was back")  # noqa: T201
