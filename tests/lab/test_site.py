"""The whole platform on the usual lab: everybody is there, and a second run changes nothing and restarts nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.commands import ADDRESS, converge, on, plan, settled
from tests.lab.k3s import KUBECTL, is_ready

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("whole_site")]

SERVERS = [name for name in ADDRESS if name.startswith("srv")]
UNITS = ("chrony", "haproxy", "k3s", "k3s-agent", "minio", "openbao", "postgresql@15-main", "ssh")


def kubectl(arguments: str) -> Any:
    return json.loads(on("srv-1", f"{KUBECTL} {arguments} -o json"))


def started() -> dict[str, list[str]]:
    """{node: when each service was started}; a service that a node does not have has no time."""
    show = "systemctl show --timestamp=us+utc --value -p ExecMainStartTimestamp"
    return {node: on(node, f"{show} {' '.join(UNITS)}").split("\n\n") for node in ADDRESS}


def containers() -> dict[str, int]:
    """{container of the demo's pages: how often it was started again}."""
    pods = kubectl("-n demo get pods -l app.kubernetes.io/name=web")["items"]
    return {one["containerID"]: one["restartCount"] for pod in pods for one in pod["status"]["containerStatuses"]}


def test_five_nodes_are_ready_and_each_server_says_so() -> None:
    for server in SERVERS:
        nodes = json.loads(on(server, f"{KUBECTL} get nodes -o json"))["items"]
        assert sorted(one["metadata"]["name"] for one in nodes if is_ready(one)) == sorted(ADDRESS)


def test_the_demos_page_is_served_from_the_workers() -> None:
    [service] = kubectl("-n demo get services")["items"]
    for node in ADDRESS:
        page = f"curl -sS --fail -m 10 http://{service['spec']['clusterIP']}/"
        assert on(node, page) == "It works.\n"
    pods = kubectl("-n demo get pods -l app.kubernetes.io/name=web")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} <= set(ADDRESS) - set(SERVERS)


def test_a_second_run_changes_nothing_and_restarts_nothing() -> None:
    settled()
    services, pods = started(), containers()
    assert len(pods) == 2
    assert all(any(times) for times in services.values())
    converge()
    assert plan()[0] == 0
    assert (started(), containers()) == (services, pods)
