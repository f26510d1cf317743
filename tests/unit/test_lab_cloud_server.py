"""A server's life in the lab cloud, with the official client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hcloud import APIException, Client
from hcloud.firewalls import FirewallRule
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.networks import NetworkSubnet
from hcloud.placement_groups import PlacementGroup
from hcloud.server_types import ServerType
from hcloud.servers import BoundServer, CreateServerResponse, ServerCreatePublicNetwork

from tests.unit.lab_cloud import TOKEN, WatchedApi, public_key, served
from unterbau.lab.cloud.machines import InMemoryMachines

CX32, DEBIAN, FSN1 = ServerType("cx32"), Image(name="debian-12"), Location(name="fsn1")


@pytest.fixture
def machines() -> InMemoryMachines:
    return InMemoryMachines()


@pytest.fixture
def client(machines: InMemoryMachines) -> Iterator[Client]:
    with served(WatchedApi(TOKEN, machines)) as client:
        yield client


def finished(created: CreateServerResponse) -> BoundServer:
    for action in (created.action, *created.next_actions):
        action.wait_until_finished()
    created.server.reload()
    return created.server


def new(client: Client, name: str = "prod-servers-1", **options: object) -> BoundServer:
    return finished(client.servers.create(name, CX32, DEBIAN, location=FSN1, **options))  # type: ignore[arg-type]


def refused(error: pytest.ExceptionInfo[APIException]) -> str | int:
    return error.value.code


def test_a_server_with_everything(client: Client, machines: InMemoryMachines) -> None:
    key = client.ssh_keys.create("operator", public_key())
    network = client.networks.create(
        "prod", "10.0.0.0/16", subnets=[NetworkSubnet("10.0.1.0/24", "cloud", "eu-central")]
    )
    rule = FirewallRule("in", "tcp", ["203.0.113.0/24"], port="22")
    firewall = client.firewalls.create("servers", [rule]).firewall
    group = client.placement_groups.create("servers", "spread").placement_group
    volume = client.volumes.create(10, "data", location=FSN1)
    volume.action.wait_until_finished()
    created = client.servers.create(
        "prod-servers-1", CX32, DEBIAN, location=FSN1, ssh_keys=[key], networks=[network], firewalls=[firewall],
        placement_group=group, volumes=[volume.volume], labels={"managed-by": "unterbau"}, user_data="#cloud-config",
    )  # fmt: skip
    commands = [action.command for action in created.next_actions]
    assert (created.action.command, commands) == (
        "create_server", ["attach_to_network", "attach_volume", "start_server"]
    )  # fmt: skip
    assert created.root_password is None
    server = finished(created)
    assert (server.status, server.location.name, server.placement_group.id) == ("running", "fsn1", group.id)
    [private] = server.private_net
    assert (private.ip, private.network.id, private.mac_address[:2]) == ("10.0.1.1", network.id, "86")
    assert [one.firewall.id for one in server.public_net.firewalls] == [firewall.id]
    assert [one.id for one in server.volumes] == [volume.volume.id]
    machine = machines.machines[server.id]
    assert machine.public_keys == (public_key(),)
    assert (machine.user_data, machine.image, machine.cores) == ("#cloud-config", "debian-12", 4)
    assert machine.rules is not None
    assert [one["port"] for one in machine.rules] == ["22"]
    assert machine.private_net[0]["ip_range"] == "10.0.0.0/16"
    assert [one["id"] for one in machine.volumes] == [volume.volume.id]
    assert server.id in machines.running
    assert client.networks.get_by_id(network.id).servers[0].id == server.id
    assert client.placement_groups.get_by_name("servers").servers == [server.id]


def test_a_server_without_a_key_gets_a_password_and_stays_off_if_asked(client: Client) -> None:
    created = client.servers.create("a", CX32, DEBIAN, location=FSN1, start_after_create=False)
    assert created.root_password
    assert [action.command for action in created.next_actions] == []
    assert finished(created).status == "off"


@pytest.mark.parametrize(
    ("call", "command", "last"),
    [
        ("power_off", "stop_server", "off"), ("shutdown", "shutdown_server", "shutdown"),
        ("reboot", "reboot_server", "reboot"), ("reset", "reset_server", "reset"), ("power_on", "start_server", "on"),
    ],
)  # fmt: skip
def test_power(client: Client, machines: InMemoryMachines, call: str, command: str, last: str) -> None:
    server = new(client)
    action = getattr(server, call)()
    action.wait_until_finished()
    assert (action.command, action.status, action.progress) == (command, "success", 100)
    assert client.servers.get_by_id(server.id).status == ("off" if last in {"off", "shutdown"} else "running")
    assert machines.calls[-1] == (last, server.id)


def test_protection_and_the_end(client: Client, machines: InMemoryMachines) -> None:
    server = new(client)
    server.change_protection(delete=True, rebuild=True).wait_until_finished()
    for call in (server.delete, lambda: server.rebuild(DEBIAN)):
        with pytest.raises(APIException) as error:
            call()
        assert refused(error) == "protected"
    with pytest.raises(APIException) as error:
        server.change_protection(delete=False)
    assert refused(error) == "invalid_input"
    server.change_protection(delete=False, rebuild=False).wait_until_finished()
    server.delete().wait_until_finished()
    assert client.servers.get_all() == client.primary_ips.get_all() == []
    assert machines.machines == {}
    with pytest.raises(APIException) as error:
        server.reload()
    assert refused(error) == "not_found"


def test_rebuild_has_another_image_and_the_same_addresses(client: Client, machines: InMemoryMachines) -> None:
    server = new(client)
    before = server.public_net.ipv4.ip
    client.servers.rebuild(server, Image(name="debian-13")).action.wait_until_finished()
    server.reload()
    assert (server.image.name, server.status, server.public_net.ipv4.ip) == ("debian-13", "running", before)
    assert machines.machines[server.id].image == "debian-13"


def test_a_change_of_name_and_labels(client: Client) -> None:
    server, other = new(client, "a"), new(client, "b")
    server.update(name="c", labels={"pool": "servers"})
    assert client.servers.get_by_name("c").labels == {"pool": "servers"}
    assert client.servers.get_by_name("a") is None
    with pytest.raises(APIException) as error:
        server.update(name=other.name)
    assert refused(error) == "uniqueness_error"


def test_another_type_only_while_it_is_off(client: Client) -> None:
    server = new(client)
    with pytest.raises(APIException) as error:
        server.change_type(ServerType("cpx31"), upgrade_disk=True)
    assert refused(error) == "server_not_stopped"
    server.power_off().wait_until_finished()
    client.servers.change_type(server, ServerType("cpx31"), upgrade_disk=False).wait_until_finished()
    server.reload()
    assert (server.server_type.name, server.primary_disk_size) == ("cpx31", 80)
    server.reload()
    for name in ("cax21", "cx22", "nothing"):
        with pytest.raises(APIException):
            server.change_type(ServerType(name), upgrade_disk=False)


def test_into_a_network_and_out(client: Client, machines: InMemoryMachines) -> None:
    network = client.networks.create("n", "10.0.0.0/16", [NetworkSubnet("10.0.0.0/24", "cloud", "eu-central")])
    server = new(client)
    server.attach_to_network(network, ip="10.0.0.9", alias_ips=["10.0.0.99"]).wait_until_finished()
    server.reload()
    assert (server.private_net[0].ip, server.private_net[0].alias_ips) == ("10.0.0.9", ["10.0.0.99"])
    with pytest.raises(APIException) as error:
        server.attach_to_network(network)
    assert refused(error) == "server_already_attached"
    with pytest.raises(APIException) as error:
        network.delete()
    assert refused(error) == "resource_in_use"
    other = new(client, "other")
    with pytest.raises(APIException) as error:
        other.attach_to_network(network, ip="10.0.0.9")
    assert refused(error) == "ip_not_available"
    other.attach_to_network(network).wait_until_finished()
    other.reload()
    assert other.private_net[0].ip == "10.0.0.2"  # the first address is the gateway
    server.change_alias_ips(network, []).wait_until_finished()
    server.detach_from_network(network).wait_until_finished()
    server.reload()
    assert server.private_net == []
    assert machines.machines[server.id].private_net == ()


def test_a_placement_group_holds_ten(client: Client) -> None:
    group = client.placement_groups.create("g", "spread").placement_group
    servers = [new(client, f"s-{number}", placement_group=group) for number in range(10)]
    with pytest.raises(APIException) as error:
        new(client, "s-10", placement_group=group)
    assert refused(error) == "placement_error"
    one = servers[0]
    one.remove_from_placement_group().wait_until_finished()
    new(client, "s-10", placement_group=group)
    with pytest.raises(APIException) as error:
        one.add_to_placement_group(group)
    assert refused(error) == "placement_error"
    assert len(client.servers.get_all()) == 11


def test_into_a_group_only_while_it_is_off(client: Client) -> None:
    group = client.placement_groups.create("g", "spread").placement_group
    server = new(client)
    with pytest.raises(APIException) as error:
        server.add_to_placement_group(group)
    assert refused(error) == "server_not_stopped"
    server.power_off().wait_until_finished()
    server.add_to_placement_group(group).wait_until_finished()
    group.reload()
    assert group.servers == [server.id]
    with pytest.raises(APIException) as error:
        group.delete()
    assert refused(error) == "resource_in_use"


def test_reverse_names_of_a_server(client: Client) -> None:
    server = new(client)
    ip = server.public_net.ipv4.ip
    usual = server.public_net.ipv4.dns_ptr
    server.change_dns_ptr(ip, "a.example.org").wait_until_finished()
    server.reload()
    assert server.public_net.ipv4.dns_ptr == "a.example.org"
    server.change_dns_ptr(ip, None).wait_until_finished()
    server.reload()
    assert server.public_net.ipv4.dns_ptr == usual
    inside = server.public_net.ipv6.ip.replace("/64", "1")
    server.change_dns_ptr(inside, "b.example.org").wait_until_finished()
    server.reload()
    assert server.public_net.ipv6.dns_ptr == [{"ip": inside, "dns_ptr": "b.example.org"}]


def test_public_addresses_that_are_kept(client: Client) -> None:
    kept = client.primary_ips.create("ipv4", "kept", location=FSN1).primary_ip
    public = ServerCreatePublicNetwork(ipv4=kept, enable_ipv6=False)
    server = new(client, public_net=public)
    assert (server.public_net.ipv4.ip, server.public_net.ipv6) == (kept.ip, None)
    with pytest.raises(APIException) as error:
        new(client, "other", public_net=public)
    assert refused(error) == "primary_ip_assigned"
    server.delete().wait_until_finished()
    kept.reload()
    assert kept.assignee_id is None


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"name": "a_b"}, "invalid_input"), ({"name": "taken"}, "uniqueness_error"),
        ({"server_type": ServerType("cx11")}, "invalid_input"), ({"server_type": ServerType("x")}, "invalid_input"),
        ({"image": Image(name="x")}, "invalid_input"), ({"location": Location(name="ash")}, "invalid_input"),
        ({"location": Location(name="x")}, "invalid_input"), ({"user_data": "x" * 40000}, "invalid_input"),
        ({"labels": {"a b": "c"}}, "invalid_input"), ({"placement_group": PlacementGroup(id=5)}, "not_found"),
        ({"public_net": ServerCreatePublicNetwork(enable_ipv4=False, enable_ipv6=False)}, "invalid_input"),
    ],
)  # fmt: skip
def test_servers_that_cannot_be(client: Client, options: dict[str, object], code: str) -> None:
    new(client, "taken")
    wanted = {"name": "a", "server_type": CX32, "image": DEBIAN, "location": FSN1, **options}
    with pytest.raises(APIException) as error:
        client.servers.create(**wanted)  # type: ignore[arg-type]
    assert refused(error) == code
    assert len(client.servers.get_all()) == 1
    assert len(client.primary_ips.get_all()) == 2
