"""Networks of a cluster: whether they are apart, and large enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

NODE_PREFIX = 24  # what every node gets of the pods' network: the default of K3s, 254 pods
SMALLEST_SERVICES = 24
# Source: kube-apiserver, --service-cluster-ip-range: 20 bits for hosts at most in IPv4.
LARGEST_SERVICES = 12
# Source: kube-controller-manager: a node's prefix is at most 16 bits longer than the cluster's.
LARGEST_PODS = NODE_PREFIX - 16


def overlapping(networks: Mapping[str, IPv4Network]) -> Iterator[tuple[str, str]]:
    """Pairs of names whose networks share an address, in order."""
    for one, other in combinations(networks, 2):
        if networks[one].overlaps(networks[other]):
            yield one, other


def pods(network: IPv4Network, nodes: int) -> str:
    """What is wrong with a network for the pods of so many nodes; "" if nothing is."""
    places = 2 ** (NODE_PREFIX - network.prefixlen) if network.prefixlen <= NODE_PREFIX else 0
    if network.prefixlen < LARGEST_PODS:
        return f"{network}: a /{NODE_PREFIX} of it for each node is more than 16 bits longer; /{LARGEST_PODS} at most"
    if places < nodes:
        return f"{network} has a /{NODE_PREFIX} for {places} of {nodes} nodes"
    return ""


def services(network: IPv4Network, dns: IPv4Address) -> str:
    """What is wrong with a network for services, or with the DNS service's address in it; "" if nothing is.

    The first address is the API's own service. Source: Kubernetes, "Service ClusterIP allocation".
    """
    if not LARGEST_SERVICES <= network.prefixlen <= SMALLEST_SERVICES:
        return f"{network}: from /{LARGEST_SERVICES} to /{SMALLEST_SERVICES} are allowed"
    if dns not in network:
        return f"{dns}, which is outside of {network}"
    taken = {network.network_address: "network's own", network.network_address + 1: "API's own"}
    taken[network.broadcast_address] = "last"
    return f"{dns}, the {taken[dns]} address of {network}" if dns in taken else ""
