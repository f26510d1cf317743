from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unterbau.declaration import Flow as DeclaredFlow
from unterbau.domain.flows import Accept, accepts, counted_in, merged, port_range

GROUPS = {
    "all": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    "servers": ["10.0.0.1", "10.0.0.2"],
    "workers": ["10.0.0.3"],
    "controllers": ["192.0.2.0/28", "10.0.0.254"],
}


@dataclass(frozen=True)
class Flow:
    source: str
    target: str
    protocol: str
    ports: tuple[int | str, ...]


def test_a_node_accepts_what_its_groups_are_the_target_of() -> None:
    flows = [
        Flow("controllers", "all", "tcp", (22,)),
        Flow("all", "servers", "udp", (123,)),
        Flow("servers", "workers", "tcp", (10250,)),
    ]
    assert accepts(flows, GROUPS, "10.0.0.1") == [
        Accept(("10.0.0.254", "192.0.2.0/28"), "tcp", ("22",)),
        Accept(("10.0.0.1", "10.0.0.2", "10.0.0.3"), "udp", ("123",)),
    ]
    assert accepts(flows, GROUPS, "10.0.0.3") == [
        Accept(("10.0.0.254", "192.0.2.0/28"), "tcp", ("22",)),
        Accept(("10.0.0.1", "10.0.0.2"), "tcp", ("10250",)),
    ]


def test_without_flows_nothing_is_accepted() -> None:
    assert accepts([], GROUPS, "10.0.0.1") == []


def test_overlapping_ports_become_one_range_and_neighbours_stay_apart() -> None:
    flows = [
        Flow("workers", "servers", "tcp", ("30000-30100", 22)),
        Flow("workers", "servers", "tcp", ("30050-30200", 23)),
    ]
    assert accepts(flows, GROUPS, "10.0.0.2") == [Accept(("10.0.0.3",), "tcp", ("22", "23", "30000-30200"))]


def test_a_range_inside_another_one_does_not_shorten_it() -> None:
    assert merged([(1, 10), (2, 3), (12, 12)]) == ((1, 10), (12, 12))


def test_a_source_inside_another_one_is_not_repeated() -> None:
    """nftables refuses overlapping elements of a set."""
    flows = [Flow("workers", "servers", "tcp", (80,)), Flow("10.0.0.0/24", "servers", "tcp", (80,))]
    assert accepts(flows, GROUPS, "10.0.0.1") == [Accept(("10.0.0.0/24",), "tcp", ("80",))]


def test_a_declared_flow_is_taken_as_it_is() -> None:
    flow = DeclaredFlow(name="ssh", source="controllers", target="all", protocol="tcp", ports=(22, "6443-6444"))
    assert accepts([flow], GROUPS, "10.0.0.3") == [Accept(("10.0.0.254", "192.0.2.0/28"), "tcp", ("22", "6443-6444"))]


@pytest.mark.parametrize("flow", [Flow("gateways", "all", "tcp", (1,)), Flow("all", "gateways", "tcp", (1,))])
def test_an_unknown_group_is_an_error(flow: Flow) -> None:
    with pytest.raises(ValueError, match="cannot resolve the group gateways: there are all, controllers"):
        accepts([flow], GROUPS, "10.0.0.1")


ports = st.one_of(
    st.integers(1, 40), st.tuples(st.integers(1, 40), st.integers(0, 10)).map(lambda pair: f"{pair[0]}-{sum(pair)}")
)
flow = st.builds(
    Flow,
    source=st.sampled_from(["all", "servers", "workers", "controllers", "10.0.0.0/30", "192.0.2.8/29"]),
    target=st.sampled_from(["all", "servers", "workers"]),
    protocol=st.sampled_from(["tcp", "udp"]),
    ports=st.lists(ports, min_size=1, max_size=3).map(tuple),
)
SOURCES = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.254", "192.0.2.1", "192.0.2.9", "198.51.100.1"]


def inside(address: str, members: list[str]) -> bool:
    return any(IPv4Address(address) in IPv4Network(member) for member in members)


def by_definition(flows: list[Flow], node: str, source: str, protocol: str, port: int) -> bool:
    return any(
        one.protocol == protocol
        and node in GROUPS[one.target]
        and inside(source, GROUPS.get(one.source, [one.source]))
        and any(first <= port <= last for first, last in map(port_range, one.ports))
        for one in flows
    )


def by_rules(rules: list[Accept], source: str, protocol: str, port: int) -> bool:
    return any(
        rule.protocol == protocol
        and inside(source, list(rule.sources))
        and any(first <= port <= last for first, last in map(port_range, rule.ports))
        for rule in rules
    )


@settings(deadline=None)
@given(
    flows=st.lists(flow, max_size=6), node=st.sampled_from(GROUPS["all"]), source=st.sampled_from(SOURCES),
    protocol=st.sampled_from(["tcp", "udp"]), port=st.integers(1, 51),
)  # fmt: skip
def test_rules_mean_what_the_flows_say(flows: list[Flow], node: str, source: str, protocol: str, port: int) -> None:
    rules = accepts(flows, GROUPS, node)
    assert by_rules(rules, source, protocol, port) == by_definition(flows, node, source, protocol, port)


@settings(deadline=None)
@given(flows=st.lists(flow, max_size=6), data=st.data(), node=st.sampled_from(GROUPS["all"]))
def test_order_and_repetition_of_flows_make_no_difference(flows: list[Flow], data: st.DataObject, node: str) -> None:
    shuffled = data.draw(st.permutations(flows + flows[:2]))
    assert accepts(shuffled, GROUPS, node) == accepts(flows, GROUPS, node)


@settings(deadline=None)
@given(flows=st.lists(flow, max_size=6), node=st.sampled_from(GROUPS["all"]))
def test_nothing_within_a_rule_overlaps(flows: list[Flow], node: str) -> None:
    for rule in accepts(flows, GROUPS, node):
        networks = [IPv4Network(source) for source in rule.sources]
        assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])
        ranges = [port_range(port) for port in rule.ports]
        assert list(merged(ranges)) == ranges


WAYS = {("tcp", 10), ("tcp", 30), ("udp", 20)}
LEAVING = "10.0.0.4"
near_ways = st.lists(st.sampled_from([10, 20, 30, 40, "5-15"]), min_size=1, max_size=3, unique=True).map(tuple)


@settings(deadline=None)
@given(st.lists(st.tuples(flow, near_ways).map(lambda two: replace(two[0], ports=two[1])), min_size=1, max_size=4))
def test_who_is_counted_in_reaches_what_members_reach(flows: list[Flow]) -> None:
    apart = {**GROUPS, "all": [*GROUPS["all"], LEAVING], "leaving": [LEAVING]}
    among = {**apart, **{group: [*GROUPS[group], LEAVING] for group in ("servers", "workers")}}
    for node in apart["all"]:
        said = accepts([*flows, *counted_in("leaving", {"servers", "workers"}, WAYS, flows)], apart, node)
        wanted = accepts(flows, among, node)
        for source, way in product(apart["all"], WAYS):
            assert by_rules(said, source, *way) == by_rules(wanted, source, *way)


@settings(deadline=None)
@given(flows=st.lists(flow, max_size=6))
def test_who_is_counted_in_reaches_nothing_else(flows: list[Flow]) -> None:
    for one in counted_in("leaving", {"servers", "workers"}, WAYS, flows):
        assert "leaving" in (one.source, one.target)
        for first, last in map(port_range, one.ports):
            assert any(one.protocol == kind and first <= way <= last for kind, way in WAYS)
