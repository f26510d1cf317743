"""Operations of a cloud project against the lab's cloud: made, left alone, corrected, refused, deleted by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from operations import (
    hcloud_firewall,
    hcloud_floating_ip,
    hcloud_load_balancer,
    hcloud_network,
    hcloud_placement_group,
    hcloud_primary_ip,
    hcloud_quota,
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
from unterbau.secrets.hidden import Hidden

__all__ = ["cloud"]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHmVYyPwpVpbiCwPAZ5m1fSSgBbcLGXN1oYm9wPl8QcJ ops"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK9XvvTj4Qbm5XKbRzXqB1Q2uWvK0cHcUz9Jd3oB7m2S other"
POOL = {"pool": "servers", "group-servers": "true"}
PLACES = (("cx32", "fsn1"), ("cx32", "nbg1"), ("cpx31", "hel1"))
MONTHLY = "6.80 EUR a month, net"
NETWORK = Network("prod", "10.0.0.0/16", [Subnet("10.0.0.0/24")], (("10.9.0.0/24", "10.0.0.7"),))
FIREWALL = Firewall(
    "prod-servers",
    [Rule("in", "tcp", "22", ["192.0.2.0/24"], description="SSH"), Rule("in", "icmp", sources=["0.0.0.0/0", "::/0"])],
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
    wanted = {"ssh_keys": ("ops",), "labels": POOL, "networks": {"prod": f"10.0.0.{10 + number}"}, **more}
    wanted = {"placement_group": "prod-servers-1", **wanted}
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
    "ssh_keys": ["ops"],
    "networks": ["prod"],
    "placement_groups": ["prod-servers-1"],
    "firewalls": ["prod-servers"],
    "primary_ips": ["prod-entry"],
    "servers": ["prod-servers-1", "prod-servers-2"],
    "volumes": ["prod-data"],
    "floating_ips": ["prod-float"],
    "load_balancers": ["prod-web"],
}
KINDS = list(DECLARED)


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
    assert sorted(cloud.asked) == sorted(f"GET /{kind}" for kind in (*KINDS, "pricing"))
    for kind in KINDS:
        ours = [one for one in cloud.all(kind) if one["labels"]]
        assert all(labels("prod").items() <= one["labels"].items() for one in ours)
        assert sorted(one["name"] for one in ours) == DECLARED[kind]


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
    said = ran(cloud, hcloud_server.declared, [server(monthly_cost=MONTHLY)]).changes
    subject = "server prod-servers-1"
    assert said[f"{subject} type"] == (
        None,
        "cx32 in fsn1; may fall back, if it cannot be had, to cx32 in nbg1, cpx31 in hel1",
    )
    assert said[f"{subject} monthly cost"] == (None, MONTHLY)
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
    assert "tried cx32 in fsn1 (resource_unavailable: " in done.error
    assert "cpx31 in hel1 (resource_unavailable: " in done.error
    assert cloud.all("servers") == []


def test_who_was_had_elsewhere_than_planned_counts_for_the_next(cloud: Cloud) -> None:
    prepared(cloud)
    cloud.fault("sold_out", location="fsn1", times=1)
    spread = {"spread": True, "most_per_location": 1}
    assert not ran(cloud, hcloud_server.declared, [server(number, **spread) for number in (1, 2, 3)]).error
    assert [one["location"]["name"] for one in cloud.all("servers")] == ["nbg1", "fsn1", "hel1"]
    error = ran(cloud, hcloud_server.declared, [server(4, **spread)]).error
    assert "tried nothing; not tried: cx32 in fsn1 (1 of at most 1 servers are there" in error


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
        kind: len(DECLARED[kind]) for kind in KINDS
    }


@pytest.mark.parametrize(
    ("command", "stays"),
    [
        (
            "create_server",
            "servers/prod-servers-1 is not as it was set within 60 s, found status initializing; look at",
        ),
        ("create_volume", "volumes/prod-data is not as it was set within 60 s, found status creating; look at"),
        ("attach_to_network", ""),
        ("change_protection", ""),
        ("start_server", ""),
    ],
)
def test_after_a_failing_action_the_next_run_converges_or_says_what_stays(
    cloud: Cloud, command: str, stays: str
) -> None:
    cloud.fault("failing", command=command, times=1)
    (first,) = failures(site(cloud))
    assert f"its action {command} failed: action_failed" in first
    cloud.again()
    assert stays in "".join(failures(site(cloud)))
    assert bool(stays) == bool(failures(site(cloud)))
    assert sorted(set(cloud.names("servers"))) == cloud.names("servers")


@pytest.mark.parametrize("kill_at", range(0, 80, 4))
def test_a_killed_run_leaves_nothing_twice_and_nothing_that_is_nobody_s(cloud: Cloud, kill_at: int) -> None:
    cloud.again(kill_at=kill_at, before=kill_at % 8 == 0)
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
        assert sorted(one["name"] for one in cloud.all(kind) if one["labels"]) == DECLARED[kind]


def whole(cloud: Cloud) -> None:
    """All that is declared, as it was made."""
    assert failures(site(cloud)) == []
    cloud.again()


def changed(cloud: Cloud, operation: Callable[..., Any], *arguments: Any, **more: Any) -> Ran:
    """Run it, and see that another run has nothing to do."""
    done = ran(cloud, operation, *arguments, **more)
    assert done.commands
    assert not done.error + done.refused
    cloud.again()
    assert ran(cloud, operation, *arguments, **more).commands == []
    return done


def the(cloud: Cloud, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in cloud.all(kind) if one["name"] == name)


def act(cloud: Cloud, kind: str, name: str, action: str, **body: Any) -> None:
    """Somebody's doing in the console."""
    cloud.do("POST", f"{kind}/{the(cloud, kind, name)['id']}/actions/{action}", **body)


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


