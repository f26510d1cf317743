"""What a node accepts while another one leaves the cluster: it is in no group, and has a vote until it is out."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyinfra.context import ctx_host, ctx_inventory

from deploys import access
from operations.firewall import rules_text
from unterbau.declaration import Flow, K3s, Network
from unterbau.domain.flows import port_range

DEFAULTS = runpy.run_path(str(Path(__file__).parent.parent.parent / "group_data" / "all.py"))
ADDRESSES = {"srv-1": "10.77.0.11", "srv-2": "10.77.0.12", "srv-3": "10.77.0.13", "wrk-1": "10.77.0.21"}
API, ETCD, VAULT, DATABASE = 6443, 2380, 8201, 5432


class Data(dict[str, Any]):
    """A host's data, by attribute as well."""

    __getattr__ = dict.__getitem__


class Inventory(list[Any]):
    """Hosts in order, and the groups that they are in."""

    def __init__(self, hosts: list[Any], groups: dict[str, list[Any]]) -> None:
        super().__init__(hosts)
        self.groups = groups


def accepted(at: str, servers: tuple[str, ...], removed: tuple[str, ...], *, workers: tuple[str, ...] = ()) -> Any:
    """{port: addresses} of TCP that this node accepts from nodes."""
    declared = {name: DEFAULTS[name] for name in ("flows_ssh", "flows_vault", "flows_k3s")}
    database = Flow(name="postgresql", source="servers", target="workers", protocol="tcp", ports=(DATABASE,))
    common = {
        **declared, "flows": (database,), "k3s": K3s(), "k3s_removed": removed,
        "network": Network(cidr="10.77.0.0/24", domain="lab.internal", controllers=("10.77.0.1/32",)),
    }  # fmt: skip
    hosts = {
        name: SimpleNamespace(name=name, data=Data(common, node=SimpleNamespace(name=name, address=address)))
        for name, address in ADDRESSES.items()
    }
    groups = {"servers": [hosts[name] for name in servers], "workers": [hosts[name] for name in workers]}
    inventory = Inventory(list(hosts.values()), groups)
    with ctx_inventory.use(inventory), ctx_host.use(hosts[at]):
        found = access.accepted()
    rules_text(found, [])  # nft takes it
    ports = [API, ETCD, VAULT, DATABASE]
    return {port: sorted({one for rule in found if _has(rule, port) for one in rule.sources}) for port in ports}


def _has(rule: Any, port: int) -> bool:
    ranges = [port_range(one) for one in rule.ports]
    return rule.protocol == "tcp" and any(first <= port <= last for first, last in ranges)


EVERYBODY = ["10.42.0.0/16", *sorted(ADDRESSES.values())]


def test_two_of_three_that_leave_and_the_one_that_stays_reach_each_other() -> None:
    """Each of them: while both are members the one that stays cannot agree on anything alone."""
    three = [ADDRESSES[name] for name in ("srv-1", "srv-2", "srv-3")]
    for at in ("srv-1", "srv-2", "srv-3"):
        found = accepted(at, ("srv-1",), ("srv-2", "srv-3"))
        assert (found[API], found[ETCD]) == (EVERYBODY, three)


def test_who_leaves_is_counted_in_for_k3s_only() -> None:
    assert accepted("srv-1", ("srv-1",), ("srv-2",))[VAULT] == [ADDRESSES["srv-1"]]
    assert accepted("srv-2", ("srv-1",), ("srv-2",))[VAULT] == []
    assert accepted("wrk-1", ("srv-1",), ("srv-2",), workers=("wrk-1",))[DATABASE] == [ADDRESSES["srv-1"]]


def test_who_has_left_is_shut_out_once_it_is_named_no_more() -> None:
    assert accepted("srv-1", ("srv-1",), ())[ETCD] == [ADDRESSES["srv-1"]]
    found = accepted("srv-2", ("srv-1",), ())
    assert (found[API], found[ETCD]) == ([], [])
