"""Machines of a cluster that need a reboot: one after the other, proven by their journals; finished after a kill."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab.conftest import LabCommand
from tests.lab.k3s import KUBECTL, Cluster, Prober

pytestmark = pytest.mark.lab

EVERYBODY = ["srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"]
MARK = "/run/reboot-required"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
# What systemd says when it stops a unit, and when one is there. Source: systemd, sd-messages.h.
STOPPING, STARTED = "de5b426a63be47a7b6ac3eaac82e2f6f", "39f53479d3a045ac8e11786248231fbf"


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three servers and two agents whose apply reboots them if they need it."""
    made = Cluster(spare_command, tmp_path_factory.mktemp("reboot"))
    made.declared["reboots_when_required"] = "True"
    return made.from_the_last_one()


def boots(cluster: Cluster) -> dict[str, str]:
    """{machine: the id of its boot}."""
    return {name: cluster.on(name, BOOT_ID).strip() for name in EVERYBODY}


def boot_now(cluster: Cluster, name: str) -> str:
    """The same of one that may be down: "" then."""
    ran = cluster.command("shell", cluster.name(name), "--", "sh", "-c", BOOT_ID)
    return ran.stdout.strip() if ran.returncode == 0 else ""


def times(cluster: Cluster, name: str, boot: str, message: str) -> list[float]:
    """When systemd said this of K3s in that boot, epochs, in order."""
    fields = f"_BOOT_ID={boot.replace('-', '')} MESSAGE_ID={message} UNIT=k3s.service"
    lines = cluster.on(name, f"journalctl --quiet --output=json {fields}").splitlines()
    return [int(json.loads(line)["__REALTIME_TIMESTAMP"]) / 1e6 for line in lines]


def nobody_is_cordoned(cluster: Cluster) -> bool:
    nodes = cluster.nodes().values()
    return not any(
        one["spec"].get("unschedulable") or "unterbau.io/cordoned" in one["metadata"].get("annotations", {})
        for one in nodes
    )


def test_two_servers_of_one_plan_are_rebooted_one_after_the_other(cluster: Cluster) -> None:
    before = boots(cluster)
    for name in ("srv-1", "srv-3"):
        cluster.on(name, f"touch {MARK}")
    code, plan = cluster.plan()
    assert code == 2
    said = {one["subject"]: one["old"] for change in plan["changes"] for one in change["changes"]}
    assert set(said) == {f"reboot of {cluster.name(name)}" for name in ("srv-1", "srv-3")}
    assert all("needed since" in why and MARK in why for why in said.values())
    rules = {rule["name"]: rule for rule in plan["rules"]}
    assert "leaves 2 of 3 members, quorum needs 2" in rules["etcd keeps its quorum"]["arithmetic"]

    prober = Prober(cluster)
    cluster.apply()
    requests, failed = prober.stop()
    after = boots(cluster)
    assert {name for name in EVERYBODY if after[name] != before[name]} == {"srv-1", "srv-3"}

    down = {name: times(cluster, name, before[name], STOPPING)[-1] for name in ("srv-1", "srv-3")}
    back = {name: times(cluster, name, after[name], STARTED)[0] for name in ("srv-1", "srv-3")}
    first, second = sorted(down, key=lambda name: down[name])
    took = {name: round(back[name] - down[name], 1) for name in down}
    print(f"{first} back at {back[first]}, {second} down at {down[second]}; down for {took} s")  # noqa: T201
    print(f"{failed} of {requests} requests failed meanwhile")  # noqa: T201  # what it must show
    assert down[first] < back[first] < down[second] < back[second]
    assert requests
    assert failed < requests // 2
    assert nobody_is_cordoned(cluster)
    assert cluster.ready() == [cluster.name(name) for name in EVERYBODY]
    code, plan = cluster.plan()
    assert (code, plan["changes"]) == (0, [])


def test_no_reboot_while_another_server_is_down(cluster: Cluster) -> None:
    before = boots(cluster)
    cluster.on("srv-3", "systemctl stop k3s")
    cluster.on("srv-2", f"touch {MARK}")
    code, plan = cluster.plan("--limit", cluster.name("srv-2"))
    failed = {rule["name"]: rule["arithmetic"] for rule in plan["rules"] if not rule["passed"]}
    assert code == 3
    assert "restarting spare-srv-2 leaves 1 of 3 members, quorum needs 2" in failed["etcd keeps its quorum"]
    cluster.on("srv-2", f"rm {MARK}")
    cluster.apply()
    assert boots(cluster) == before


def test_a_kubelet_ends_its_pods_before_its_machine_goes_down(cluster: Cluster) -> None:
    for name in EVERYBODY:
        assert "kubelet" in cluster.on(name, "systemd-inhibit --list --no-legend")


def test_killed_while_one_reboots_the_next_run_finishes(cluster: Cluster) -> None:
    before = boots(cluster)
    for name in ("wrk-1", "wrk-2"):
        cluster.on(name, f"touch {MARK}")
    began = time.monotonic()
    under_way = cluster.applying()
    cluster.until(lambda: boot_now(cluster, "wrk-1") not in ("", before["wrk-1"]), "the reboot of wrk-1")
    under_way.process.kill()
    under_way.end()
    print(f"wrk-1 was in its next boot after {time.monotonic() - began:.1f} s")  # noqa: T201  # what it must show
    killed = boots(cluster)
    assert killed["wrk-2"] == before["wrk-2"]
    assert cluster.nodes()[cluster.name("wrk-1")]["spec"]["unschedulable"] is True

    cluster.apply()
    after = boots(cluster)
    assert after["wrk-1"] == killed["wrk-1"]
    assert after["wrk-2"] != killed["wrk-2"]
    assert nobody_is_cordoned(cluster)
    assert cluster.plan()[0] == 0


def test_what_somebody_else_cordoned_stays_so_through_a_reboot(cluster: Cluster) -> None:
    node = cluster.name("wrk-1")
    before = boots(cluster)
    cluster.on("srv-1", f"{KUBECTL} cordon {node}")
    cluster.on("wrk-1", f"touch {MARK}")
    cluster.apply()
    assert boots(cluster)["wrk-1"] != before["wrk-1"]
    assert cluster.nodes()[node]["spec"]["unschedulable"] is True
    cluster.on("srv-1", f"{KUBECTL} uncordon {node}")
    assert cluster.plan()[0] == 0
