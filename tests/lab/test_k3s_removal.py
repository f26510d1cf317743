"""Nodes that leave a K3s cluster and come back as other machines, and what its secrets are made anew."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.lab.commands import unterbau
from tests.lab.conftest import LabCommand
from tests.lab.k3s import DATA, INVENTORY, KUBECTL, SITE, Cluster, Prober

pytestmark = pytest.mark.lab

# The layer as a site has it: who leaves goes before anybody joins, and the token before anybody is told of it.
AROUND = """\
from deploys.k3s_removal import departures, hold, leaves, wipe
from deploys.k3s_rotation import certificates_and_keys, token

layer.reached(name="layer k3s hold")
if host.data.get("node") and leaves():
    hold()
layer.reached(name="layer k3s departures")
if is_server():
    departures()
layer.reached(name="layer k3s wipe")
if host.data.get("node") and leaves():
    wipe()
layer.reached(name="layer k3s token")
if is_server():
    token()
"""
AFTER = """\
layer.reached(name="layer k3s secrets")
if is_server() or is_agent():
    certificates_and_keys()
"""
WITHOUT_ROLE = 'others = hosts(Node(name="{name}", address="{address}", **_ssh))\n'


def site() -> str:
    """The helper's, with the layers of this module around those of K3s."""
    before, layer, rest = SITE.partition('layer.reached(name="layer k3s")\n')
    return before + AROUND + layer + rest + AFTER


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three servers and one agent; wrk-2 has left, or was nobody yet."""
    made = Cluster(spare_command, tmp_path_factory.mktemp("k3s-removal"), workers=["wrk-1"], site=site())
    declare(made, servers=made.servers, removed=["wrk-2"], others=["wrk-2"])
    return made.from_the_last_one()


def declare(cluster: Cluster, *, servers: list[str], removed: list[str], others: list[str] | None = None) -> None:
    """Who is a server from now on, who is told to leave, and which machines are there without being anything."""
    lab = cluster.command.lab
    machines = [lab.machine(cluster.name(one)) for one in others or []]
    cluster.servers = servers
    cluster.inventory = INVENTORY + "".join(WITHOUT_ROLE.format(name=m.name, address=m.address) for m in machines)
    cluster.data = DATA + f"k3s_removed = {tuple(cluster.name(one) for one in removed)!r}\n"
    cluster.write()


def nodes_and_members(cluster: Cluster, asked: str) -> tuple[list[str], list[str]]:
    """Names of the Nodes, and of the nodes that members of etcd are named after, as one server tells."""
    members = cluster.members(asked)
    assert all(members.values())
    return sorted(cluster.nodes(asked)), sorted(name[:-9] for name in members)


def named(cluster: Cluster, *short: str) -> list[str]:
    return sorted(cluster.name(one) for one in short)


def passwords(cluster: Cluster, asked: str) -> list[str]:
    """Nodes that the cluster keeps a password of."""
    said = cluster.on(asked, f"{KUBECTL} -n kube-system get secrets -o name")
    return sorted(
        line.removeprefix("secret/").removesuffix(".node-password.k3s")
        for line in said.split()
        if line.endswith(".node-password.k3s")
    )


def new_machine(cluster: Cluster, short: str) -> None:
    """Destroy a machine, disks and all, and make another one of the same name and address."""
    lab = cluster.command.lab
    cluster.command.must("fault", "kill", cluster.name(short))
    shutil.rmtree(lab.state / "machines" / short)
    cluster.command.must("up")


def rules(plan: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    return {rule["name"]: (rule["passed"], rule["arithmetic"]) for rule in plan["rules"]}


def test_nobody_leaves_a_cluster_as_declared(cluster: Cluster) -> None:
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])


def test_the_first_machine_is_destroyed_and_another_one_joins_under_its_name(cluster: Cluster) -> None:
    before = cluster.members("srv-2")
    prober = Prober(cluster)
    new_machine(cluster, "srv-1")
    cluster.apply()
    requests, failed = prober.stop()
    print(f"{failed} of {requests} requests failed while the first server was replaced")  # noqa: T201
    assert failed < requests
    everybody = named(cluster, "srv-1", "srv-2", "srv-3")
    for server in cluster.servers:
        assert nodes_and_members(cluster, server) == (named(cluster, "srv-1", "srv-2", "srv-3", "wrk-1"), everybody)
    after = cluster.members("srv-1")
    assert len(set(before) & set(after)) == 2  # the other two are the same as before: nobody founded anything
    assert passwords(cluster, "srv-1") == named(cluster, "srv-1", "srv-2", "srv-3", "wrk-1")
    assert cluster.plan()[0] == 0


def test_a_new_agent_joins_under_the_name_of_the_old_one(cluster: Cluster) -> None:
    new_machine(cluster, "wrk-1")
    cluster.apply()
    cluster.until(lambda: cluster.name("wrk-1") in cluster.ready(), "wrk-1 ready")
    assert cluster.plan()[0] == 0


def test_a_server_does_not_leave_while_another_one_is_down(cluster: Cluster) -> None:
    before = nodes_and_members(cluster, "srv-1")
    cluster.on("srv-3", "systemctl stop k3s")
    declare(cluster, servers=["srv-1", "srv-3", "wrk-2"], removed=["srv-2"], others=["srv-2"])
    cluster.until(lambda: cluster.name("srv-3") not in cluster.ready("srv-1"), "srv-3 not ready")
    code, plan = cluster.plan()
    passed, arithmetic = rules(plan)["etcd keeps its quorum"]
    assert (code, passed) == (3, False)
    assert "leaves 1 healthy of 2 voters, quorum of 2 needs 2; bring " in arithmetic
    ran = unterbau("apply", cluster.environment, "-y", cwd=cluster.root)
    assert ran.returncode == 3, ran.stdout + ran.stderr
    assert nodes_and_members(cluster, "srv-1") == before  # nothing was done
    cluster.on("srv-3", "systemctl start k3s")
    cluster.until(lambda: cluster.name("srv-3") in cluster.ready("srv-1"), "srv-3 ready")


def test_a_server_leaves_is_wiped_and_another_machine_takes_its_place(cluster: Cluster) -> None:
    declare(cluster, servers=["srv-1", "srv-3", "wrk-2"], removed=["srv-2"], others=["srv-2"])
    code, plan = cluster.plan()
    assert code == 2
    assert rules(plan)["deletions are allowed by name"] == (
        True,
        f"{cluster.name('srv-1')}: {cluster.name('srv-2')}: told to leave",
    )
    cluster.apply()
    everybody = named(cluster, "srv-1", "srv-3", "wrk-2")
    for server in cluster.servers:
        assert nodes_and_members(cluster, server) == (sorted([*everybody, cluster.name("wrk-1")]), everybody)
    assert passwords(cluster, "srv-1") == sorted([*everybody, cluster.name("wrk-1")])
    left = "find /var/lib/rancher/k3s /etc/rancher /var/lib/kubelet /run/k3s -xdev ! -type d 2>/dev/null | wc -l"
    assert cluster.on("srv-2", left).strip() == "0"
    assert cluster.on("srv-2", "systemctl is-active k3s; :").strip() == "inactive"
    assert "containerd-shim" not in cluster.on("srv-2", "ps -e -o comm=")
    assert cluster.plan()[0] == 0


def test_who_left_and_is_not_named_any_more_is_nobody(cluster: Cluster) -> None:
    """As long as it is named it is within reach of the others: it may still have a vote."""
    declare(cluster, servers=["srv-1", "srv-3", "wrk-2"], removed=[], others=["srv-2"])
    code, plan = cluster.plan()
    assert (code, plan["problems"]) == (2, [])
    assert {change["operation"].rpartition(" | ")[2] for change in plan["changes"]} == {"firewall"}
    cluster.apply()
    assert cluster.plan()[0] == 0


def test_who_is_in_the_cluster_and_not_declared_is_refused_by_name(cluster: Cluster) -> None:
    """The agent's machine is declared no more, and nobody has told it to leave."""
    cluster.workers = []
    declare(cluster, servers=["srv-1", "srv-3", "wrk-2"], removed=[], others=["srv-2", "wrk-1"])
    cluster.write(agents='""')
    code, plan = cluster.plan()
    passed, arithmetic = rules(plan)["deletions are allowed by name"]
    assert (code, passed) == (3, False)
    assert f"in the cluster and not declared: {cluster.name('wrk-1')}" in arithmetic
    cluster.workers = ["wrk-1"]
    declare(cluster, servers=["srv-1", "srv-3", "wrk-2"], removed=[], others=["srv-2"])
    cluster.write(agents='"workers"')
    assert cluster.plan()[0] == 0


