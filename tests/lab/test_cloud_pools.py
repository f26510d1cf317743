"""Pools of a cloud whose servers are nodes of K3s: they grow, shrink and get a new first server, from the cloud up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hcloud import Client
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.networks import BoundNetwork
from hcloud.server_types import ServerType

from tests.lab.commands import ROOT
from tests.lab.conftest import LabCommand
from tests.lab.k3s import DATA, INSTALLED, KUBECTL, Cluster, Prober
from tests.lab.test_cloud_machines import client_of, finish
from unterbau.lab.cloud import kept

pytestmark = pytest.mark.lab

INVENTORY = """\
from unterbau.declaration import CloudProject, SecretRef, SecretStore, endpoints, nodes_of

store = endpoints(SecretStore(path="{state}/secrets/store.age", identity="{state}/secrets/identity.txt"))
hcloud = endpoints(
    CloudProject(
        name="cloud", token=SecretRef("hcloud/token"), cluster="{name}", endpoint="ENDPOINT",
        known_hosts="{state}/cloud/known_hosts", ssh_key="{state}/ssh/id_ed25519",
    ),
)
nodes = nodes_of("cloud")
"""
POOLS = """\
from unterbau.declaration import CloudNetwork, CloudSshKey, CloudSubnet, NodePool, Secret, public_key_file

secrets_hcloud = (Secret(name="hcloud/token"),)
cloud_networks = (CloudNetwork(name="private", cidr="SUBNET", subnets=(CloudSubnet(cidr="SUBNET"),)),)
cloud_ssh_keys = (CloudSshKey(name="operator", public_key=public_key_file("STATE/ssh/id_ed25519.pub", made_by="")),)
node_pools = (
    NodePool(
        name="servers", prefix="LAB-srv", count=3, types=("cx32",), locations=("fsn1", "nbg1", "hel1"),
        network="private", first_address="FIRST.11", survives_location=True, public_ipv4=False, public_ipv6=False,
    ),
    NodePool(
        name="workers", prefix="LAB-wrk", count=COUNT, types=("cx22",), locations=("fsn1", "nbg1"),
        network="private", first_address="FIRST.21", public_ipv4=False, public_ipv6=False,
    ),
)
cloud_deletions = DELETIONS
"""
# Seven nodes have a slot each in the window of a night.
WINDOW = """\
from unterbau.declaration import SecurityUpgrades

security_upgrades = SecurityUpgrades(reboot_window_start="02:00", reboot_window_minutes=180, slot_minutes=20)
"""
LEFT = ["wrk-4", "wrk-3", "wrk-2"]  # as a pool shrinks: the highest numbers go


@dataclass
class CloudCluster(Cluster):
    """The same on machines of the lab's cloud."""

    count: int = 2
    deletions: tuple[str, ...] = ()
    inventory: str = INVENTORY
    site: str = (ROOT / "deploys" / "site.py").read_text()

    def write(self, **changed: str) -> None:
        lab = self.command.lab
        self.inventory = INVENTORY.replace("ENDPOINT", lab.cloud_endpoint)
        super().write(**changed)
        own = {
            "SUBNET": str(lab.subnet), "STATE": str(lab.state), "LAB": lab.name, "COUNT": str(self.count),
            "FIRST": str(lab.subnet.network_address).rpartition(".")[0], "DELETIONS": repr(self.deletions),
        }  # fmt: skip
        text = POOLS
        for word, value in own.items():
            text = text.replace(word, value)
        (self.root / "group_data" / "hcloud.py").write_text(text)

    def _nodes(self, names: list[str]) -> str:  # the pools say who is a node
        return ""

    def declare(self, count: int, *deletions: str) -> None:
        """So many workers from now on, and what may be deleted."""
        self.count, self.deletions = count, tuple(f"server/{self.name(short)}" for short in deletions)
        self.workers = [f"wrk-{number}" for number in range(1, count + 1)]
        self.write()

    @property
    def cloud(self) -> Client:
        return client_of(self.command.lab)

    def servers_of(self) -> dict[str, int]:
        """{name: id} of all servers of the project, whoever's."""
        return {one.name: one.id for one in self.cloud.servers.get_all()}


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudCluster]:
    """A cloud with an empty project."""
    spare_command.must("down")
    spare_command.environment["UNTERBAU_LAB_PACKAGES"] = INSTALLED
    spare_command.must("cloud", "up")
    made = CloudCluster(spare_command, tmp_path_factory.mktemp("cloud-pools"), data=DATA + WINDOW)
    made.write()
    yield made
    spare_command.must("down")


