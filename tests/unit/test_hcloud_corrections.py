"""Operations of a cloud project against the lab's cloud: what was changed is corrected, what cannot change refused."""

from __future__ import annotations

from dataclasses import replace

from operations import (
    hcloud_firewall,
    hcloud_floating_ip,
    hcloud_load_balancer,
    hcloud_network,
    hcloud_primary_ip,
    hcloud_server,
    hcloud_ssh_key,
    hcloud_volume,
)
from operations.hcloud_floating_ip import FloatingIp
from operations.hcloud_network import Subnet
from operations.hcloud_primary_ip import PrimaryIp
from operations.hcloud_volume import Volume
from tests.unit.hcloud_run import Cloud, cloud, ran
from tests.unit.hcloud_site import (
    BALANCER,
    FIREWALL,
    HTTPS,
    KEY,
    NETWORK,
    OTHER_KEY,
    STEPS,
    act,
    changed,
    server,
    site,
    the,
    whole,
)
from unterbau.domain.cloud_labels import labels, selector

__all__ = ["cloud"]


def test_subnets_and_routes_come_and_go(cloud: Cloud) -> None:
    whole(cloud)
    wanted = replace(NETWORK, subnets=[Subnet("10.0.0.0/24"), Subnet("10.0.2.0/24")], routes=())
    refused = ran(cloud, hcloud_network.declared, [wanted])
    assert refused.refused == (
        "no longer declared: route/prod/10.9.0.0/24; declare them, or name them in cloud_deletions"
    )
    done = changed(cloud, hcloud_network.declared, [wanted], deletions=["route/prod/10.9.0.0/24"])
    assert done.changes["network prod subnets"] == (
        "10.0.0.0/24 (cloud, eu-central)",
        "10.0.0.0/24 (cloud, eu-central), 10.0.2.0/24 (cloud, eu-central)",
    )
    assert done.changes["network prod routes"] == ("10.9.0.0/24 via 10.0.0.7", None)
    found = the(cloud, "networks", "prod")
    assert sorted(one["ip_range"] for one in found["subnets"]) == ["10.0.0.0/24", "10.0.2.0/24"]
    assert found["routes"] == []
    allowed = ["subnet/prod/10.0.2.0/24"]
    changed(cloud, hcloud_network.declared, [replace(NETWORK, cidr="10.0.0.0/15")], deletions=allowed)
    assert the(cloud, "networks", "prod")["ip_range"] == "10.0.0.0/15"


def test_rules_and_servers_of_a_firewall_are_as_declared(cloud: Cloud) -> None:
    whole(cloud)
    wide = [{"direction": "in", "protocol": "tcp", "port": "1-65535", "source_ips": ["0.0.0.0/0"]}]
    act(cloud, "firewalls", "prod-servers", "set_rules", rules=wide)
    done = changed(cloud, hcloud_firewall.declared, [FIREWALL])
    assert "-in tcp 1-65535 from 0.0.0.0/0" in str(done.changes["firewall prod-servers rules"][1])
    other = replace(FIREWALL, selectors=(selector("prod", "workers"),))
    changed(cloud, hcloud_firewall.declared, [other])
    (applied,) = the(cloud, "firewalls", "prod-servers")["applied_to"]
    assert applied["label_selector"]["selector"] == selector("prod", "workers")


def test_a_server_that_was_changed_by_hand_is_as_declared_again(cloud: Cloud) -> None:
    whole(cloud)
    two = STEPS[5][1][0][1]
    act(cloud, "servers", two.name, "change_protection", delete=False, rebuild=False)
    act(cloud, "servers", two.name, "poweroff")
    act(
        cloud,
        "servers",
        two.name,
        "change_dns_ptr",
        ip=the(cloud, "servers", two.name)["public_net"]["ipv4"]["ip"],
        dns_ptr="other.example",
    )
    cloud.do(
        "PUT",
        f"servers/{the(cloud, 'servers', two.name)['id']}",
        labels={**labels("prod", "servers", ["servers"]), "team": "x"},
    )
    done = changed(cloud, hcloud_server.declared, [two])
    subject = f"server {two.name}"
    assert done.changes[f"{subject} protection"] == ("none", "delete, rebuild")
    assert done.changes[f"{subject} power"] == ("off", "running")
    assert done.changes[f"{subject} reverse DNS ipv4"] == ("other.example", "two.example")
    assert "team=x" in str(done.changes[f"{subject} labels"][0])
    assert the(cloud, "servers", two.name)["status"] == "running"


def test_a_server_without_its_network_gets_it_and_keeps_others(cloud: Cloud) -> None:
    whole(cloud)
    cloud.make(
        "networks",
        name="theirs",
        ip_range="10.50.0.0/16",
        subnets=[{"type": "cloud", "ip_range": "10.50.0.0/24", "network_zone": "eu-central"}],
    )
    act(cloud, "servers", "prod-servers-1", "attach_to_network", network=the(cloud, "networks", "theirs")["id"])
    act(cloud, "servers", "prod-servers-1", "detach_from_network", network=the(cloud, "networks", "prod")["id"])
    done = changed(cloud, hcloud_server.declared, [server()])
    assert done.changes["server prod-servers-1 networks"] == (
        "theirs (10.50.0.2)",
        "prod (10.0.0.11), theirs (10.50.0.2)",
    )


