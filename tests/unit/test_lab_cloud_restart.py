"""The lab cloud ends in the middle of its work, and goes on where it was."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hcloud.images import Image
from hcloud.server_types import ServerType

from tests.unit.lab_cloud import TOKEN, WatchedApi, served
from unterbau.lab.cloud.faults import Fault
from unterbau.lab.cloud.machines import InMemoryMachines
from unterbau.lab.cloud.store import Store
from unterbau.lab.errors import LabError

SERVER = {"name": "a", "server_type": "cx32", "image": "debian-12", "location": "fsn1", "labels": {"pool": "x"}}


class Killed(BaseException):
    """The process is gone."""


class Dying(InMemoryMachines):
    """Machines whose host is killed at the call of that number, before or after it is done."""

    def __init__(self, at: int, after: bool) -> None:
        super().__init__()
        self.left, self.after = at, after

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in {"create", "destroy", "power", "rebuild", "configure", "balance", "unbalance"}:
            return method

        def call(*arguments: Any) -> None:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            method(*arguments)
            if self.left == 0:
                raise Killed

        return call


def drive(api: WatchedApi) -> None:
    """A whole life: network, firewall, load balancer, two servers, one of them gone again."""
    network = {"name": "n", "ip_range": "10.0.0.0/16", "subnets": [{"type": "cloud", "network_zone": "eu-central"}]}
    number = api.ask("POST", "/networks", json.dumps(network))["network"]["id"]
    selector = {"type": "label_selector", "label_selector": {"selector": "pool=x"}}
    rule = {"direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["0.0.0.0/0"]}
    api.ask("POST", "/firewalls", json.dumps({"name": "f", "rules": [rule], "apply_to": [selector]}))
    balancer = {"name": "lb", "load_balancer_type": "lb11", "location": "fsn1", "targets": [selector]}
    api.ask("POST", "/load_balancers", json.dumps(balancer))
    for name in ("a", "b"):
        api.ask("POST", "/servers", json.dumps({**SERVER, "name": name, "networks": [number]}))
    api.settle()
    api.ask("DELETE", f"/servers/{api.ask('GET', '/servers', name='a')['servers'][0]['id']}")
    api.settle()


def ends_as(api: WatchedApi, machines: InMemoryMachines) -> Any:
    """What is there, without what is different each time."""
    servers = api.ask("GET", "/servers")["servers"]
    actions = [one["status"] for one in api.project.all("actions")]
    [balancer] = machines.load_balancers.values()
    return {
        "servers": [(one["name"], one["status"], one["private_net"][0]["ip"], one["locked"]) for one in servers],
        "ips": len(api.ask("GET", "/primary_ips")["primary_ips"]),
        "machines": [(one.name, one.rules, one.private_net[0]["ip"]) for one in machines.machines.values()],
        "running": len(machines.running), "backends": balancer["backends"], "actions": actions,
        "applied": api.ask("GET", "/firewalls")["firewalls"][0]["applied_to"], "pending": api.project.pending,
    }  # fmt: skip


def whole() -> tuple[Any, int]:
    machines = Dying(0, True)
    api = WatchedApi(TOKEN, machines)
    drive(api)
    return ends_as(api, machines), -machines.left


EXPECTED, CALLS = whole()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, CALLS + 1))
def test_a_kill_at_any_call_changes_nothing(tmp_path: Path, at: int, after: bool) -> None:
    path = tmp_path / "cloud.json"
    machines = Dying(at, after)
    with pytest.raises(Killed):
        drive(WatchedApi(TOKEN, machines, path))
    machines.left = -1  # the machines outlive whoever asked for them
    api = WatchedApi(TOKEN, machines, path)
    api.settle()
    for server in api.ask("GET", "/servers", name="a")["servers"]:  # killed before it was asked for
        api.ask("DELETE", f"/servers/{server['id']}")
        api.settle()
    assert ends_as(api, machines) == EXPECTED


def test_what_is_expected_is_a_life() -> None:
    assert EXPECTED["servers"] == [("b", "running", "10.0.0.3", False)]
    assert set(EXPECTED["actions"]) == {"success"}
    assert (EXPECTED["ips"], EXPECTED["running"], EXPECTED["pending"]) == (2, 1, [])
    assert EXPECTED["machines"][0][1] is not None


def test_a_client_finds_its_action_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "cloud.json"
    machines = InMemoryMachines()
    made = WatchedApi(TOKEN, machines, path).ask("POST", "/servers", json.dumps(SERVER))
    with served(WatchedApi(TOKEN, machines, path)) as client:
        client.actions.get_by_id(made["next_actions"][-1]["id"]).wait_until_finished()
        server = client.servers.get_by_name("a")
        assert (server.id, server.status) == (made["server"]["id"], "running")
        other = client.servers.create("b", ServerType("cx32"), Image(name="debian-12"))
        assert other.server.id > server.id
        assert other.server.public_net.ipv4.ip != server.public_net.ipv4.ip


def test_faults_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "cloud.json"
    WatchedApi(TOKEN, path=path).add_fault(Fault(kind="rate_limited", times=2))
    for left in (1, 0):
        api = WatchedApi(TOKEN, path=path)
        assert api.ask("GET", "/servers")["error"]["code"] == "rate_limit_exceeded"
        assert len(api.faults()) == left
    assert "servers" in WatchedApi(TOKEN, path=path).ask("GET", "/servers")


def test_the_state_is_its_owners_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "cloud" / "state.json"
    WatchedApi(TOKEN, path=path).ask("POST", "/placement_groups", "{}")
    path.with_name("state.json.part").write_text("{")  # of a process that was killed
    api = WatchedApi(TOKEN, path=path)
    api.ask("POST", "/servers", json.dumps({**SERVER, "user_data": "#cloud-config"}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TOKEN not in path.read_text()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["state.json"]
    assert WatchedApi(TOKEN, path=path).project.state() == api.project.state()


def test_a_state_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "cloud.json"
    path.write_text("{")
    with pytest.raises(LabError, match=r"cannot read the lab cloud's state .*cloud\.json.*remove it"):
        Store(path).load()
