"""What goes wrong in the lab cloud when it is told to, as the official client sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hcloud import APIException, Client
from hcloud.actions import ActionFailedException
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType

from tests.unit.lab_cloud import HEADERS, TOKEN, Clock, WatchedApi, client_of, served
from unterbau.lab.cloud.api import CloudApi
from unterbau.lab.cloud.faults import Fault
from unterbau.lab.cloud.http_face import listening, respond_as_admin, respond_as_api
from unterbau.lab.cloud.machines import InMemoryMachines, Machine, MachineError

SERVER = json.dumps({"name": "a", "server_type": "cx32", "image": "debian-12", "location": "fsn1"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(clock: Clock) -> WatchedApi:
    return WatchedApi(TOKEN, clock=clock)


@pytest.fixture
def client(api: WatchedApi) -> Iterator[Client]:
    with served(api) as client:
        client._client._retry_interval_func = lambda retries: 0.0
        yield client


def code(content: Any) -> str:
    return str(content["error"]["code"])


def action_of(api: WatchedApi, number: int) -> Any:
    return api.ask("GET", f"/actions/{number}")["action"]


def test_too_many_requests_end(client: Client, api: WatchedApi) -> None:
    api.add_fault(Fault(kind="rate_limited", times=3))
    assert client.servers.get_all() == []
    assert api.counted([("GET", "/servers")]) == 4
    assert api.faults() == []


def test_a_fault_says_that_no_requests_are_left(api: WatchedApi) -> None:
    api.add_fault(Fault(kind="rate_limited", times=1))
    answers = [api.handle("GET", "/v1/servers", {}, HEADERS, b"") for _ in range(2)]
    found = [(answer.status, answer.headers["RateLimit-Remaining"]) for answer in answers]
    assert found == [(429, "0"), (200, "3598")]


@pytest.mark.parametrize("status", [502, 504])
def test_errors_that_the_client_tries_again(client: Client, api: WatchedApi, status: Any) -> None:
    api.add_fault(Fault(kind="error", status=status, times=2, path="/networks"))
    assert client.servers.get_all() == []
    assert client.networks.get_all() == []
    assert api.counted([("GET", "/networks")]) == 3


@pytest.mark.parametrize(("status", "said"), [(500, "server_error"), (503, "unavailable")])
def test_errors_that_the_client_does_not_try_again(client: Client, api: WatchedApi, status: Any, said: str) -> None:
    api.add_fault(Fault(kind="error", status=status, method="POST"))
    assert client.servers.get_all() == []
    with pytest.raises(APIException) as error:
        client.placement_groups.create("g", "spread")
    assert error.value.code == said
    api.remove_fault()
    assert client.placement_groups.get_all() == []


def test_an_answer_that_is_lost_leaves_what_was_done(client: Client, api: WatchedApi) -> None:
    """The client tries a POST again, and so finds its own group in its way."""
    api.add_fault(Fault(kind="lost_answer", method="POST", path="/placement_groups", times=1))
    with pytest.raises(APIException) as error:
        client.placement_groups.create("g", "spread")
    assert error.value.code == "uniqueness_error"
    assert [group.name for group in client.placement_groups.get_all()] == ["g"]


def test_a_page_that_breaks_off(client: Client, api: WatchedApi) -> None:
    for number in range(50):
        client.placement_groups.create(f"g-{number}", "spread")
    api.add_fault(Fault(kind="dropped_page", path="/placement_groups", page=1, times=1))
    with pytest.raises(requests.RequestException):
        client.placement_groups.get_all()
    assert len(client.placement_groups.get_all()) == 50


def test_a_type_that_is_sold_out_is_sold_elsewhere(client: Client, api: WatchedApi) -> None:
    number = api.add_fault(Fault(kind="sold_out", server_type="cx32", location="fsn1"))
    wanted = (ServerType("cx32"), Image(name="debian-12"))
    with pytest.raises(APIException) as error:
        client.servers.create("a", *wanted, location=Location(name="fsn1"))
    assert error.value.code == "resource_unavailable"
    assert client.servers.get_all() == []
    client.servers.create("a", *wanted, location=Location(name="nbg1")).action.wait_until_finished()
    client.servers.create("b", ServerType("cx22"), wanted[1], location=Location(name="fsn1"))
    api.remove_fault(number)
    client.servers.create("c", *wanted, location=Location(name="fsn1"))


@pytest.mark.parametrize(("shown", "available"), [(True, False), (False, True)])
def test_the_catalogue_knows_of_a_sell_out_or_does_not(api: WatchedApi, shown: bool, available: bool) -> None:
    api.add_fault(Fault(kind="sold_out", server_type="cx32", location="nbg1", shown=shown))
    offers = api.ask("GET", "/server_types", name="cx32")["server_types"][0]["locations"]
    assert {offer["name"]: offer["available"] for offer in offers} == {"fsn1": True, "nbg1": available, "hel1": True}


def test_no_placement(api: WatchedApi) -> None:
    api.add_fault(Fault(kind="no_placement", times=1))
    assert code(api.ask("POST", "/servers", SERVER)) == "placement_error"
    assert "server" in api.ask("POST", "/servers", SERVER)


def test_a_slow_action_keeps_its_server_locked(api: WatchedApi, clock: Clock) -> None:
    api.add_fault(Fault(kind="slow", command="start_server", seconds=30))
    made = api.ask("POST", "/servers", SERVER)
    api.settle()
    number, last = made["server"]["id"], made["next_actions"][-1]["id"]
    assert (action_of(api, made["action"]["id"])["status"], action_of(api, last)["status"]) == ("success", "running")
    for method, path in (("DELETE", ""), ("POST", "/actions/reboot")):
        assert code(api.ask(method, f"/servers/{number}{path}")) == "locked"
    clock.forward(29)
    api.settle()
    assert api.ask("GET", f"/servers/{number}")["server"]["status"] == "off"
    clock.forward(1)
    api.settle()
    server = api.ask("GET", f"/servers/{number}")["server"]
    assert (server["status"], server["locked"], action_of(api, last)["status"]) == ("running", False, "success")


def test_a_network_that_changes_conflicts(api: WatchedApi) -> None:
    made = api.ask("POST", "/networks", json.dumps({"name": "n", "ip_range": "10.0.0.0/16"}))
    subnet = json.dumps({"type": "cloud", "network_zone": "eu-central"})
    path = f"/networks/{made['network']['id']}/actions/add_subnet"
    assert "action" in api.ask("POST", path, subnet)
    assert code(api.ask("POST", path, subnet)) == "conflict"
    api.settle()
    assert "action" in api.ask("POST", path, subnet)


def test_a_failing_action_does_nothing(client: Client, api: WatchedApi) -> None:
    made = client.servers.create("a", ServerType("cx32"), Image(name="debian-12"))
    for action in (made.action, *made.next_actions):
        action.wait_until_finished()
    api.add_fault(Fault(kind="failing", command="stop_server", code="timeout", times=1))
    with pytest.raises(ActionFailedException) as error:
        made.server.power_off().wait_until_finished()
    assert error.value.action.error["code"] == "timeout"
    assert client.servers.get_by_name("a").status == "running"


@pytest.mark.parametrize("kind", ["half_created", "failing"])
def test_half_a_server_is_there_and_can_go(api: WatchedApi, kind: Any) -> None:
    command = "create_server" if kind == "failing" else None
    api.add_fault(Fault(kind=kind, command=command, times=1))
    made = api.ask("POST", "/servers", SERVER)
    api.settle()
    statuses = [action_of(api, one["id"])["status"] for one in (made["action"], *made["next_actions"])]
    assert set(statuses) == {"error"}
    server = api.ask("GET", "/servers")["servers"][0]
    assert (server["status"], server["locked"]) == ("initializing", False)
    assert (server["id"] in api.machines.machines) == (kind == "half_created")  # type: ignore[attr-defined]
    assert code(api.ask("POST", "/servers", SERVER)) == "uniqueness_error"
    api.ask("DELETE", f"/servers/{server['id']}")
    api.settle()
    assert api.ask("GET", "/servers")["servers"] == api.ask("GET", "/primary_ips")["primary_ips"] == []
    assert api.machines.machines == {}  # type: ignore[attr-defined]


class Broken(InMemoryMachines):
    """Machines that do not boot."""

    def power(self, server: int, how: Any) -> None:
        if how == "on":
            raise MachineError("cannot boot: no kernel")
        if how == "reboot":
            raise ZeroDivisionError("a mistake")
        super().power(server, how)

    def rebuild(self, machine: Machine) -> None:
        raise MachineError("no image")


def test_what_machines_cannot_do_is_a_failed_action() -> None:
    api = WatchedApi(TOKEN, Broken())
    made = api.ask("POST", "/servers", SERVER)
    api.settle()
    [start] = made["next_actions"]
    assert action_of(api, start["id"])["error"] == {"code": "action_failed", "message": "cannot boot: no kernel"}
    number = made["server"]["id"]
    for command, said in (("reboot", "ZeroDivisionError: a mistake"), ("rebuild", "no image")):
        asked = api.ask("POST", f"/servers/{number}/actions/{command}", '{"image": "debian-12"}' * (said[0] == "n"))
        api.settle()
        assert action_of(api, asked["action"]["id"])["error"]["message"] == said
        assert api.ask("GET", f"/servers/{number}")["server"]["status"] == "off"


def test_the_rate_is_told_and_kept(clock: Clock) -> None:
    api = WatchedApi(TOKEN, clock=clock)
    with listening(respond_as_api(api)) as url:
        headers = requests.get(f"{url}/v1/servers", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).headers
    assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("3600", "3599")
    assert int(headers["RateLimit-Reset"]) == int(clock().timestamp()) + 1
    for _ in range(3599):
        api.ask("GET", "/locations", name="x")
    assert code(api.ask("GET", "/locations")) == "rate_limit_exceeded"
    clock.forward(1)
    assert "locations" in api.ask("GET", "/locations")
    assert code(api.ask("GET", "/locations")) == "rate_limit_exceeded"


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_without_the_token_nothing(api: WatchedApi, token: str) -> None:
    answer = api.handle("GET", "/v1/servers", {}, {"authorization": token}, b"")
    assert (answer.status, code(answer.json)) == (401, "unauthorized")
    assert api.requests == []


def test_faults_by_http(api: WatchedApi) -> None:
    with listening(respond_as_admin(api)) as admin, listening(respond_as_api(api)) as url:
        fault = {"kind": "sold_out", "server_type": "cx32"}
        number = requests.post(f"{admin}/faults", json=fault, timeout=10).json()["id"]
        assert [one["id"] for one in requests.get(f"{admin}/faults", timeout=10).json()["faults"]] == [number]
        with pytest.raises(APIException) as error:
            client_of(url).servers.create("a", ServerType("cx32"), Image(name="debian-12"))
        assert error.value.code == "resource_unavailable"
        assert requests.delete(f"{admin}/faults/{number}", timeout=10).status_code == 204
        assert requests.post(f"{admin}/faults", json={"kind": "x"}, timeout=10).status_code == 422
        assert requests.get(f"{admin}/v1/servers", timeout=10).status_code == 404
        assert (
            requests.get(f"{url}/faults", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).status_code == 404
        )
    assert api.faults() == []


def test_no_json_is_said(api: CloudApi) -> None:
    assert isinstance(api, WatchedApi)
    assert code(api.ask("POST", "/servers", "{")) == "json_error"
    refused = api.ask("POST", "/servers", '{"name": "a", "nmae": "b"}')["error"]
    assert {one["name"] for one in refused["details"]["fields"]} == {"server_type", "image", "nmae"}
