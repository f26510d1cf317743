"""Servers of pools as nodes: declared, found in the project, left over, and not there yet."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.inventory import Inventory

from unterbau.connectors import cloud_listing
from unterbau.connectors.node import NodeConnector
from unterbau.connectors.nodes import NodesConnector
from unterbau.declaration import Environment, load
from unterbau.domain.cloud_labels import labels
from unterbau.plan.stages import stages

BAD = Path(__file__).parent.parent / "bad"
NODES = 'fleet = nodes_of("cloud")\n'
STORE = ("secrets", {"store": True})


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """The cases' cloud: three servers 10.9.0.31 and on, two workers 10.9.0.41 and on, who are in two groups."""
    root = Path(shutil.copytree(BAD / "base", tmp_path / "base"))
    shutil.copytree(BAD / "base_cloud", root, dirs_exist_ok=True)
    inventory = root / "inventories" / "demo.py"
    text = inventory.read_text().replace("import CloudProject", "import nodes_of, CloudProject")
    head, _, rest = text.partition("servers = hosts(")
    inventory.write_text(head + NODES + "store = " + rest.partition("store = ")[2])
    data = root / "group_data" / "hcloud.py"
    data.write_text(data.read_text().replace('gateway="10.9.0.11"', 'gateway="10.9.0.31"'))
    made = load("demo", root)
    cloud_listing.begin(made)
    yield made
    cloud_listing.begin(SimpleNamespace(endpoints=()))  # type: ignore[arg-type]


def server(name: str, ip: str, status: str = "running", pool: str = "workers", cluster: str = "demo") -> dict[str, Any]:
    """As the API lists it."""
    marks = labels(cluster, pool, (pool,))
    return {"name": name, "status": status, "labels": marks, "private_net": [{"ip": ip}] if ip else []}


DECLARED = [
    *(server(f"demo-servers-{n}", f"10.9.0.3{n}", pool="servers") for n in (1, 2, 3)),
    *(server(f"demo-workers-{n}", f"10.9.0.4{n}") for n in (1, 2)),
]


def found(
    monkeypatch: pytest.MonkeyPatch, servers: list[dict[str, Any]] | str
) -> dict[str, tuple[dict[str, Any], list[str]]]:
    monkeypatch.setattr(cloud_listing, "_asked", lambda project: servers)
    names = NodesConnector.make_names_data("cloud")
    return {name: (data, groups) for name, data, groups in names}


def test_pools_are_nodes_before_anything_exists(environment: Environment) -> None:
    assert [(str(node.name), str(node.address)) for node in environment.nodes] == [
        ("demo-servers-1", "10.9.0.31"),
        ("demo-servers-2", "10.9.0.32"),
        ("demo-servers-3", "10.9.0.33"),
        ("demo-workers-1", "10.9.0.41"),
        ("demo-workers-2", "10.9.0.42"),
    ]
    workers = ("demo-workers-1", "demo-workers-2")
    assert environment.groups["workers"] == environment.groups["storage"] == workers
    assert environment.groups["fleet"] == environment.groups["all"]
    assert environment.data["demo-workers-1"]["network"] is environment.data["demo-servers-1"]["network"]