def test_what_is_not_ours_is_left_alone_until_somebody_labels_it(cloud: Cloud) -> None:
    cloud.make("networks", name="prod", ip_range="10.0.0.0/16")
    done = ran(cloud, hcloud_network.declared, [NETWORK])
    assert done.refused == (
        "cannot make the network prod on production: found one that is not ours; rename what is declared, or label "
        "that one cluster=prod, managed-by=unterbau: then it becomes ours"
    )
    cloud.do("PUT", f"networks/{the(cloud, 'networks', 'prod')['id']}", labels=labels("prod"))
    cloud.again()
    changed(cloud, hcloud_network.declared, [NETWORK])


def test_what_is_left_over_is_named_and_deleted_by_name_only(cloud: Cloud) -> None:
    whole(cloud)
    cloud.make("servers", name="pet", server_type="cx22", image="debian-12", location="fsn1")
    left = {**DECLARED, "servers": ["prod-servers-1"]}
    done = ran(cloud, hcloud_withdrawal.exactly, left, deletions=["server/prod-servers-1", "server/pet"])
    assert done.refused == (
        f"ours and no longer declared: server/prod-servers-2 (cx32 in fsn1, {MONTHLY}); declare them, or name them in "
        "cloud_deletions"
    )
    assert done.commands == []
    allowed = ["server/prod-servers-2", "server/pet"]
    done = ran(cloud, hcloud_withdrawal.exactly, left, deletions=allowed)
    assert not done.error + done.refused
    assert done.changes["server prod-servers-2"] == ("present, cx32 in fsn1, 6.80 EUR a month, net", None)
    assert [rule.arithmetic for rule in done.said.rules] == [
        "server/prod-servers-2 (cx32 in fsn1, 6.80 EUR a month, net): in cloud_deletions"
    ]
    assert cloud.names("servers") == ["pet", "prod-servers-1"]
    cloud.again()
    assert ran(cloud, hcloud_withdrawal.exactly, left, deletions=allowed).noops == ["nothing of ours is left over"]


