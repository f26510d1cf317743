"""What goes wrong while a cloud project is made: it converges or says why, nothing comes twice, nothing is nobody's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cloud_checkout import KINDS, SERVERS, Checkout, checkout, workers
from unterbau.domain.cloud_labels import ours

TIMES, SEED = 20, 6
KILLED = -9
PLAN = 11  # requests that a plan of it takes: what follows changes something


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Checkout]:
    with checkout(tmp_path) as found:
        yield found


def nothing_is_twice_or_nobodys(cloud: Checkout, *servers: str) -> None:
    """An address that came with a server has no labels, and goes with it."""
    assert set(cloud.names("servers")) <= set(servers)
    for kind in KINDS:
        there = [one for one in cloud.all(kind) if not one.get("auto_delete")]
        assert len({one["name"] for one in there}) == len(there)
        assert [one["name"] for one in there if not ours(one["labels"], "prod")] == []
    ids = {one["id"] for one in cloud.all("servers")}
    assert {one["assignee_id"] for one in cloud.all("primary_ips")} <= ids


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limited", "path": "/servers", "method": "POST", "times": 2},
        {"kind": "error", "path": "/networks", "method": "POST", "status": 502, "times": 2},
        {"kind": "lost_answer", "path": "/servers", "method": "POST", "times": 1},
        {"kind": "dropped_page", "path": "/servers", "page": 1, "times": 1},
        {"kind": "no_placement", "location": "fsn1", "times": 1},
        {"kind": "slow", "command": "create_server", "seconds": 0.2, "times": 1},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_fault_that_passes_is_outlived(cloud: Checkout, fault: dict[str, Any]) -> None:
    cloud.declare(workers(1, 'groups=("servers",), '))
    cloud.fault(**fault)
    cloud.apply()
    assert cloud.api.faults() == []  # it did happen
    nothing_is_twice_or_nobodys(cloud, "prod-workers-1")
    assert cloud.names("servers") == ["prod-workers-1"]


@pytest.mark.parametrize(
    ("fault", "said", "later"),
    [
        ({"kind": "error", "path": "/servers", "method": "POST", "status": 503}, "found unavailable", ""),
        ({"kind": "lost_answer", "path": "/servers", "method": "POST", "status": 503}, "found unavailable", ""),
        ({"kind": "failing", "command": "attach_to_network"}, "its action attach_to_network failed: action_failed", ""),
        (
            {"kind": "half_created"},
            "cannot create server prod-workers-1: its action create_server failed: service_error",
            "servers/prod-workers-1 is not as it was set within 60 s, found status initializing; look at it in the "
            "project's console",
        ),
    ],
    ids=lambda fault: fault["kind"] if isinstance(fault, dict) else "",
)
def test_a_fault_that_stops_a_run_is_said_and_the_next_run_goes_on(
    cloud: Checkout, fault: dict[str, Any], said: str, later: str
) -> None:
    cloud.declare(workers(1, 'groups=("servers",), '))
    cloud.fault(**fault, times=1)
    assert said in cloud.apply(1).out
    nothing_is_twice_or_nobodys(cloud, "prod-workers-1")
    again = cloud.apply(1 if later else 0)
    assert later in again.out
    nothing_is_twice_or_nobodys(cloud, "prod-workers-1")
    assert cloud.names("servers") == ["prod-workers-1"]


def test_killed_at_twenty_moments_the_next_run_goes_on_with_what_is_there(cloud: Checkout) -> None:
    """One project that is made by runs of which each is killed when one of its requests arrives."""
    moments = random.Random(SEED)  # noqa: S311  # which moments is no secret
    cloud.declare(SERVERS, workers(10, 'volumes=(PoolVolume(name="data", size_gib=10),), '))
    names = [f"prod-servers-{number}" for number in (1, 2, 3)] + [f"prod-workers-{number}" for number in range(1, 11)]
    for _ in range(TIMES):
        ran = cloud.run(
            "apply", "demo", "-y", kill_at=moments.randint(PLAN + 1, PLAN + 9), carried_out=moments.random() < 0.5
        )
        assert ran.code == KILLED, ran.out + ran.err
        nothing_is_twice_or_nobodys(cloud, *names)
    assert len(cloud.names("servers")) > 1
    cloud.apply()
    nothing_is_twice_or_nobodys(cloud, *names)
    assert cloud.names("servers") == sorted(names)
    assert "No changes." in cloud.plan(0).out
