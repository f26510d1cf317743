"""K3s a minor version further under a service that people use: in order, killed half way, and never two at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import yaml

from tests.lab.commands import ROOT, unterbau
from tests.lab.conftest import LabCommand
from tests.lab.k3s import DATA, KUBECTL, WITH_OBJECTS_INVENTORY, WITH_OBJECTS_SITE, Cluster, Prober
from tests.lab.k3s_service import OBJECTS, SPACE, available, during, longest_silence_s, pods, samples

pytestmark = pytest.mark.lab

LOCK: dict[str, Any] = yaml.safe_load((ROOT / "locks" / "artifacts.yaml").read_text())
OLD, NEW = (LOCK["artifacts"][name]["version"] for name in ("k3s-1-33", "k3s"))
SKIPPED = "v1.35.4+standin"
SILENCE_S = 5  # much less than a pod takes to come


@dataclass(frozen=True)
class Span:
    """One process of K3s, in microseconds of the clock that all machines share."""

    started: int
    ready: int


@dataclass(frozen=True)
class Upgraded:
    """What was seen of an upgrade that was killed once."""

    before: dict[str, str]  # when processes were started, by node
    pods_before: set[str]
    reached: set[str]  # nodes that were there when the run was killed
    killed: dict[str, str]
    after: dict[str, str]
    began_s: float
    ended_s: float
    requests: int
    failed: int


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers and two agents of the minor version before, and a service; with a lock file of their own."""
    root = tmp_path_factory.mktemp("upgrade")
    made = Cluster(spare_command, root, site=WITH_OBJECTS_SITE, inventory=WITH_OBJECTS_INVENTORY, data=DATA + OBJECTS)
    (root / "locks").mkdir()
    skipping = {**LOCK["artifacts"]["k3s"], "version": SKIPPED}
    lock = {**LOCK, "artifacts": {**LOCK["artifacts"], "k3s-skipping": skipping}}
    (root / "locks" / "artifacts.yaml").write_text(yaml.safe_dump(lock))
    made.declared |= {"images": '("lab-images",)', "artifact": '"k3s-1-33"'}
    made.from_nothing()
    made.until(lambda: available(made) == 2, "two pods that are available")
    yield made
    made.on("srv-1", f"{KUBECTL} delete namespace {SPACE}")  # the next module's objects are others


def everybody(cluster: Cluster) -> list[str]:
    return [*cluster.servers, *cluster.workers]


def spans(cluster: Cluster) -> dict[str, Span]:
    """{node: when its process was started, and when it said that it is ready}."""
    found = {}
    for node in everybody(cluster):
        unit = "k3s" if node in cluster.servers else "k3s-agent"
        names = ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        said = cluster.on(node, f"systemctl show -p {names[0]} -p {names[1]} {unit}").split()
        values = dict(line.split("=", 1) for line in said)
        found[node] = Span(*(int(values[name]) for name in names))
    return found


def refused(plan: dict[str, Any]) -> dict[str, str]:
    return {rule["name"]: rule["arithmetic"] for rule in plan["rules"] if not rule["passed"]}


def test_the_minor_version_before_runs_what_is_declared(cluster: Cluster) -> None:
    assert cluster.versions() == dict.fromkeys(everybody(cluster), OLD)
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])


def test_a_skipped_minor_is_refused_and_nothing_is_done(cluster: Cluster) -> None:
    before = cluster.started()
    cluster.write(artifact='"k3s-skipping"')
    code, plan = cluster.plan()
    told = refused(plan)["versions of K3s follow each other"]
    print(told)  # noqa: T201  # what it must show
    assert code == 3
    assert f"cannot take {cluster.name('srv-1')} from v1.33.13 to v1.35.4: 1.34 is skipped" in told
    ran = unterbau("apply", cluster.environment, "-y", cwd=cluster.root)
    assert ran.returncode == 3, ran.stdout + ran.stderr
    for node in everybody(cluster):
        assert cluster.on(node, "ls /opt/unterbau").split().count("k3s-skipping") == 0
    assert cluster.started() == before
    assert set(cluster.versions().values()) == {OLD}


def test_a_plan_says_the_way(cluster: Cluster) -> None:
    cluster.write(artifact='"k3s"')
    code, plan = cluster.plan()
    assert code == 2
    rules = {rule["name"]: rule["arithmetic"] for rule in plan["rules"]}
    way = f"to {NEW}, from 1.33 to 1.34: 3 of 3 servers, then 2 of 2 agents"
    assert way in rules["versions of K3s follow each other"]
    assert "leaves 2 of 3 members, quorum needs 2" in rules["etcd keeps its quorum"]
    said = [part for change in plan["changes"] for part in change["changes"]]
    for node in everybody(cluster):
        [one] = [part for part in said if part["subject"] == f"K3s on {cluster.name(node)}"]
        assert (one["old"], one["new"]) == (OLD, NEW)


@pytest.fixture(scope="module")
def upgraded(cluster: Cluster) -> Upgraded:
    """The upgrade: killed once the first server is through, and applied again."""
    cluster.write(artifact='"k3s"')
    before, pods_before = cluster.started(), pods(cluster)
    prober = Prober(cluster)
    began_s = time.time()
    try:
        reached = until_killed(cluster)
        killed = cluster.started()
        cluster.apply()
    finally:
        requests, failed = prober.stop()
    return Upgraded(
        before, pods_before, reached, killed, cluster.started(), began_s, time.time(), requests, failed
    )  # fmt: skip


