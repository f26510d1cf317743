"""A project whose servers are nodes: who leaves waits until the machines that are missing are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cloud_checkout import ROOT, Checkout, checkout

NODES = '\nfrom unterbau.declaration import nodes_of\n\nfleet = nodes_of("production")\n'
POOL = (
    'NodePool(name="{name}", count={count}, first_address="10.9.0.{first}", types=("cx32",), locations=("fsn1",), '
    'network="nodes", {more})'
)
NETWORK = """
cloud_networks = (
    CloudNetwork(name="nodes", cidr="10.9.0.0/16", subnets=(CloudSubnet(cidr="10.9.0.0/24"),)),
)
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Checkout]:
    with checkout(tmp_path) as found:
        yield found


def declare(cloud: Checkout, servers: int, workers: int, *deletions: str) -> None:
    """Two pools of nodes, with all that the base layer asks for."""
    pools = (
        POOL.format(name="servers", count=servers, first=11, more=""),
        POOL.format(name="workers", count=workers, first=101, more=""),
    )
    cloud.declare(*pools, more=f"{NETWORK}\ncloud_deletions = {deletions!r}\n")
    data = cloud.root / "group_data"
    base = (
        (ROOT / "tests" / "bad" / "base" / "group_data" / "demo.py")
        .read_text()
        .replace("from __future__ import annotations", "")
    )
    (data / "demo.py").write_text((data / "demo.py").read_text() + base)
    shutil.copy(ROOT / "tests" / "bad" / "base" / "group_data" / "all.py", data / "all.py")
    inventory = cloud.root / "inventories" / "demo.py"
    inventory.write_text(inventory.read_text() + NODES)


def test_who_leaves_waits_for_the_stage_that_has_its_node(cloud: Checkout) -> None:
    """A pool shrinks while another grows: the stage of the cloud makes what is missing, and deletes nobody."""
    declare(cloud, 1, 2)
    assert cloud.run("plan", "demo", "-o", "plan.json").code == 2
    assert cloud.run("apply", "plan.json").code == 2  # the stage of the cloud only
    assert cloud.names("servers") == ["prod-servers-1", "prod-workers-1", "prod-workers-2"]
    declare(cloud, 3, 1, "server/prod-workers-2")
    planned = cloud.run("plan", "demo", "-o", "plan.json")
    said = "prod-workers-2: not in this run, which has not all nodes; nothing is deleted before a whole one"
    assert (planned.code, said in planned.out) == (2, True), planned.out + planned.err
    applied = cloud.run("apply", "plan.json")
    assert applied.code == 2, applied.out + applied.err
    assert cloud.names("servers") == [
        "prod-servers-1", "prod-servers-2", "prod-servers-3", "prod-workers-1", "prod-workers-2",
    ]  # fmt: skip
