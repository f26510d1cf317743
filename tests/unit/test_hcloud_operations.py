"""Operations of a cloud project against the lab's cloud: made once, whatever fails meanwhile, or refused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from operations import (
    hcloud_quota,
    hcloud_server,
    hcloud_withdrawal,
)
from tests.unit.hcloud_run import Cloud, KilledError, cloud, ran
from tests.unit.hcloud_site import (
    DECLARED,
    KINDS,
    MONTHLY,
    STEPS,
    failures,
    prepared,
    server,
    site,
    whole,
)
from unterbau.domain.cloud_labels import labels
from unterbau.secrets.hidden import Hidden

__all__ = ["cloud"]


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
