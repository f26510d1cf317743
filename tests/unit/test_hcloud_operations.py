"""Operations of a cloud project against the lab's cloud: made, left alone, corrected, refused, deleted by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from operations import (
    hcloud_firewall,
    hcloud_floating_ip,
    hcloud_load_balancer,
    hcloud_network,
    hcloud_placement_group,
    hcloud_primary_ip,
    hcloud_server,
    hcloud_ssh_key,
    hcloud_volume,
    hcloud_withdrawal,
)
from operations.hcloud_firewall import Firewall, Rule
from operations.hcloud_floating_ip import FloatingIp
from operations.hcloud_load_balancer import LoadBalancer
from operations.hcloud_network import Network, Subnet
from operations.hcloud_primary_ip import PrimaryIp
from operations.hcloud_server import Server
from operations.hcloud_volume import Volume
from tests.unit.hcloud_run import Cloud, KilledError, Ran, cloud, ran
from unterbau.domain.cloud_labels import labels, selector

__all__ = ["cloud"]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHmVYyPwpVpbiCwPAZ5m1fSSgBbcLGXN1oYm9wPl8QcJ ops"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK9XvvTj4Qbm5XKbRzXqB1Q2uWvK0cHcUz9Jd3oB7m2S other"
POOL = {"pool": "servers", "group-servers": "true"}
PLACES = (("cx32", "fsn1"), ("cx32", "nbg1"), ("cpx31", "hel1"))
MONTHLY = {"cx32 in fsn1": "6.80 EUR"}
NETWORK = Network("prod", "10.0.0.0/16", (Subnet("10.0.0.0/24"),), (("10.9.0.0/24", "10.0.0.7"),))
FIREWALL = Firewall(
    "prod-servers",
    (Rule("in", "tcp", "22", ["192.0.2.0/24"], description="SSH"), Rule("in", "icmp", sources=["0.0.0.0/0", "::/0"])),
    (selector("prod", "servers"),),
)
HTTPS: dict[str, Any] = {
    "protocol": "tcp",
    "listen_port": 443,
    "destination_port": 8443,
    "proxyprotocol": True,
    "health_check": {"protocol": "tcp", "port": 8443, "interval": 15, "timeout": 10, "retries": 3},
}
BALANCER = LoadBalancer("prod-web", "lb11", "fsn1", (HTTPS,), (selector("prod", "servers"),), "prod", public=False)


def server(number: int = 1, **more: Any) -> Server:
    wanted = {"ssh_keys": ("ops",), "labels": POOL, "networks": ("prod",), "placement_group": "prod-servers-1", **more}
    return Server(f"prod-servers-{number}", PLACES, "debian-12", **wanted)


STEPS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (hcloud_ssh_key.declared, ({"ops": KEY},)),
    (hcloud_network.declared, ([NETWORK],)),
    (hcloud_placement_group.declared, ({"prod-servers-1": {"pool": "servers"}},)),
    (hcloud_firewall.declared, ([FIREWALL],)),
    (hcloud_primary_ip.declared, ([PrimaryIp("prod-entry", "ipv4", "fsn1", "entry.example")],)),
    (hcloud_server.declared, ([server(1), server(2, reverse_dns={"ipv4": "two.example", "ipv6": "two.example"})],)),
    (hcloud_volume.declared, ([Volume("prod-data", 50, "prod-servers-1", format="xfs")],)),
    (hcloud_floating_ip.declared, ([FloatingIp("prod-float", "ipv4", "fsn1", "prod-servers-1", "float.example")],)),
    (hcloud_load_balancer.declared, ([BALANCER],)),
]
DECLARED = {
    "ssh_key": ["ops"],
    "network": ["prod"],
    "placement_group": ["prod-servers-1"],
    "firewall": ["prod-servers"],
    "primary_ip": ["prod-entry"],
    "server": ["prod-servers-1", "prod-servers-2"],
    "volume": ["prod-data"],
    "floating_ip": ["prod-float"],
    "load_balancer": ["prod-web"],
}
KINDS = [f"{kind}s" for kind in DECLARED]


def site(cloud: Cloud) -> list[Ran]:
    """Every step, to the first that fails."""
    done: list[Ran] = []
    for operation, arguments in STEPS:
        done.append(ran(cloud, operation, *arguments))
        if done[-1].error or done[-1].refused:
            break
    return done


def failures(done: list[Ran]) -> list[str]:
    return [one.error or one.refused for one in done if one.error or one.refused]


def test_an_empty_project_is_filled_and_the_second_run_asks_for_each_kind_once(cloud: Cloud) -> None:
    assert failures(site(cloud)) == []
    cloud.again()
    again = [*site(cloud), ran(cloud, hcloud_withdrawal.exactly, DECLARED)]
    assert failures(again) == []
    assert [one.commands for one in again] == [[]] * 10
    assert all(one.noops for one in again)
    assert [one.said.changes for one in again] == [[]] * 10
    assert sorted(cloud.asked) == sorted(f"GET /{kind}" for kind in KINDS)
    for kind in KINDS:
        ours = [one for one in cloud.all(kind) if one["labels"]]
        assert all(labels("prod").items() <= one["labels"].items() for one in ours)
        assert sorted(one["name"] for one in ours) == DECLARED[kind[:-1]]


def test_servers_are_as_declared(cloud: Cloud) -> None:
    site(cloud)
    first, second = cloud.all("servers")
    assert first["labels"] == labels("prod", "servers", ["servers"])
    assert first["status"] == "running"
    assert first["protection"] == {"delete": True, "rebuild": True}
    assert first["placement_group"]["name"] == "prod-servers-1"
    assert [one["network"] for one in first["private_net"]] == [cloud.all("networks")[0]["id"]]
    assert [one["status"] for one in first["public_net"]["firewalls"]] == ["applied"]
    assert second["public_net"]["ipv4"]["dns_ptr"] == "two.example"
    assert [one["dns_ptr"] for one in second["public_net"]["ipv6"]["dns_ptr"]] == ["two.example"]
    assert cloud.all("volumes")[0]["server"] == first["id"]


def test_a_plan_says_where_a_server_may_go_and_what_it_costs(cloud: Cloud) -> None:
    prepared(cloud)
    said = ran(cloud, hcloud_server.declared, [server()], monthly=MONTHLY).changes
    subject = "server prod-servers-1"
    assert said[f"{subject} type"] == (None, "cx32 in fsn1, or else cx32 in nbg1, or else cpx31 in hel1")
    assert said[f"{subject} monthly cost"] == (None, "6.80 EUR")
    assert said[f"{subject} labels"][1] == "cluster=prod, group-servers=true, managed-by=unterbau, pool=servers"


def prepared(cloud: Cloud) -> None:
    """All that servers need."""
    for operation, arguments in STEPS[:4]:
        done = ran(cloud, operation, *arguments)
        assert not done.error + done.refused
    cloud.again()


def test_what_is_sold_out_twice_is_bought_in_the_third_place(cloud: Cloud) -> None:
    prepared(cloud)
    cloud.fault("sold_out", location="fsn1")
    cloud.fault("sold_out", location="nbg1")
    assert not ran(cloud, hcloud_server.declared, [server()]).error
    (made,) = cloud.all("servers")
    assert (made["server_type"]["name"], made["location"]["name"]) == ("cpx31", "hel1")
    cloud.again()
    assert ran(cloud, hcloud_server.declared, [server()]).commands == []


def test_what_is_sold_out_everywhere_is_said_with_all_that_was_tried(cloud: Cloud) -> None:
    prepared(cloud)
    cloud.fault("sold_out")
    done = ran(cloud, hcloud_server.declared, [server()])
    assert "tried 3, none can be had: cx32 in fsn1 (resource_unavailable:" in done.error
    assert cloud.all("servers") == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limited", "times": 3},
        {"kind": "error", "status": 502, "times": 3},
        {"kind": "error", "status": 503, "method": "GET", "times": 2},
        {"kind": "lost_answer", "status": 504, "method": "POST", "path": "/servers", "times": 1},
        {"kind": "lost_answer", "status": 502, "method": "POST", "path": "/networks", "times": 1},
        {"kind": "dropped_page", "times": 2},
    ],
)
def test_a_fault_that_passes_is_outlived_and_nothing_comes_twice(cloud: Cloud, fault: dict[str, Any]) -> None:
    cloud.fault(**fault)
    assert failures(site(cloud)) == []
    assert {kind: len([one for one in cloud.all(kind) if one["labels"]]) for kind in KINDS} == {
        kind: len(DECLARED[kind[:-1]]) for kind in KINDS
    }


@pytest.mark.parametrize("command", ["create_server", "attach_to_network", "change_protection", "create_volume"])
def test_a_failing_action_ends_the_run_and_the_next_one_converges_or_says_why(cloud: Cloud, command: str) -> None:
    cloud.fault("failing", command=command, times=1)
    assert len(failures(site(cloud))) == 1
    cloud.again()
    again = failures(site(cloud))
    assert again == [] or "server prod-servers" in again[0]
    assert len(cloud.names("servers")) <= 2


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kill_at", range(0, 90, 3))
def test_a_killed_run_leaves_nothing_twice_and_nothing_that_is_nobody_s(
    cloud: Cloud, kill_at: int, before: bool
) -> None:
    cloud.again(kill_at=kill_at, before=before)
    with suppress(KilledError):
        site(cloud)
    cloud.api.settle()
    cloud.again()
    assert failures(site(cloud)) == []
    cloud.again()
    again = [*site(cloud), ran(cloud, hcloud_withdrawal.exactly, DECLARED)]
    assert failures(again) == []
    assert [one.commands for one in again] == [[]] * 10
    for kind in KINDS:
        assert sorted(one["name"] for one in cloud.all(kind) if one["labels"]) == DECLARED[kind[:-1]]
