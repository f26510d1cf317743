"""Networks of a cluster: apart from each other, and large enough."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain import cidr


@st.composite
def networks(draw: st.DrawFn) -> IPv4Network:
    prefix = draw(st.integers(4, 30))
    return IPv4Network((draw(st.integers(0, 2**32 - 1)) >> (32 - prefix) << (32 - prefix), prefix))


def test_overlaps_are_named_in_order() -> None:
    known = {
        name: IPv4Network(text) for name, text in [("a", "10.0.0.0/8"), ("b", "10.1.0.0/16"), ("c", "192.0.2.0/24")]
    }
    assert list(cidr.overlapping(known)) == [("a", "b")]


@given(networks(), networks())
def test_networks_overlap_when_they_share_an_end(one: IPv4Network, other: IPv4Network) -> None:
    shared = max(one[0], other[0]) <= min(one[-1], other[-1])
    assert bool(list(cidr.overlapping({"one": one, "other": other}))) == shared


@pytest.mark.parametrize(
    ("network", "nodes", "said"),
    [
        ("10.42.0.0/16", 256, ""),
        ("10.42.0.0/16", 257, "10.42.0.0/16 has a /24 for 256 of 257 nodes"),
        ("10.42.0.0/24", 1, ""),
        ("10.42.0.0/25", 1, "10.42.0.0/25 has a /24 for 0 of 1 nodes"),
        ("10.0.0.0/8", 5, ""),
        ("10.0.0.0/7", 5, "10.0.0.0/7: a /24 of it for each node is more than 16 bits longer; /8 at most"),
    ],
)
def test_pods_have_a_network_for_every_node(network: str, nodes: int, said: str) -> None:
    assert cidr.pods(IPv4Network(network), nodes) == said


@given(networks(), st.integers(1, 300))
def test_enough_is_what_counting_gives(network: IPv4Network, nodes: int) -> None:
    if 8 <= network.prefixlen <= 24:
        assert (cidr.pods(network, nodes) == "") == (sum(1 for _ in network.subnets(new_prefix=24)) >= nodes)
    else:
        assert cidr.pods(network, nodes)


@pytest.mark.parametrize(
    ("network", "dns", "said"),
    [
        ("10.43.0.0/16", "10.43.0.10", ""),
        ("10.43.0.0/16", "10.44.0.10", "10.44.0.10, which is outside of 10.43.0.0/16"),
        ("10.43.0.0/16", "10.43.0.0", "10.43.0.0, the network's own address of 10.43.0.0/16"),
        ("10.43.0.0/16", "10.43.0.1", "10.43.0.1, the API's own address of 10.43.0.0/16"),
        ("10.43.0.0/16", "10.43.255.255", "10.43.255.255, the last address of 10.43.0.0/16"),
        ("10.43.0.0/25", "10.43.0.10", "10.43.0.0/25: from /12 to /24 are allowed"),
        ("10.0.0.0/11", "10.0.0.10", "10.0.0.0/11: from /12 to /24 are allowed"),
    ],
)
def test_services_have_a_range_and_their_dns_in_it(network: str, dns: str, said: str) -> None:
    assert cidr.services(IPv4Network(network), IPv4Address(dns)) == said
