"""A declared cloud project becomes a real one: planned, made, left alone, shrunk, with the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cloud_checkout import KINDS, SERVERS, Checkout, checkout, workers

CATALOGUE = ("server_types", "pricing")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Checkout]:
    with checkout(tmp_path) as found:
        yield found


def rules(plan: dict[str, Any]) -> dict[str, str]:
    """{name: arithmetic}."""
    return {rule["name"]: rule["arithmetic"] for rule in plan["rules"]}


def test_an_empty_project_is_planned_made_left_alone_and_shrunk(cloud: Checkout) -> None:
    cloud.strangers()
    cloud.declare(SERVERS, workers(3))
    _is_planned(cloud)
    cloud.apply()
    again = cloud.plan(0)
    assert "No changes." in again.out
    assert again.lists == dict.fromkeys([f"/{kind}" for kind in (*KINDS, *CATALOGUE)], 1)
    _is_as_declared(cloud)
    _is_shrunk_by_name_only(cloud)


def _is_planned(cloud: Checkout) -> None:
    said = cloud.plan(2).out
    assert "server prod-workers-1 type: (absent) -> cx32 in fsn1; may fall back, if it cannot be had, to cpx31" in said
    assert "server prod-workers-1 monthly cost: (absent) -> 7.30 EUR a month, net" in said
    assert "monthly cost: production: 0.00 EUR -> 43.80 EUR a month, net (+43.80)" in said
    assert "loss of a location: production: servers: losing fsn1 leaves 2 of 3 servers, quorum needs 2" in said
    assert "orphans: production: 1 server (pet): not ours, left alone" in said
    assert cloud.names("servers") == ["pet"]


def _is_as_declared(cloud: Checkout) -> None:
    there = {one["name"]: one for one in cloud.all("servers")}
    assert sorted(one["location"]["name"] for name, one in there.items() if "servers" in name) == [
        "fsn1",
        "hel1",
        "nbg1",
    ]
    assert {name: [net["ip"] for net in one["private_net"]] for name, one in there.items()} == {
        "pet": [],
        **{f"prod-servers-{number}": [f"10.0.0.{10 + number}"] for number in (1, 2, 3)},
        **{f"prod-workers-{number}": [f"10.0.0.{100 + number}"] for number in (1, 2, 3)},
    }
    assert {one["status"] for one in there.values()} == {"running"}
    assert cloud.names("placement_groups") == ["prod-servers-1", "prod-workers-1"]


def _is_shrunk_by_name_only(cloud: Checkout) -> None:
    cloud.declare(SERVERS, workers(1))
    refused = cloud.apply(3)
    assert (
        "REFUSED deletions are allowed by name: production: ours and no longer declared: server/prod-workers-2 (cx32 "
        "in nbg1, 6.80 EUR a month, net), server/prod-workers-3 (cx32 in hel1, 6.80 EUR a month, net); declare them, "
        "or name them in cloud_deletions"
    ) in refused.out
    assert len(cloud.names("servers")) == 7
    cloud.declare(SERVERS, workers(1), more='cloud_deletions = ("server/prod-workers-2", "server/prod-workers-3")')
    allowed = cloud.apply()
    assert "monthly cost: production: 43.80 EUR -> 29.20 EUR a month, net (-14.60)" in allowed.out
    assert cloud.names("servers") == ["pet", "prod-servers-1", "prod-servers-2", "prod-servers-3", "prod-workers-1"]


def test_what_is_sold_out_twice_is_bought_in_the_third_place_as_the_plan_said(cloud: Checkout) -> None:
    for location in ("fsn1", "nbg1"):
        cloud.fault("sold_out", location=location)
    cloud.declare(workers(1, 'groups=("servers",), '))
    done = cloud.apply()
    assert (
        "cx32 in fsn1; may fall back, if it cannot be had, to cpx31 in fsn1, cx32 in nbg1, cpx31 in nbg1, cx32 in hel1"
        in (done.out)
    )
    [found] = cloud.all("servers")
    assert (found["server_type"]["name"], found["location"]["name"]) == ("cx32", "hel1")


def test_a_project_without_room_is_told_before_anything_is_made(cloud: Checkout) -> None:
    cloud.declare(SERVERS, limits={"servers": 2})
    said = cloud.apply(3).out
    assert (
        "REFUSED a project's limits: production: servers: 0 there + 3 to create = 3, 1 more than the project's 2"
        in said
    )
    assert [cloud.all(kind) for kind in KINDS] == [[]] * len(KINDS)


MORE = """
from unterbau.declaration import CloudFloatingIp, CloudPrimaryIp, CloudVolume, HealthCheck, LoadBalancer
from unterbau.declaration import LoadBalancerService

cloud_volumes = (CloudVolume(name="archive", size_gib=50, location="nbg1", server="prod-workers-1"),)
cloud_primary_ips = (
    CloudPrimaryIp(name="first", location="nbg1", server="prod-workers-1", reverse_dns="a.example"),
)
cloud_floating_ips = (CloudFloatingIp(name="moving", location="fsn1", server="prod-workers-1"),)
cloud_load_balancers = (
    LoadBalancer(
        name="web", location="fsn1", network="main", targets=("workers",), public=True,
        services=(
            LoadBalancerService(
                listen_port=443, destination_port=8443, health_check=HealthCheck(protocol="http", path="/healthz")
            ),
            LoadBalancerService(listen_port=80, destination_port=8080),
        ),
    ),
)
"""


def test_what_servers_get_is_made_after_them_and_goes_before_them(cloud: Checkout) -> None:
    pool = workers(2, 'volumes=(PoolVolume(name="data", size_gib=10),), ')
    cloud.declare(SERVERS, pool, more=MORE)
    assert "monthly cost: production: 0.00 EUR -> 47.97 EUR" in cloud.apply().out
    [balancer] = cloud.all("load_balancers")
    assert len(balancer["targets"][0]["targets"]) == 2
    first = next(one for one in cloud.all("servers") if one["name"] == "prod-workers-1")
    assert first["location"]["name"] == "nbg1"  # where its address and its volume are
    assert len(first["volumes"]) == 2
    cloud.declare(SERVERS)
    names = [
        "load-balancer/web", "floating-ip/moving", "volume/archive", "volume/prod-workers-1-data",
        "volume/prod-workers-2-data", "server/prod-workers-1", "server/prod-workers-2", "primary-ip/first",
        "placement-group/prod-workers-1",
    ]  # fmt: skip
    cloud.declare(SERVERS, more=f"cloud_deletions = {tuple(names)}")
    cloud.apply()
    assert cloud.names("servers") == ["prod-servers-1", "prod-servers-2", "prod-servers-3"]
    assert cloud.all("volumes") == cloud.all("floating_ips") == cloud.all("load_balancers") == []
