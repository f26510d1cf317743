"""Rules about a pool's names and private addresses: both are known before a server exists, and nobody else has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

from unterbau.declaration.cloud import CloudNetwork, CloudSubnet
from unterbau.declaration.cloud_names import ZONES, sound
from unterbau.declaration.cloud_pool import NodePool
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_cloud import pools, projects
from unterbau.declaration.view import View

Range = tuple[IPv4Address, IPv4Address]


def addresses_in_a_subnet(view: View) -> Iterator[Problem]:
    """Source: Hetzner Cloud, "Networks" FAQ: not the network's first address, its gateway; and RFC 919 of a subnet."""
    networks = {one.name: one for one in view.of_clouds("cloud_networks")}
    for pool in pools(view):
        network = networks.get(pool.network)
        if network is None or len(sound(network.subnets)) < len(network.subnets):
            continue
        subnets = [one for one in network.subnets if one.type == "cloud"]
        subnet = next((one for one in subnets if pool.first_address in one.cidr), None)
        if subnet is None:
            known = ", ".join(str(one.cidr) for one in subnets)
            allowed = f"an address in a subnet of {network.name}: {known or 'none'}"
            yield view.at(pool, "first_address", f"{pool.first_address}, which is in none", allowed)
        else:
            yield from _fits(view, pool, network, subnet)


def _fits(view: View, pool: NodePool, network: CloudNetwork, subnet: CloudSubnet) -> Iterator[Problem]:
    first, last = _range(pool)
    reserved = (subnet.cidr.network_address, network.cidr[1])
    if taken := next((one for one in reserved if first <= one <= last), None):
        found = f"{_shown(first, last)}, with {taken} among them"
        yield view.at(pool, "first_address", found, f"addresses after {max(reserved)}, which servers never get")
    if last not in subnet.cidr or last == subnet.cidr.broadcast_address:
        found = f"{_shown(first, last)} for {pool.count} servers"
        yield view.at(pool, "first_address", found, f"addresses up to {_last(subnet.cidr)}, the last of {subnet.cidr}")
    for location in pool.locations:
        if ZONES[location] != subnet.zone and ZONES[location] in {one.zone for one in network.subnets}:
            found = f"{first}, in a subnet of the zone {subnet.zone}, for servers in {location!r}"
            allowed = f"locations of one zone, and a subnet of that: {ZONES[location]}"
            yield view.at(pool, "first_address", found, allowed)


def address_ranges_apart(view: View) -> Iterator[Problem]:
    """Two servers of one network never have one address; nor has a server that of a node."""
    for place, pool in enumerate(pools(view)):
        first, last = _range(pool)
        for other in (one for one in pools(view)[:place] if one.network == pool.network):
            low, high = _range(other)
            if low <= last and first <= high:
                allowed = f"a range apart from that of the pool {other.name}, {_shown(low, high)}"
                yield view.at(pool, "first_address", _shown(first, last), allowed)
    for project in projects(view):
        for node in view.valid_nodes():
            for pool in pools(view):
                servers = {address: name for name, address in pool.servers(project.cluster).items()}
                if (server := servers.get(node.address, node.name)) != node.name:
                    found = f"{node.address} for {server}, which {node.name} has at {view.where(node)}"
                    yield view.at(pool, "first_address", found, "addresses that no node has")


def server_names_apart(view: View) -> Iterator[Problem]:
    """A name is one server's, whatever pool it is of, and no node's."""
    for project in projects(view):
        first: dict[str, NodePool] = {}
        for pool in pools(view):
            other = first.setdefault(pool.named(project.cluster), pool)
            if other is not pool and other.name != pool.name:
                found = f"{pool.named(project.cluster)!r}, which servers of the pool {other.name} begin with"
                yield view.at(pool, "prefix", found, "a prefix of its own")
        for pool in pools(view):
            servers = pool.servers(project.cluster)
            named = [node for node in view.valid_nodes() if servers.get(node.name, node.address) != node.address]
            for node in named[:1]:
                found = f"{pool.named(project.cluster)!r}, so that a server is called {node.name}"
                yield view.at(pool, "prefix", found, f"another one: that is a node already, at {view.where(node)}")


def _range(pool: NodePool) -> Range:
    return pool.first_address, pool.first_address + max(pool.count - 1, 0)


def _shown(first: IPv4Address, last: IPv4Address) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _last(cidr: IPv4Network) -> IPv4Address:
    return cidr.broadcast_address - 1


cloud_address_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    addresses_in_a_subnet, address_ranges_apart, server_names_apart,
)  # fmt: skip
