"""The life of everything but servers in the lab cloud, with the official client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hcloud import APIException, Client
from hcloud.firewalls import FirewallResource, FirewallResourceLabelSelector, FirewallRule
from hcloud.images import Image
from hcloud.load_balancer_types import LoadBalancerType
from hcloud.locations import Location
from hcloud.networks import NetworkRoute, NetworkSubnet
from hcloud.server_types import ServerType
from hcloud.servers import ServerCreatePublicNetwork

from tests.unit.lab_cloud import FSN1, TOKEN, WatchedApi, code_of, network_of, public_key, served, server_of
from unterbau.lab.cloud.machines import InMemoryMachines

LB11 = LoadBalancerType(name="lb11")
SSH = FirewallRule("in", "tcp", ["203.0.113.0/24"], port="22", description="operators")


@pytest.fixture
def machines() -> InMemoryMachines:
    return InMemoryMachines()


@pytest.fixture
def client(machines: InMemoryMachines) -> Iterator[Client]:
    with served(WatchedApi(TOKEN, machines)) as client:
        yield client


def test_ssh_keys(client: Client) -> None:
    key = client.ssh_keys.create("a", public_key(), labels={"x": "y"})
    assert client.ssh_keys.get_by_fingerprint(key.fingerprint).id == key.id
    for name, public in (("a", public_key("other")), ("b", public_key())):
        with pytest.raises(APIException) as error:
            client.ssh_keys.create(name, public)
        assert code_of(error) == "uniqueness_error"
    with pytest.raises(APIException) as error:
        client.ssh_keys.create("c", "ssh-ed25519 no-key")
    assert code_of(error) == "invalid_input"
    assert key.update(name="b").name == "b"
    key.delete()
    assert client.ssh_keys.get_all() == []


def test_networks(client: Client) -> None:
    network = network_of(client)
    assert network.subnets[0].gateway == "10.0.0.1"
    network.add_subnet(NetworkSubnet("10.0.9.0/24", "cloud", "us-east")).wait_until_finished()
    network.add_subnet(NetworkSubnet(None, "cloud", "eu-central")).wait_until_finished()  # type: ignore[arg-type]
    network.add_route(NetworkRoute("10.100.0.0/16", "10.0.0.5")).wait_until_finished()
    network.change_ip_range("10.0.0.0/15").wait_until_finished()
    network.reload()
    assert [subnet.ip_range for subnet in network.subnets] == ["10.0.0.0/24", "10.0.9.0/24", "10.0.1.0/24"]
    assert (network.ip_range, network.routes[0].gateway) == ("10.0.0.0/15", "10.0.0.5")
    network.delete_route(NetworkRoute("10.100.0.0/16", "10.0.0.5")).wait_until_finished()
    network.delete_subnet(NetworkSubnet("10.0.9.0/24")).wait_until_finished()
    network.change_protection(delete=True).wait_until_finished()
    with pytest.raises(APIException) as error:
        network.delete()
    assert code_of(error) == "protected"
    network.change_protection(delete=False).wait_until_finished()
    network.delete()
    assert client.networks.get_all() == []


@pytest.mark.parametrize(
    ("ip_range", "subnet"),
    [
        ("10.0.0.1/16", "10.0.0.0/24"), ("8.8.0.0/16", "8.8.0.0/24"), ("10.0.0.0/16", "10.1.0.0/24"),
        ("x", "10.0.0.0/24"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be(client: Client, ip_range: str, subnet: str) -> None:
    with pytest.raises(APIException) as error:
        client.networks.create("n", ip_range, [NetworkSubnet(subnet, "cloud", "eu-central")])
    assert code_of(error) == "invalid_input"
    assert error.value.details["fields"][0]["messages"]


def test_a_subnet_with_members_stays(client: Client) -> None:
    network = network_of(client)
    server_of(client, networks=[network])
    with pytest.raises(APIException) as error:
        network.delete_subnet(NetworkSubnet("10.0.0.0/24"))
    assert code_of(error) == "resource_in_use"
    with pytest.raises(APIException) as error:
        network.add_subnet(NetworkSubnet("10.0.0.128/25", "cloud", "eu-central"))
    assert code_of(error) == "invalid_input"


def test_a_firewall_follows_labels(client: Client, machines: InMemoryMachines) -> None:
    server = server_of(client, labels={"pool": "servers"})
    selector = FirewallResource("label_selector", label_selector=FirewallResourceLabelSelector("pool=servers"))
    made = client.firewalls.create("f", [SSH], resources=[selector])
    for action in made.actions:
        action.wait_until_finished()
    made.firewall.reload()
    assert made.firewall.applied_to[0].applied_to_resources[0].server.id == server.id
    assert machines.machines[server.id].rules is not None
    with pytest.raises(APIException) as error:
        made.firewall.remove_from_resources([FirewallResource("server", server=server)])
    assert code_of(error) == "firewall_managed_by_label_selector"
    with pytest.raises(APIException) as error:
        made.firewall.delete()
    assert code_of(error) == "resource_in_use"
    server.update(labels={})
    server.power_off().wait_until_finished()  # its turn comes after the change of labels
    assert machines.machines[server.id].rules is None


def test_a_firewall_of_one_server(client: Client, machines: InMemoryMachines) -> None:
    server = server_of(client)
    firewall = client.firewalls.create("f", [SSH]).firewall
    resource = FirewallResource("server", server=server)
    for action in firewall.apply_to_resources([resource]):
        action.wait_until_finished()
    with pytest.raises(APIException) as error:
        firewall.apply_to_resources([resource])
    assert code_of(error) == "firewall_already_applied"
    wide = FirewallRule("out", "udp", port="51820-51830", destination_ips=["0.0.0.0/0", "::/0"])
    for action in firewall.set_rules([wide]):
        action.wait_until_finished()
    rules = machines.machines[server.id].rules
    assert rules is not None
    assert [rule["port"] for rule in rules] == ["51820-51830"]
    for action in firewall.remove_from_resources([resource]):
        action.wait_until_finished()
    assert machines.machines[server.id].rules is None
    firewall.delete()
    assert client.firewalls.get_all() == []


@pytest.mark.parametrize(
    "rule",
    [
        FirewallRule("in", "tcp", ["0.0.0.0/0"]), FirewallRule("in", "icmp", ["0.0.0.0/0"], port="1"),
        FirewallRule("in", "tcp", [], port="22"), FirewallRule("in", "tcp", ["10.0.0.1/8"], port="22"),
        FirewallRule("in", "tcp", ["10.0.0.0/8"], port="70000"), FirewallRule("in", "tcp", ["::/0"], port="80-22"),
        FirewallRule("out", "udp", ["::/0"], port="53"), FirewallRule("up", "tcp", ["::/0"], port="53"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be(client: Client, rule: FirewallRule) -> None:
    with pytest.raises(APIException) as error:
        client.firewalls.create("f", [rule])
    assert code_of(error) == "invalid_input"


def test_a_server_has_five_firewalls_and_a_firewall_500_rules(client: Client) -> None:
    firewalls = [client.firewalls.create(f"f-{number}", [SSH]).firewall for number in range(6)]
    server = server_of(client, firewalls=firewalls[:5])
    with pytest.raises(APIException) as error:
        firewalls[5].apply_to_resources([FirewallResource("server", server=server)])
    assert code_of(error) == "resource_limit_exceeded"
    ranges = [f"10.{number}.0.0/16" for number in range(100)]
    many = [FirewallRule("in", "tcp", ranges, port=str(port)) for port in range(1, 7)]
    for action in firewalls[5].set_rules(many[:5]):
        action.wait_until_finished()
    with pytest.raises(APIException) as error:
        firewalls[5].set_rules(many)
    assert code_of(error) == "resource_limit_exceeded"


def test_firewalls_need_a_public_interface(client: Client) -> None:
    public = ServerCreatePublicNetwork(enable_ipv4=False, enable_ipv6=False)
    server = server_of(client, networks=[network_of(client)], public_net=public)
    firewall = client.firewalls.create("f", [SSH]).firewall
    with pytest.raises(APIException) as error:
        firewall.apply_to_resources([FirewallResource("server", server=server)])
    assert code_of(error) == "incompatible_network_type"


def test_volumes(client: Client, machines: InMemoryMachines) -> None:
    server = server_of(client)
    made = client.volumes.create(10, "v", server=server, format="ext4", automount=False)
    for action in (made.action, *made.next_actions):
        action.wait_until_finished()
    volume = client.volumes.get_by_name("v")
    assert (volume.status, volume.server.id, volume.format) == ("available", server.id, "ext4")
    volume.resize(20).wait_until_finished()
    assert [one["size"] for one in machines.machines[server.id].volumes] == [20]
    with pytest.raises(APIException) as error:
        volume.delete()
    assert code_of(error) == "resource_in_use"
    with pytest.raises(APIException) as error:
        volume.resize(10)
    assert code_of(error) == "invalid_input"
    volume.detach().wait_until_finished()
    assert machines.machines[server.id].volumes == ()
    volume.attach(server).wait_until_finished()
    server.delete().wait_until_finished()
    volume.reload()
    assert volume.server is None
    volume.change_protection(delete=True).wait_until_finished()
    with pytest.raises(APIException) as error:
        volume.delete()
    assert code_of(error) == "protected"
    volume.change_protection(delete=False).wait_until_finished()
    volume.delete()
    assert client.volumes.get_all() == []


def test_a_volume_is_where_its_server_is(client: Client) -> None:
    volume = client.volumes.create(10, "v", location=Location(name="nbg1"))
    volume.action.wait_until_finished()
    with pytest.raises(APIException) as error:
        volume.volume.attach(server_of(client))
    assert code_of(error) == "invalid_input"


def test_primary_ips(client: Client) -> None:
    ip = client.primary_ips.create("ipv4", "p", location=FSN1, auto_delete=False, labels={"a": "b"}).primary_ip
    server = server_of(client, public_net=ServerCreatePublicNetwork(enable_ipv4=False))
    with pytest.raises(APIException) as error:
        ip.assign(server.id, "server")
    assert code_of(error) == "server_not_stopped"
    server.power_off().wait_until_finished()
    ip.assign(server.id, "server").wait_until_finished()
    server.reload()
    assert server.public_net.ipv4.ip == ip.ip
    ip.change_dns_ptr(ip.ip, "p.example.org").wait_until_finished()
    ip.reload()
    assert ip.dns_ptr == [{"ip": ip.ip, "dns_ptr": "p.example.org"}]
    with pytest.raises(APIException) as error:
        ip.delete()
    assert code_of(error) == "resource_in_use"
    ip.unassign().wait_until_finished()
    ip.change_protection(delete=True).wait_until_finished()
    with pytest.raises(APIException) as error:
        ip.delete()
    assert code_of(error) == "protected"
    ip.change_protection(delete=False).wait_until_finished()
    ip.delete()
    assert client.primary_ips.get_by_name("p") is None


def test_floating_ips(client: Client, machines: InMemoryMachines) -> None:
    first, second = server_of(client, "a"), server_of(client, "b")
    made = client.floating_ips.create("ipv4", "for us", home_location=FSN1, name="f")
    ip = made.floating_ip
    ip.assign(first).wait_until_finished()
    assert machines.machines[first.id].floating_ips == (ip.ip,)
    ip.assign(second).wait_until_finished()
    assert machines.machines[first.id].floating_ips == ()
    assert machines.machines[second.id].floating_ips == (ip.ip,)
    ip.change_dns_ptr(ip.ip, "f.example.org").wait_until_finished()
    ip.update(description="theirs", name="g")
    ip.reload()
    assert (ip.server.id, ip.description, ip.name) == (second.id, "theirs", "g")
    assert ip.dns_ptr[0]["dns_ptr"] == "f.example.org"
    ip.unassign().wait_until_finished()
    ip.change_protection(delete=True).wait_until_finished()
    with pytest.raises(APIException) as error:
        ip.delete()
    assert code_of(error) == "protected"
    ip.change_protection(delete=False).wait_until_finished()
    ip.delete()
    assert client.floating_ips.get_all() == []


def test_actions_are_found_again(client: Client) -> None:
    server = server_of(client)
    action = server.power_off()
    action.wait_until_finished()
    assert client.actions.get_by_id(action.id).command == "stop_server"
    assert client.servers.actions.get_by_id(action.id).resources == [{"id": server.id, "type": "server"}]
    assert server.get_actions(sort=["id:desc"])[0].command == "stop_server"
    assert {one.command for one in client.servers.actions.get_all(status=["success"])} == {
        "create_server", "start_server", "stop_server"
    }  # fmt: skip


def test_every_kind_has_a_name_and_labels_that_change(client: Client) -> None:
    """All of them are found by their label, and by no other."""
    server_of(client)
    network_of(client)
    client.ssh_keys.create("a", public_key())
    client.placement_groups.create("a", "spread")
    client.firewalls.create("a")
    client.volumes.create(10, "a", location=FSN1)
    client.floating_ips.create("ipv6", "a", home_location=FSN1)
    client.load_balancers.create("a", LB11, location=FSN1)
    for name in (
        "servers", "networks", "ssh_keys", "placement_groups", "firewalls", "volumes", "floating_ips", "primary_ips",
        "load_balancers",
    ):  # fmt: skip
        kind = getattr(client, name)
        one = kind.get_all()[0]
        one.update(name="renamed", labels={"cluster": "lab"})
        assert [found.id for found in kind.get_all(label_selector="cluster=lab")] == [one.id]
        assert kind.get_by_name("renamed").labels == {"cluster": "lab"}
        assert kind.get_all(label_selector="cluster notin (lab)") == kind.get_all()[1:]
        one.update(labels={})
        assert kind.get_all(label_selector="cluster") == []


def test_120_servers_are_three_pages(client: Client, machines: InMemoryMachines) -> None:
    made = [client.servers.create(f"s-{number}", ServerType("cx22"), Image(name="debian-12")) for number in range(120)]
    for one in made:
        for action in (one.action, *one.next_actions):
            action.wait_until_finished()
    assert len({server.public_net.ipv4.ip for server in client.servers.get_all()}) == 120
    assert len(machines.running) == 120
    page, meta = client.servers.get_list(page=3, per_page=50)
    assert (len(page), meta.pagination.last_page, meta.pagination.next_page) == (20, 3, None)
