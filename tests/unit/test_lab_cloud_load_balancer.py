"""Load balancers of the lab cloud, with the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hcloud import APIException, Client
from hcloud.load_balancer_types import LoadBalancerType
from hcloud.load_balancers import (
    LoadBalancerAlgorithm,
    LoadBalancerHealthCheck,
    LoadBalancerService,
    LoadBalancerServiceHttp,
    LoadBalancerTarget,
    LoadBalancerTargetIP,
    LoadBalancerTargetLabelSelector,
)

from tests.unit.lab_cloud import FSN1, TOKEN, WatchedApi, code_of, network_of, served, server_of
from unterbau.lab.cloud.machines import InMemoryMachines

LB11 = LoadBalancerType(name="lb11")


@pytest.fixture
def machines() -> InMemoryMachines:
    return InMemoryMachines()


@pytest.fixture
def api(machines: InMemoryMachines) -> WatchedApi:
    return WatchedApi(TOKEN, machines)


@pytest.fixture
def client(api: WatchedApi) -> Iterator[Client]:
    with served(api) as client:
        yield client


def service_of(protocol: str, listen: int, destination: int) -> LoadBalancerService:
    check = LoadBalancerHealthCheck(protocol, destination, interval=15, timeout=10, retries=3)
    http = LoadBalancerServiceHttp("HCLBSTICKY", 300, sticky_sessions=False, timeout_idle=50)  # type: ignore[arg-type]
    options = {"http": http} if protocol == "http" else {}
    return LoadBalancerService(protocol, listen, destination, proxyprotocol=False, health_check=check, **options)  # type: ignore[arg-type]


def test_a_load_balancer(client: Client, api: WatchedApi, machines: InMemoryMachines) -> None:
    network = network_of(client)
    server = server_of(client, labels={"pool": "servers"}, networks=[network])
    service = service_of("tcp", 6443, 6443)
    target = LoadBalancerTarget(
        "label_selector", label_selector=LoadBalancerTargetLabelSelector("pool=servers"), use_private_ip=True
    )
    made = client.load_balancers.create(
        "lb", LB11, location=FSN1, network=network, services=[service], targets=[target], labels={"a": "b"}
    )
    made.action.wait_until_finished()
    balancer = client.load_balancers.get_by_name("lb")
    assert balancer.private_net[0].ip == "10.0.0.3"
    [chosen] = balancer.targets[0].targets
    shown = api.ask("GET", f"/load_balancers/{balancer.id}")["load_balancer"]
    assert shown["targets"][0]["targets"][0]["server"] == {"id": server.id, "ip": "10.0.0.2"}
    assert (chosen.server.id, chosen.health_status[0].status) == (server.id, "healthy")
    assert machines.load_balancers[balancer.id]["backends"] == ["10.0.0.2"]
    server.power_off().wait_until_finished()
    balancer.reload()
    assert balancer.targets[0].targets[0].health_status[0].status == "unhealthy"
    balancer.delete().action.wait_until_finished()
    assert (client.load_balancers.get_all(), machines.load_balancers) == ([], {})


def test_services_of_a_load_balancer(client: Client) -> None:
    balancer = client.load_balancers.create("lb", LB11, network_zone="eu-central").load_balancer
    client.load_balancers.get_actions(balancer)[0].wait_until_finished()
    balancer.add_service(service_of("http", 80, 8080)).wait_until_finished()
    with pytest.raises(APIException) as error:
        balancer.add_service(LoadBalancerService("tcp", 81, 8080))
    assert error.value.details["fields"][0]["name"] == "proxyprotocol"
    with pytest.raises(APIException) as error:
        balancer.add_service(service_of("tcp", 80, 8080))
    assert code_of(error) == "source_port_already_used"
    check = LoadBalancerHealthCheck("tcp", 8081, interval=5, timeout=5, retries=3)
    balancer.update_service(LoadBalancerService(listen_port=80, health_check=check)).wait_until_finished()
    balancer.reload()
    [service] = balancer.services
    assert (service.protocol, service.destination_port, service.http.cookie_name) == ("http", 8080, "HCLBSTICKY")
    assert (service.health_check.port, service.health_check.interval, service.health_check.retries) == (8081, 5, 3)
    balancer.delete_service(LoadBalancerService(listen_port=80)).wait_until_finished()
    for port in range(1, 6):
        balancer.add_service(service_of("tcp", port, port)).wait_until_finished()
    with pytest.raises(APIException) as error:
        balancer.add_service(service_of("tcp", 6, 6))
    assert code_of(error) == "resource_limit_exceeded"
    balancer.change_type(LoadBalancerType(name="lb21")).wait_until_finished()
    balancer.add_service(service_of("tcp", 6, 6)).wait_until_finished()
    with pytest.raises(APIException) as error:
        balancer.change_type(LB11)
    assert code_of(error) == "invalid_load_balancer_type"


@pytest.mark.parametrize(
    ("more", "check", "field"),
    [
        ({"protocol": "http"}, {}, "needs the field http"),
        ({"protocol": "http", "http": {"sticky_sessions": True}}, {}, "http.cookie_name"),
        ({}, {"http": {"path": "/"}}, "health_check.http.domain"),
        ({}, {"retries": 0}, "health_check.retries"),
    ],
)
def test_what_a_service_must_name(api: WatchedApi, more: dict[str, Any], check: dict[str, Any], field: str) -> None:
    """Source: Hetzner Cloud API, add_service. The official clients leave out more than its description allows."""
    api.ask("POST", "/load_balancers", json.dumps({"name": "lb", "load_balancer_type": "lb11", "location": "fsn1"}))
    whole = {"protocol": "http", "port": 8080, "interval": 15, "timeout": 10, "retries": 3, **check}
    service = {"protocol": "tcp", "listen_port": 80, "destination_port": 8080, "proxyprotocol": False, **more}
    api.settle()
    number = api.ask("GET", "/load_balancers")["load_balancers"][0]["id"]
    body = json.dumps({**service, "health_check": whole})
    assert field in json.dumps(api.ask("POST", f"/load_balancers/{number}/actions/add_service", body)["error"])


def test_targets_and_network_of_a_load_balancer(client: Client, machines: InMemoryMachines) -> None:
    network, server = network_of(client), server_of(client)
    made = client.load_balancers.create("lb", LB11, location=FSN1)
    made.action.wait_until_finished()
    balancer, private = made.load_balancer, LoadBalancerTarget("server", server=server, use_private_ip=True)
    with pytest.raises(APIException) as error:
        balancer.add_target(private)
    assert code_of(error) == "load_balancer_not_attached_to_network"
    balancer.attach_to_network(network, ip="10.0.0.7").wait_until_finished()
    with pytest.raises(APIException) as error:
        balancer.add_target(private)
    assert code_of(error) == "server_not_attached_to_network"
    server.attach_to_network(network).wait_until_finished()
    balancer.add_target(private).wait_until_finished()
    with pytest.raises(APIException) as error:
        balancer.add_target(private)
    assert code_of(error) == "target_already_defined"
    balancer.add_target(LoadBalancerTarget("ip", ip=LoadBalancerTargetIP("192.0.2.9"))).wait_until_finished()
    assert machines.load_balancers[balancer.id]["backends"] == ["10.0.0.2", "192.0.2.9"]
    with pytest.raises(APIException) as error:
        balancer.add_target(LoadBalancerTarget("ip", ip=LoadBalancerTargetIP(server.public_net.ipv4.ip)))
    assert code_of(error) == "cloud_resource_ip_not_allowed"
    balancer.disable_public_interface().wait_until_finished()
    balancer.change_algorithm(LoadBalancerAlgorithm("least_connections")).wait_until_finished()
    balancer.reload()
    assert (balancer.public_net.enabled, balancer.algorithm.type) == (False, "least_connections")
    balancer.enable_public_interface().wait_until_finished()
    balancer.change_dns_ptr(balancer.public_net.ipv4.ip, "lb.example.org").wait_until_finished()
    balancer.remove_target(private).wait_until_finished()
    server.delete().wait_until_finished()
    balancer.detach_from_network(network).wait_until_finished()
    balancer.reload()
    assert (balancer.private_net, balancer.public_net.ipv4.dns_ptr) == ([], "lb.example.org")
    balancer.change_protection(delete=True).wait_until_finished()
    with pytest.raises(APIException) as error:
        balancer.delete()
    assert code_of(error) == "protected"


def test_a_deleted_server_is_no_target_any_more(client: Client, machines: InMemoryMachines) -> None:
    server = server_of(client)
    target = LoadBalancerTarget("server", server=server, use_private_ip=False)
    made = client.load_balancers.create("lb", LB11, location=FSN1, targets=[target])
    made.action.wait_until_finished()
    assert machines.load_balancers[made.load_balancer.id]["backends"] == [server.public_net.ipv4.ip]
    server.delete().wait_until_finished()
    made.load_balancer.reload()
    assert made.load_balancer.targets == []
    assert machines.load_balancers[made.load_balancer.id]["backends"] == []
