"""Environments: found, merged as pyinfra merges, and the ones of this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pyinfra.api import State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory_from_files

from unterbau.declaration import DeclarationError, Flow, flows_of, kernel_of, load

ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / "tests" / "bad" / "base"
KEY_FILE = "/var/lib/unterbau/lab/ssh/id_ed25519.pub"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+ClvZzC7vKi/ZHHZkAZ5jxRpMxgyKFD1SMe9J+pL/B first@example"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BASE, tmp_path / "demo"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This repository's inventories and group data, with the lab's key in a file of the test."""
    for folder in ("inventories", "group_data"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for data in (tmp_path / "group_data" / name for name in ("lab.py", "hcloud.py")):
        assert KEY_FILE in data.read_text()
        data.write_text(data.read_text().replace(KEY_FILE, str(tmp_path / "key.pub")))
    (tmp_path / "key.pub").write_text(KEY + "\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    names = sorted(set(re.findall(r"[A-Z][A-Za-z]+(?=\()", text)))
    path.write_text(f"from unterbau.declaration import {', '.join(names)}\n{text}" if names else text)


def test_the_lab_is_valid(checkout: Path) -> None:
    lab = load("lab", checkout)
    assert lab.groups == {
        "servers": ("srv-1", "srv-2", "srv-3"),
        "workers": ("wrk-1", "wrk-2"),
        "postgresql": ("wrk-1",),
        "storage": ("srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"),
        "nodes": ("srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"),
        "lab": ("srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"),
        "all": ("srv-1", "srv-2", "srv-3", "wrk-1", "wrk-2"),
    }
    assert [flow.name for flow in flows_of(lab.data["wrk-1"])] == [
        "k3s-api", "k3s-api-pods", "k3s-etcd", "k3s-kubelet", "k3s-vxlan", "ntp", "postgresql", "postgresql-workers",
        "ssh", "storage", "storage-gateway", "storage-pods", "vault-api", "vault-raft",
    ]  # fmt: skip
    assert lab.data["wrk-2"]["operators"][0].authorized_keys == (KEY,)


def test_the_lab_keeps_the_four_values_that_k3s_asks_for(checkout: Path) -> None:
    """Source: K3s CIS hardening guide, kubelet --protect-kernel-defaults."""
    four = {"vm.panic_on_oom": 0, "vm.overcommit_memory": 1, "kernel.panic": 10, "kernel.panic_on_oops": 1}
    sysctl = load("lab", checkout).data["srv-1"]["kernel"].sysctl
    assert sysctl.items() >= four.items()


def test_the_lab_leaves_out_only_what_needs_a_module(checkout: Path) -> None:
    lab = kernel_of(load("lab", checkout).data["srv-1"])
    data = checkout / "group_data" / "lab.py"
    data.write_text(data.read_text().replace("kernel_modules = Kernel()", ""))
    platform = kernel_of(load("lab", checkout).data["srv-1"])
    assert (platform.modules, lab.modules) == (("overlay", "br_netfilter", "nf_conntrack"), ())
    assert {name: value for name, value in platform.sysctl.items() if not name.startswith("net.bridge.")} == lab.sysctl
    assert len(platform.sysctl) == len(lab.sysctl) + 2


def test_without_the_lab_its_key_is_missed_with_what_to_do(checkout: Path) -> None:
    (checkout / "key.pub").unlink()
    with pytest.raises(DeclarationError) as caught:
        load("lab", checkout)
    assert [(problem.file, problem.object, problem.field) for problem in caught.value.problems] == [
        ("group_data/hcloud.py", "CloudSshKey operator", "public_key"),
        ("group_data/lab.py", "Operator operator", "authorized_keys"),
    ]
    assert all("run `unterbau lab cloud up`" in problem.found for problem in caught.value.problems)


def test_another_environment_needs_no_lab(checkout: Path) -> None:
    (checkout / "key.pub").unlink()
    shutil.copy(BASE / "inventories" / "demo.py", checkout / "inventories" / "demo.py")
    shutil.copy(BASE / "group_data" / "demo.py", checkout / "group_data" / "demo.py")
    write(checkout / "group_data" / "servers.py", 'time_sync = TimeSync(servers=("ntp.example",))\n')
    write(checkout / "group_data" / "workers.py", 'time_sync = TimeSync(island="servers")\n')
    demo = load("demo", checkout)
    assert demo.data["srv-1"]["network"].domain == "demo.internal"
    assert demo.data["wrk-1"]["time_sync"].island == "servers"


@pytest.mark.parametrize("given", ["demo", "inventories/demo.py", Path("inventories/demo.py")])
def test_an_environment_is_found_by_name_or_path(demo: Path, given: str | Path) -> None:
    assert load(given, demo).path == demo / "inventories" / "demo.py"


def test_the_working_directory_is_the_root_by_default(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    assert load("demo").name == "demo"


def test_a_missing_inventory_lists_those_there_are(demo: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        load("dmo", demo)
    assert str(caught.value).splitlines()[0] == (
        "inventories/dmo.py: environment dmo: found no such inventory; allowed: demo (did you mean demo?)"
    )


def test_no_inventory_at_all_says_where_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"inventories/NAME\.py"):
        load("lab", tmp_path)


def test_data_is_merged_as_pyinfra_merges_it(demo: Path) -> None:
    """Host over groups (last wins, the environment's own is the last) over all; data beside the inventory over both."""
    write(demo / "group_data" / "servers.py", "journal = Journal(max_use_mib=100)\nkernel = Kernel()\n")
    write(demo / "group_data" / "db.py", "journal = Journal(max_use_mib=200)\nbase_packages = ('db',)\n")
    write(demo / "inventories" / "group_data" / "db.py", "base_packages = ('beside',)\n")
    write(demo / "inventories" / "group_data" / "demo.py", "security_upgrades = SecurityUpgrades(slot_minutes=9)\n")
    write(demo / "inventories" / "group_data" / "servers.py", "security_upgrades = SecurityUpgrades(slot_minutes=8)\n")
    inventory = demo / "inventories" / "demo.py"
    more = "servers[1][1]['base_packages'] = ('own',)\ndb = servers[:2]\n_not = 1\nnote = 'pyinfra passes over this'\n"
    inventory.write_text(inventory.read_text() + more)

    ours = load("demo", demo)
    with ctx_state.use(State()):
        theirs = make_inventory_from_files(str(inventory), cwd=str(demo))
    assert [node.name for node in ours.nodes] == [host.name for host in theirs]
    for host in theirs:
        public = {name: value for name, value in host.data.dict().items() if not name.startswith("_")}
        assert ours.data[host.name] == public
        assert {name for name, members in ours.groups.items() if host.name in members} - {"all"} == set(host.groups)
    assert [ours.data[name]["base_packages"][0] for name in ("srv-1", "srv-2", "srv-3")] == [
        "beside", "own", "ca-certificates",
    ]  # fmt: skip


def test_a_node_may_be_in_two_groups(demo: Path) -> None:
    inventory = demo / "inventories" / "demo.py"
    inventory.write_text(inventory.read_text() + "etcd = servers[:3]\n")
    assert load("demo", demo).groups["etcd"] == ("srv-1", "srv-2", "srv-3")


def test_both_addresses_of_a_point_to_point_network_are_hosts(demo: Path) -> None:
    """Source: RFC 3021."""
    write(
        demo / "inventories" / "demo.py",
        "from unterbau.declaration import hosts\n"
        'servers = hosts(Node(name="a", address="10.9.0.10", known_hosts="k"))\n'
        'workers = hosts(Node(name="b", address="10.9.0.11", known_hosts="k"))\n',
    )
    data = demo / "group_data" / "demo.py"
    data.write_text(data.read_text().replace("10.9.0.0/24", "10.9.0.10/31"))
    assert [str(node.address) for node in load("demo", demo).nodes] == ["10.9.0.10", "10.9.0.11"]


@pytest.mark.parametrize("source", ["all", "demo", "10.9.0.0/24"])
def test_the_time_may_be_reached_through_a_group_or_a_range(demo: Path, source: str) -> None:
    data = demo / "group_data" / "all.py"
    data.write_text(data.read_text().replace('name="ntp", source="all"', f'name="ntp", source="{source}"'))
    assert source in {flow.source for flow in flows_of(load("demo", demo).data["srv-1"]) if flow.name == "ntp"}


@pytest.mark.parametrize("source", ["servers", "10.9.0.11/32", "controllers"])
def test_a_flow_that_leaves_a_node_without_time_is_a_problem(demo: Path, source: str) -> None:
    data = demo / "group_data" / "all.py"
    data.write_text(data.read_text().replace('name="ntp", source="all"', f'name="ntp", source="{source}"'))
    with pytest.raises(DeclarationError, match=r"no flow to the time \(udp 123\) of servers from .*wrk-1;"):
        load("demo", demo)


def test_without_an_island_no_flow_to_it_is_asked_for(demo: Path) -> None:
    data = demo / "group_data" / "all.py"
    data.write_text(data.read_text().replace(', island="servers"', "").replace("flows_time", "_flows_time"))
    assert load("demo", demo).data["wrk-1"]["time_sync"].island is None


def test_flows_of_a_layer_add_to_those_of_others(demo: Path) -> None:
    write(
        demo / "group_data" / "servers.py",
        'flows_etcd = (Flow(name="etcd", source="servers", target="servers", protocol="tcp", ports=("2379-2380",)),)\n',
    )
    data = load("demo", demo).data
    assert [flow.name for flow in flows_of(data["srv-1"])] == ["etcd", "metrics", "nodeports", "ntp", "ssh"]
    assert [flow.name for flow in flows_of(data["wrk-1"])] == ["metrics", "nodeports", "ntp", "ssh"]
    assert all(isinstance(flow, Flow) for flow in flows_of(data["srv-1"]))


def test_pyinfra_reads_the_lab_as_well() -> None:
    command = [sys.executable, "-m", "pyinfra", "inventories/lab.py", "--json", "debug-inventory"]
    answer = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | {"NO_COLOR": "1"}, timeout=60
    )
    nodes = {host["name"]: host["data"] for host in json.loads(answer.stdout)}
    assert list(nodes) == [
        "secrets",
        "cloud",
        "srv-1",
        "srv-2",
        "srv-3",
        "wrk-1",
        "wrk-2",
        "vault",
        "s3",
        "kubernetes",
    ]
    assert nodes["srv-1"]["node"]["address"] == nodes["srv-1"]["ssh_hostname"] == "10.77.0.11"