def test_an_address_that_another_server_has_is_refused_before_anything_is_made(cloud: Cloud) -> None:
    """Of a server that somebody renamed, of a pool whose prefix changed, of a stranger's."""
    site(cloud)
    there = next(one for one in cloud.all("servers") if one["name"] == "prod-servers-1")
    cloud.do("PUT", f"servers/{there['id']}", name="renamed")
    cloud.again()
    refused = ran(cloud, hcloud_server.declared, [server(1), server(2)])
    assert refused.refused == (
        "cannot give server prod-servers-1 the address 10.0.0.11 in the network prod: renamed has it; delete or rename "
        "that one first, or declare another address"
    )
    assert cloud.names("servers") == ["prod-servers-2", "renamed"]


def test_an_address_that_a_load_balancer_took_is_refused(cloud: Cloud) -> None:
    """It was attached to the network and given the first free address."""
    whole(cloud)
    [taken] = the(cloud, "load_balancers", "prod-web")["private_net"]
    refused = ran(cloud, hcloud_server.declared, [server(3, networks={"prod": taken["ip"]})])
    assert f"the address {taken['ip']} in the network prod: load balancer prod-web has it" in refused.refused
    assert refused.commands == []


def test_what_cannot_change_is_refused(cloud: Cloud) -> None:
    whole(cloud)
    cases = [
        (hcloud_ssh_key.declared, {"ops": OTHER_KEY}, "cannot change public key of the ssh_key ops from"),
        (hcloud_ssh_key.declared, {"again": KEY}, "found the same key as ops"),
        (
            hcloud_server.declared,
            [server(placement_group="")],
            "placement group of the server prod-servers-1 from prod",
        ),
        (
            hcloud_volume.declared,
            [Volume("prod-data", 40, "prod-servers-1")],
            "from 50 GB to 40 GB: the API has no such",
        ),
        (
            hcloud_primary_ip.declared,
            [PrimaryIp("prod-entry", "ipv4", "nbg1")],
            "location of the primary_ip prod-entry",
        ),
        (hcloud_load_balancer.declared, [replace(BALANCER, location="hel1")], "location of the load_balancer prod-web"),
    ]
    for operation, arguments, words in cases:
        done = ran(cloud, operation, arguments)
        assert words in done.refused
        assert done.commands == []


def test_a_volume_grows_and_moves(cloud: Cloud) -> None:
    whole(cloud)
    there = the(cloud, "servers", "prod-servers-2")["location"]["name"]
    assert there == "fsn1"
    done = changed(cloud, hcloud_volume.declared, [Volume("prod-data", 60, "prod-servers-2", format="xfs")])
    assert done.changes["volume prod-data size"] == ("50 GB", "60 GB")
    assert done.changes["volume prod-data server"] == ("prod-servers-1", "prod-servers-2")
    assert the(cloud, "volumes", "prod-data")["server"] == the(cloud, "servers", "prod-servers-2")["id"]
    changed(cloud, hcloud_volume.declared, [Volume("prod-data", 60)])
    assert the(cloud, "volumes", "prod-data")["server"] is None
    changed(cloud, hcloud_volume.declared, [Volume("prod-data", 60), Volume("prod-spare", 10, location="hel1")])


def test_a_floating_address_moves(cloud: Cloud) -> None:
    whole(cloud)
    wanted = FloatingIp("prod-float", "ipv4", "fsn1", "prod-servers-2", "else.example")
    done = changed(cloud, hcloud_floating_ip.declared, [wanted])
    assert done.changes["floating_ip prod-float server"] == ("prod-servers-1", "prod-servers-2")
    assert the(cloud, "floating_ips", "prod-float")["dns_ptr"][0]["dns_ptr"] == "else.example"
    assert ran(cloud, hcloud_floating_ip.declared, [replace(wanted, server="")]).commands == []


def test_a_primary_address_outlives_its_server_again(cloud: Cloud) -> None:
    whole(cloud)
    cloud.do("PUT", f"primary_ips/{the(cloud, 'primary_ips', 'prod-entry')['id']}", auto_delete=True)
    changed(cloud, hcloud_primary_ip.declared, [PrimaryIp("prod-entry", "ipv4", "fsn1", "entry.example")])
    assert the(cloud, "primary_ips", "prod-entry")["auto_delete"] is False


def test_a_server_gets_the_address_that_was_kept_for_it(cloud: Cloud) -> None:
    whole(cloud)
    changed(cloud, hcloud_server.declared, [server(3, primary_ips={"ipv4": "prod-entry"}, firewalls=("prod-servers",))])
    made = the(cloud, "servers", "prod-servers-3")
    assert made["public_net"]["ipv4"]["ip"] == the(cloud, "primary_ips", "prod-entry")["ip"]


def test_a_load_balancer_is_as_declared_again(cloud: Cloud) -> None:
    whole(cloud)
    plain = {**HTTPS, "listen_port": 80, "destination_port": 8080, "proxyprotocol": False}
    wanted = replace(
        BALANCER,
        type="lb21",
        algorithm="least_connections",
        public=True,
        services=({**HTTPS, "proxyprotocol": False}, plain),
        selectors=(selector("prod", "workers"),),
    )
    done = changed(cloud, hcloud_load_balancer.declared, [wanted])
    found = the(cloud, "load_balancers", "prod-web")
    assert done.changes["load_balancer prod-web type"] == ("lb11", "lb21")
    assert {one["listen_port"]: one["proxyprotocol"] for one in found["services"]} == {443: False, 80: False}
    assert [one["label_selector"]["selector"] for one in found["targets"]] == [selector("prod", "workers")]
    changed(cloud, hcloud_load_balancer.declared, [replace(wanted, services=(HTTPS,))])
    assert [one["listen_port"] for one in the(cloud, "load_balancers", "prod-web")["services"]] == [443]