def test_a_whole_project_goes_in_an_order_that_the_api_allows(cloud: Cloud) -> None:
    whole(cloud)
    allowed = [f"{kind[:-1].replace('_', '-')}/{name}" for kind, names in DECLARED.items() for name in names]
    done = ran(cloud, hcloud_withdrawal.exactly, {}, deletions=allowed)
    assert not done.error + done.refused
    assert {kind: cloud.names(kind) for kind in KINDS} == {kind: [] for kind in KINDS}


@pytest.mark.parametrize("kill_at", range(0, 40, 4))
def test_a_killed_withdrawal_goes_on(cloud: Cloud, kill_at: int) -> None:
    whole(cloud)
    allowed = [f"{kind[:-1].replace('_', '-')}/{name}" for kind, names in DECLARED.items() for name in names]
    cloud.again(kill_at=kill_at, before=kill_at % 8 == 0)
    with suppress(KilledError):
        ran(cloud, hcloud_withdrawal.exactly, {}, deletions=allowed)
    cloud.api.settle()
    cloud.again()
    assert failures([ran(cloud, hcloud_withdrawal.exactly, {}, deletions=allowed)]) == []
    assert [cloud.names(kind) for kind in KINDS] == [[]] * len(KINDS)


def test_what_is_in_user_data_is_no_secret_and_nobody_gets_a_password_by_mail(cloud: Cloud) -> None:
    Hidden("a-secret-of-the-platform")
    prepared(cloud)
    for wanted, words in [
        (server(user_data="#cloud-config\npassword: a-secret-of-the-platform"), "found a secret in its user data"),
        (server(user_data="x" * 40000), "found user data of 40000 bytes, of at most 32 KiB"),
        (server(ssh_keys=()), "found no SSH key, so its root would get a password by mail"),
        (replace(server(), candidates=()), "found no type and location to ask for"),
    ]:
        done = ran(cloud, hcloud_server.declared, [wanted])
        assert words in done.refused
        assert done.commands == []
    assert cloud.all("servers") == []


def test_an_api_that_refuses_the_token_changes_nothing(cloud: Cloud) -> None:
    cloud.one._keyring = lambda: SimpleNamespace(value=lambda name: Hidden("another-token"))  # type: ignore[assignment, method-assign, return-value]
    for operation, arguments in STEPS:
        done = ran(cloud, operation, *arguments)
        assert "could not be read; see the error above" in done.refused
        assert done.commands == []
    assert "could not be read" in ran(cloud, hcloud_withdrawal.exactly, {}).refused


def test_a_hundred_and_twenty_servers_cost_pages_only(cloud: Cloud) -> None:
    prepared(cloud)
    fleet = [server(number, placement_group="") for number in range(1, 121)]
    assert not ran(cloud, hcloud_server.declared, fleet[:3]).error
    for one in fleet[3:]:
        cloud.make(
            "servers",
            name=one.name,
            server_type="cx32",
            image="debian-12",
            location="fsn1",
            labels=labels("prod", "servers", ["servers"]),
        )
    cloud.again()
    plan = ran(cloud, hcloud_withdrawal.exactly, {**DECLARED, "servers": [one.name for one in fleet]})
    assert plan.noops == ["nothing of ours is left over"]
    assert cloud.asked.count("GET /servers") == 3
    assert len(cloud.asked) == 2 + len([*KINDS, "pricing"]) + cloud.asked.count("GET /primary_ips") - 1


@pytest.mark.parametrize(("limit", "passed"), [(3, True), (2, False)])
def test_room_is_asked_for_before_anything_is_made(cloud: Cloud, limit: int, passed: bool) -> None:
    whole(cloud)
    declared = {"servers": ["prod-servers-1", "prod-servers-2", "prod-servers-3"], "firewalls": ["prod-servers"]}
    more = {"limits": {"servers": limit}, "addresses": {"prod-servers-3": 2}}
    done = ran(cloud, hcloud_quota.enough, declared, **more)
    found = {rule.arithmetic.partition(":")[0]: rule.passed for rule in done.said.rules}
    assert found == {"servers": passed, "primary ips": True}