def until_killed(cluster: Cluster) -> set[str]:
    """Apply, and kill it when the first server runs the new version: the nodes that do, once it is quiet again."""
    under_way = cluster.applying()
    try:
        first = cluster.servers[0]
        cluster.until(
            lambda: under_way.process.poll() is not None or cluster.versions("srv-3").get(first) == NEW,
            f"{first} at {NEW}",
        )
        ended = under_way.process.poll()
    finally:
        under_way.process.kill()
        said = under_way.end()
    assert ended is None, said
    # One that was being restarted comes back by itself.
    cluster.until(lambda: is_quiet(cluster), "every server working after the kill")
    return {name for name, version in cluster.versions().items() if version == NEW}


def is_quiet(cluster: Cluster) -> bool:
    """Whether every server's API works, and all processes run."""
    ready = f"{KUBECTL} get --raw /readyz --request-timeout=5s 2>/dev/null; :"
    running = {
        node: cluster.on(node, f"systemctl is-active {'k3s' if node in cluster.servers else 'k3s-agent'}; :").strip()
        for node in everybody(cluster)
    }
    answers = {cluster.on(server, ready).strip() for server in cluster.servers}
    return set(running.values()) == {"active"} and answers == {"ok"}


def test_killed_in_the_middle_the_next_run_goes_on_from_there(cluster: Cluster, upgraded: Upgraded) -> None:
    assert cluster.servers[0] in upgraded.reached
    assert upgraded.reached < set(everybody(cluster))
    print(f"killed when {sorted(upgraded.reached)} ran {NEW}")  # noqa: T201  # what it must show
    for node in everybody(cluster):
        assert upgraded.after[node] != upgraded.before[node]
    for node in upgraded.reached:
        assert upgraded.after[node] == upgraded.killed[node]


def test_servers_came_first_then_agents_and_never_two_at_once(cluster: Cluster, upgraded: Upgraded) -> None:
    found = spans(cluster)
    for node, span in found.items():
        after_s = (span.started - found[cluster.servers[0]].started) / 1e6
        took_s = (span.ready - span.started) / 1e6
        print(f"{node}: started {after_s:.1f} s after the first one, ready {took_s:.1f} s later")  # noqa: T201
    assert set(upgraded.after) == set(found)
    for earlier, later in pairwise(everybody(cluster)):
        assert found[earlier].started < found[earlier].ready <= found[later].started


def test_a_pod_was_always_available_and_every_pod_was_asked_to_move(cluster: Cluster, upgraded: Upgraded) -> None:
    def newest() -> int:
        return min(asked[-1][0] for asked in samples(cluster).values())

    cluster.until(lambda: newest() >= upgraded.ended_s, "samples of the whole upgrade")
    found, began_s, ended_s = samples(cluster), upgraded.began_s, upgraded.ended_s
    assert set(found) == {cluster.name(one) for one in everybody(cluster)}
    for node, asked in found.items():
        answers = [answered for _, answered in during(asked, began_s, ended_s)]
        lost = answers.count(False)
        print(f"{node}: {lost} of {len(answers)} requests of the service failed")  # noqa: T201  # what it must show
        assert lost < len(answers)
    silence_s = longest_silence_s(found, began_s, ended_s)
    print(f"the longest time in which nobody got an answer: {silence_s} s")  # noqa: T201
    assert silence_s <= SILENCE_S
    assert not upgraded.pods_before & pods(cluster)  # drained, all of them


def test_the_api_answered_but_for_the_worker_that_was_asked_from(upgraded: Upgraded) -> None:
    print(f"{upgraded.failed} of {upgraded.requests} requests of the API failed")  # noqa: T201  # what it must show
    assert upgraded.requests
    assert upgraded.failed < upgraded.requests // 2


def test_all_run_the_new_version_and_nothing_is_left_to_do(cluster: Cluster, upgraded: Upgraded) -> None:
    assert cluster.versions() == dict.fromkeys(everybody(cluster), NEW)
    assert upgraded.after == cluster.started()
    for server in cluster.servers:
        assert f'"{NEW}"' in cluster.on(server, f"{KUBECTL} get --raw /version")
        members = cluster.members(server)
        assert len(members) == len(cluster.servers)
        assert all(members.values())
    of_etcd = {server: cluster.etcd(server, "maintenance/status")["version"] for server in cluster.servers}
    print(f"etcd: {of_etcd}")  # noqa: T201
    assert len(set(of_etcd.values())) == 1
    assert not [name for name, one in cluster.nodes().items() if one["spec"].get("unschedulable")]
    assert cluster.ready() == [cluster.name(one) for one in everybody(cluster)]
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])


def test_a_minor_version_is_never_taken_back(cluster: Cluster, upgraded: Upgraded) -> None:
    cluster.write(artifact='"k3s-1-33"')
    code, plan = cluster.plan()
    assert code == 3
    assert "a minor version is never taken back" in refused(plan)["versions of K3s follow each other"]
    cluster.write(artifact='"k3s"')
    assert cluster.plan()[0] == 0
    assert cluster.started() == upgraded.after