def rules(plan: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    return {rule["name"]: (rule["passed"], rule["arithmetic"]) for rule in plan["rules"]}


def layers(plan: dict[str, Any]) -> list[str]:
    """In the order in which a plan goes through them."""
    return list(dict.fromkeys(change["layer"] for change in plan["changes"]))


def everybody(cluster: CloudCluster, workers: int) -> list[str]:
    names = ["srv-1", "srv-2", "srv-3", *(f"wrk-{number}" for number in range(1, workers + 1))]
    return sorted(map(cluster.name, names))


def stranger(cluster: CloudCluster) -> int:
    """A server that somebody else made in the project, in the same network and without a label."""
    made = cluster.cloud.servers.create(
        "stranger", ServerType(name="cx22"), Image(name="debian-12"), location=Location(name="fsn1"),
        networks=[BoundNetwork(cluster.cloud.networks, {"id": cluster.cloud.networks.get_by_name("private").id})],
    )  # fmt: skip
    finish(made.action, *made.next_actions)
    return made.server.id


def test_an_empty_project_becomes_a_cluster(cluster: CloudCluster) -> None:
    code, plan = cluster.plan()
    assert (code, plan["problems"]) == (2, [])
    assert plan["later"] == everybody(cluster, 2)
    assert {change["host"] for change in plan["changes"]} == {"secrets", "cloud"}
    cluster.apply()
    assert sorted(cluster.servers_of()) == everybody(cluster, 2)
    cluster.until(lambda: cluster.ready() == everybody(cluster, 2), "five nodes ready")
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])
    pins = (cluster.command.lab.cloud / "known_hosts").read_text()
    assert "first" not in pins  # each node shows a key that it has made itself
    assert pins.count("ssh-ed25519") == 5


def test_what_every_process_on_a_node_may_read_opens_nothing(cluster: CloudCluster) -> None:
    told = cluster.on("wrk-1", "curl -sS --fail http://169.254.169.254/hetzner/v1/userdata")
    assert "ecdsa_private" in told  # the key of the first login, which nobody accepts any more
    served = cluster.on("wrk-1", "cat /etc/ssh/ssh_host_*_key.pub")
    assert "ecdsa" not in served


def test_a_pool_grows_beside_a_server_of_somebody_else(cluster: CloudCluster) -> None:
    theirs = stranger(cluster)
    cluster.declare(4)
    cluster.apply()
    cluster.until(lambda: cluster.ready() == everybody(cluster, 4), "seven nodes ready")
    assert cluster.servers_of()["stranger"] == theirs
    code, plan = cluster.plan()
    assert (code, plan["changes"]) == (0, [])
    assert "stranger" in rules(plan)["orphans"][1]


def test_a_pool_shrinks_with_an_allowance_only(cluster: CloudCluster) -> None:
    before = cluster.servers_of()
    cluster.declare(1)
    code, plan = cluster.plan()
    passed, arithmetic = rules(plan)["deletions are allowed by name"]
    assert (code, passed) == (3, False)
    assert all(f"server/{cluster.name(short)}" in arithmetic for short in LEFT)
    assert [change for change in plan["changes"] if change["layer"] == "k3s departure"] == []
    assert cluster.servers_of() == before


def test_nobody_is_deleted_who_has_not_left(cluster: CloudCluster) -> None:
    cluster.declare(1, *LEFT)
    code, plan = cluster.plan("--limit", "cloud", "--limit", "secrets")
    assert (code, plan["changes"]) == (0, [])
    told = rules(plan)["who is deleted leaves its cluster first"][1]
    assert all(cluster.name(short) in told for short in LEFT)


def test_who_is_surplus_leaves_and_is_deleted(cluster: CloudCluster) -> None:
    cluster.declare(1, *LEFT)
    theirs = cluster.servers_of()["stranger"]
    code, plan = cluster.plan()
    assert code == 2
    order = layers(plan)
    assert order.index("k3s departure") < order.index("cloud withdrawal") == len(order) - 1
    cluster.apply()
    assert sorted(cluster.nodes()) == cluster.ready() == everybody(cluster, 1)
    assert sorted(cluster.servers_of()) == sorted([*everybody(cluster, 1), "stranger"])
    assert cluster.servers_of()["stranger"] == theirs
    assert {one.name for one in kept.all_of(cluster.command.lab)} == set(cluster.servers_of())
    secrets = cluster.on("srv-1", f"{KUBECTL} -n kube-system get secrets -o name")
    assert cluster.name("wrk-4") not in secrets
    code, plan = cluster.plan()
    assert (code, plan["changes"], plan["problems"]) == (0, [], [])


def test_the_first_server_is_made_anew_from_the_cloud_up(cluster: CloudCluster) -> None:
    before = cluster.members("srv-2")
    gone = cluster.cloud.servers.get_by_name(cluster.name("srv-1"))
    prober = Prober(cluster)
    finish(gone.change_protection(delete=False, rebuild=False))
    finish(gone.delete())
    code, plan = cluster.plan()
    assert code == 2
    assert cluster.name("srv-1") in json.dumps(plan["changes"])
    cluster.apply()
    requests, failed = prober.stop()
    print(f"{failed} of {requests} requests failed while the first server was made anew")  # noqa: T201
    assert failed < requests
    assert cluster.servers_of()[cluster.name("srv-1")] != gone.id
    after = cluster.members("srv-1")
    assert len(after) == 3
    assert all(after.values())
    assert len(set(before) & set(after)) == 2
    cluster.until(lambda: cluster.ready() == everybody(cluster, 1), "four nodes ready")
    assert cluster.plan()[0] == 0
