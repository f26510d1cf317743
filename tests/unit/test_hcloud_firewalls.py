"""A firewall that servers got by name as they were made: it goes with their pool, and before it is deleted itself."""

from __future__ import annotations

from operations import hcloud_firewall, hcloud_withdrawal
from operations.hcloud_firewall import Firewall, Rule
from tests.unit.hcloud_run import CLUSTER, Cloud, cloud, ran  # noqa: F401  # a fixture
from unterbau.domain.cloud_labels import labels, selector

RULES = [Rule("in", "tcp", "22", ["192.0.2.0/24"])]
BEFORE = Firewall("nodes", RULES, [selector(CLUSTER, "servers")], servers=["prod-servers-1"])
AFTER = Firewall("nodes", RULES)


def made(cloud: Cloud) -> None:  # noqa: F811
    """A server that got the firewall with its creation, and one of somebody else that has it too."""
    assert not ran(cloud, hcloud_firewall.declared, [BEFORE]).error
    [firewall] = cloud.all("firewalls")
    body = {
        "server_type": "cx22",
        "location": "fsn1",
        "image": "debian-12",
        "firewalls": [{"firewall": firewall["id"]}],
    }
    cloud.make("servers", name="prod-servers-1", labels=labels(CLUSTER, "servers"), **body)
    cloud.make("servers", name="pet", **body)
    cloud.again()


def filtered(cloud: Cloud) -> list[str]:  # noqa: F811
    """Names of servers that a firewall was given to by name."""
    names = {one["id"]: one["name"] for one in cloud.all("servers")}
    applied = [one for firewall in cloud.all("firewalls") for one in firewall["applied_to"]]
    return sorted(names[one["server"]["id"]] for one in applied if one["type"] == "server")


def test_as_declared_nothing_is_done(cloud: Cloud) -> None:  # noqa: F811
    made(cloud)
    again = ran(cloud, hcloud_firewall.declared, [BEFORE])
    assert (again.commands, again.refused) == ([], "")
    assert filtered(cloud) == ["pet", "prod-servers-1"]


def test_a_pool_that_is_taken_out_is_filtered_no_more(cloud: Cloud) -> None:  # noqa: F811
    made(cloud)
    done = ran(cloud, hcloud_firewall.declared, [AFTER])
    assert not done.error
    assert done.changes["firewall nodes servers of other pools"] == ("prod-servers-1", None)
    assert filtered(cloud) == ["pet"]
    cloud.again()
    assert ran(cloud, hcloud_firewall.declared, [AFTER]).commands == []


def test_one_that_goes_lets_go_of_ours_first(cloud: Cloud) -> None:  # noqa: F811
    made(cloud)
    [pet] = [one for one in cloud.all("servers") if one["name"] == "pet"]
    cloud.do("DELETE", f"servers/{pet['id']}")
    names = {"servers": ["prod-servers-1"], "primary_ips": [one["name"] for one in cloud.all("primary_ips")]}
    done = ran(cloud, hcloud_withdrawal.exactly, names, deletions=["firewall/nodes"])
    assert (done.error, done.refused) == ("", "")
    assert cloud.names("firewalls") == []