def secrets_of(cluster: Cluster) -> dict[str, Any]:
    """How Secrets are encrypted, as each server tells."""
    status = "/usr/local/bin/k3s secrets-encrypt status --output json"
    return {name: json.loads(cluster.on(name, status)) for name in cluster.servers}


def test_the_token_is_made_anew_and_no_server_is_told_before_the_cluster_knows(cluster: Cluster) -> None:
    before = cluster.on("srv-1", "sha256sum < /var/lib/rancher/k3s/server/token")
    started = cluster.started()
    rotate(cluster, "k3s/token")
    after = cluster.started()
    assert all(after[name] != started[name] for name in cluster.servers)
    tokens = {cluster.on(name, "sed 's/.*::server://' /var/lib/rancher/k3s/server/token") for name in cluster.servers}
    assert len(tokens) == 1
    assert cluster.on("srv-1", "sha256sum < /var/lib/rancher/k3s/server/token") != before
    assert len(cluster.ready()) == 4
    assert cluster.plan()[0] == 0


def rotate(cluster: Cluster, secret: str) -> None:
    """As somebody does whose token was seen by others: a new version in the store, then an apply."""
    ran = unterbau("secrets", "rotate", secret, "--env", cluster.environment, cwd=cluster.root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    cluster.apply()


def test_the_key_of_secrets_is_made_anew(cluster: Cluster) -> None:
    cluster.on("srv-1", f"{KUBECTL} create secret generic seen --from-literal=word=before")
    keys = {one["activekey"] for one in secrets_of(cluster).values()}
    cluster.write(encryption_key_not_before='"2026-01-01"')
    cluster.apply()
    found = secrets_of(cluster).values()
    assert {one["activekey"] for one in found}.isdisjoint(keys)
    assert len({one["activekey"] for one in found}) == 1
    assert all(one.get("hashmatch") for one in found)
    word = cluster.on("wrk-2", f"{KUBECTL} get secret seen -o 'jsonpath={{.data.word}}' | base64 -d")
    assert word == "before"
    assert cluster.plan()[0] == 0
