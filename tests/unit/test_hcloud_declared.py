"""What a cloud project's data come to: names, addresses, groups of ten, and what is bound to one location."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from operations.hcloud_declared import Declared, declared
from unterbau.declaration import CloudProject, load
from unterbau.domain.cloud_labels import selector

BAD = Path(__file__).parent.parent / "bad"


@pytest.fixture
def found(tmp_path: Path) -> Declared:
    root = Path(shutil.copytree(BAD / "base", tmp_path / "base"))
    shutil.copytree(BAD / "base_cloud", root, dirs_exist_ok=True)
    data = root / "group_data" / "hcloud.py"
    data.write_text(data.read_text().replace("count=2,", "count=12,"))
    environment = load("demo", root)
    [project] = [one for one in environment.endpoints if isinstance(one, CloudProject)]
    return declared(project, environment.endpoint_data["cloud"])


def test_a_server_is_known_before_it_exists(found: Declared) -> None:
    first, last = found.servers[0], found.servers[-1]
    assert (first.name, dict(first.networks), first.placement_group) == (
        "demo-servers-1", {"main": "10.9.0.31"}, "demo-servers-1",
    )  # fmt: skip
    assert (last.name, dict(last.networks), last.placement_group) == (
        "demo-workers-12", {"main": "10.9.0.52"}, "demo-workers-2",
    )  # fmt: skip
    assert last.labels == {
        "cluster": "demo", "example.com/tier": "batch", "group-storage": "true", "group-workers": "true",
        "managed-by": "unterbau", "pool": "workers",
    }  # fmt: skip
    assert list(found.placement_groups) == ["demo-servers-1", "demo-workers-1", "demo-workers-2"]
    assert (first.firewalls, first.primary_ips, first.pin) == (["base"], {"ipv4": "first"}, "known_hosts")


def test_what_is_bound_to_a_location_binds_its_server(found: Declared) -> None:
    servers, workers = found.pools
    assert servers.places == {"demo-servers-1": "fsn1"}  # its address is there
    assert workers.places == {"demo-workers-1": "nbg1"}  # its volume is there
    assert (servers.votes, workers.votes, servers.most_per_location) == (True, False, 1)


def test_every_name_is_told_by_kind(found: Declared) -> None:
    counts = {kind: len(names) for kind, names in found.names.items()}
    assert counts == {
        "servers": 15, "volumes": 13, "networks": 1, "firewalls": 2, "primary_ips": 1, "floating_ips": 1,
        "load_balancers": 1, "ssh_keys": 1, "placement_groups": 3,
    }  # fmt: skip
    assert found.addresses["demo-servers-1"] == 1  # one of its two is kept
    assert found.addresses["demo-workers-1"] == 2


def test_firewalls_and_load_balancers_mean_pools_by_their_labels(found: Declared) -> None:
    assert found.firewalls[0].selectors == [selector("demo", "servers"), selector("demo", "workers")]
    [balancer] = found.load_balancers
    assert balancer.selectors == [selector("demo", "workers")]
    [service] = balancer.services
    assert service["health_check"] == {
        "protocol": "http", "port": 8443, "interval": 15, "timeout": 10, "retries": 3,
        "http": {"path": "/healthz", "status_codes": ["2??", "3??"], "tls": False},
    }  # fmt: skip