def test_a_project_that_has_them_all(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.nodes
    there = found(monkeypatch, [*DECLARED, server("mail", "10.9.0.99", cluster="other")])
    assert list(there) == [one["name"] for one in DECLARED]
    data, groups = there["demo-workers-2"]
    assert groups == ["workers", "storage"]
    assert (data["ssh_hostname"], data["cloud_state"]) == ("10.9.0.42", "running")
    assert data["ssh_known_hosts_file"].endswith("known_hosts")


def test_what_is_not_there_says_so(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.nodes
    half = {**DECLARED[4], "status": "off", "private_net": []}
    there = found(monkeypatch, [*DECLARED[:3], half])
    assert {name: data["cloud_state"] for name, (data, _) in there.items()} == {
        "demo-servers-1": "running",
        "demo-servers-2": "running",
        "demo-servers-3": "running",
        "demo-workers-1": "absent",
        "demo-workers-2": "off",
    }


def test_one_that_was_taken_out_of_its_network_is_the_cloud_s_affair_first(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can enter it, so a plan with it would be incomplete for ever, and the cloud never converged."""
    assert environment.nodes
    out = {**DECLARED[4], "private_net": []}
    assert found(monkeypatch, [*DECLARED[:4], out])["demo-workers-2"][0]["cloud_state"] == "unattached"
    assert staged(inventory(a="running", b="unattached")) == (["store", "cloud"], ("a", "b"))


def test_a_project_that_cannot_be_asked_is_no_empty_one(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.nodes
    there = found(monkeypatch, "cannot list servers: nobody answers")
    assert list(there) == [one["name"] for one in DECLARED]
    assert not any("cloud_state" in data for data, _ in there.values())


def test_a_surplus_server_stays_in_its_groups_until_it_may_be_deleted(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    surplus = [server("demo-workers-3", "10.9.0.43"), server("demo-servers-4", "10.9.0.34", pool="servers")]
    there = found(monkeypatch, [*DECLARED, *surplus])
    assert "server/demo-servers-4" in environment.endpoint_data["cloud"]["cloud_deletions"]
    data, groups = there["demo-workers-3"]
    assert groups == ["workers", "storage"]  # as its pool says
    assert "leaving" not in data
    data, groups = there["demo-servers-4"]
    assert groups == []
    assert data["leaving"] is True


def test_labels_of_groups_count_only_where_a_pool_is_gone(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.nodes
    edited = server("demo-workers-3", "10.9.0.43")
    edited["labels"] |= {"group-servers": "true"}  # by hand
    left = server("demo-batch-1", "10.9.0.51", pool="batch")  # of a pool that there was
    there = found(monkeypatch, [*DECLARED, edited, left])
    assert there["demo-workers-3"][1] == ["workers", "storage"]
    assert there["demo-batch-1"][1] == ["batch"]


def test_who_could_not_be_asked_is_told(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.nodes
    found(monkeypatch, "cannot list servers: nobody answers")
    assert cloud_listing.unasked() == [("cloud", "unknown: cannot list servers: nobody answers")]


@pytest.mark.parametrize("odd", [{"status": "off"}, {"private_net": []}])
def test_a_surplus_server_that_nobody_can_enter_is_no_node(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any]
) -> None:
    assert environment.nodes
    assert "demo-workers-3" not in found(monkeypatch, [*DECLARED, {**server("demo-workers-3", "10.9.0.43"), **odd}])


def test_who_was_listed_is_not_listed_again(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.nodes
    asked: list[str] = []
    monkeypatch.setattr(cloud_listing, "_asked", lambda project: [asked.append(project), *DECLARED][1:])
    list(NodesConnector.make_names_data("cloud"))
    list(NodesConnector.make_names_data("cloud"))  # pyinfra makes an inventory twice
    assert cloud_listing.taken("cloud") == DECLARED
    assert cloud_listing.taken("cloud") is None  # what was written since makes it old
    assert asked == ["cloud"]


class Entered(NodesConnector):
    """A connection that is asked for, and how long its machine was waited for before."""

    def __init__(self, file: Path) -> None:
        node = SimpleNamespace(name="demo-servers-1", address="10.9.0.31", known_hosts=str(file))
        self.host = SimpleNamespace(data=SimpleNamespace(node=node))  # type: ignore[assignment]
        self.waited: list[float] = []

    def await_greeting(self, within_s: float) -> None:
        self.waited.append(within_s)


@pytest.mark.parametrize(
    ("pin", "begun", "waits"),
    [("ssh-ed25519 AAAA", (), False), ("ecdsa-sha2-nistp256 AAAA first", (), True), ("", ("demo-servers-1",), True)],
)
def test_a_machine_that_nobody_has_entered_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pin: str, begun: tuple[str, ...], waits: bool
) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"demo-servers-1,10.9.0.31 {pin}\n")
    cloud_listing.begin(SimpleNamespace(endpoints=()), begun)  # type: ignore[arg-type]
    connected: list[str] = []
    monkeypatch.setattr(NodeConnector, "connect", lambda self: connected.append(self.host.data.node.name))
    one = Entered(file)
    one.connect()
    assert bool(one.waited) is waits
    assert connected == ["demo-servers-1"]


def test_who_greets_late_is_greeted() -> None:
    """It refuses, then answers as something else, then as an SSH server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = Entered(Path("none"))
    one.host = SimpleNamespace(data=SimpleNamespace(ssh_hostname="127.0.0.1", ssh_port=port))  # type: ignore[assignment]
    greeted: list[bytes] = []

    def serve() -> None:
        with socket.create_server(("127.0.0.1", port)) as server:
            for greeting in (b"HTTP", b"SSH-2.0-OpenSSH"):
                opened, _ = server.accept()
                opened.sendall(greeting)
                greeted.append(greeting)
                opened.close()

    thread = threading.Timer(0.2, serve)
    thread.start()
    NodeConnector.await_greeting(one, 60)
    thread.join()
    assert greeted == [b"HTTP", b"SSH-2.0-OpenSSH"]


def inventory(**states: str | None) -> Inventory:
    """A store, a cloud, and nodes whose servers are in these states; None for a node of no cloud."""
    nodes = [(name, {} if state is None else {"cloud_state": state}) for name, state in states.items()]
    return Inventory(([("store", {"store": True}), ("cloud", {"cloud": True}), *nodes], {}))


def staged(made: Inventory, *limit: str) -> tuple[list[str] | None, tuple[str, ...]]:
    first, later = stages([made.get_host(name) for name in limit] or None, list(made))
    return (None if first is None else [host.name for host in first]), later


def test_the_cloud_comes_first_while_a_machine_is_missing() -> None:
    assert staged(inventory(a="running", b="absent")) == (["store", "cloud"], ("a", "b"))
    assert staged(inventory(a="running", b="off")) == (["store", "cloud"], ("a", "b"))


def test_there_is_one_stage_once_all_machines_run() -> None:
    assert staged(inventory(a="running", b=None)) == (None, ())


def test_a_limit_without_the_cloud_makes_no_machine() -> None:
    assert staged(inventory(a="running", b="absent"), "a") == (["a"], ())
    assert staged(inventory(a="running", b="absent"), "a", "b") == (["a", "b"], ())


def test_a_limit_to_the_cloud_is_a_stage_of_its_own() -> None:
    assert staged(inventory(a="absent"), "cloud", "store") == (["cloud", "store"], ())
