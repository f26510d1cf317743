"""Rules about a cloud project's networks and load balancers: what is named exists, is in reach, and has room."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from unterbau.declaration.cloud import CloudNetwork
from unterbau.declaration.cloud_load_balancer import LoadBalancer
from unterbau.declaration.cloud_names import ZONES, sound
from unterbau.declaration.cloud_pool import NodePool
from unterbau.declaration.k3s import K3s
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_cloud import cloud_names, one_of, pool_names, pools
from unterbau.declaration.view import View
from unterbau.domain import cloud_quota


def _networks(view: View) -> dict[str, CloudNetwork]:
    return {one.name: one for one in view.of_clouds("cloud_networks")}


def _balancers(view: View) -> list[LoadBalancer]:
    return view.of_clouds("cloud_load_balancers")


def _in_networks(view: View) -> list[NodePool | LoadBalancer]:
    return [*pools(view), *_balancers(view)]


def networks_there(view: View) -> Iterator[Problem]:
    """Pools and load balancers are in a network that is declared."""
    known = cloud_names(view, "cloud_networks")
    for one in _in_networks(view):
        if one.network not in known:
            yield view.at(one, "network", repr(one.network), one_of("CloudNetwork", known, one.network))


def zones_there(view: View) -> Iterator[Problem]:
    """A subnet of a location's zone gives private addresses there. Source: Hetzner Cloud, "Networks", network zones."""
    networks = _networks(view)
    for one in _in_networks(view):
        network = networks.get(one.network)
        if network is None or len(sound(network.subnets)) < len(network.subnets):
            continue
        zones = {subnet.zone for subnet in network.subnets if subnet.type == "cloud"}
        field = "location" if isinstance(one, LoadBalancer) else "locations"
        for location in (one.location,) if isinstance(one, LoadBalancer) else one.locations:
            if ZONES[location] not in zones:
                found = f"{location!r}, which is in the zone {ZONES[location]}"
                allowed = (
                    f"locations of the zones that the network {one.network} has a subnet of: {_list(sorted(zones))}"
                )
                yield view.at(one, field, found, allowed)


def attachments_fit(view: View) -> Iterator[Problem]:
    """Source: Hetzner Cloud, "Networks" FAQ: 100 attached servers and load balancers."""
    for name, network in _networks(view).items():
        servers = {pool.name: pool.count for pool in pools(view) if pool.network == name}
        balancers = sum(one.network == name for one in _balancers(view))
        verdict = cloud_quota.attachments(servers, balancers)
        if not verdict.passed:
            yield view.at(network, "name", verdict.arithmetic, "fewer, or another CloudNetwork for a pool")


def cluster_networks_apart(view: View) -> Iterator[Problem]:
    """Pods and services have addresses that are in no network of the cloud, else its servers could not be reached."""
    every = [*view.data.values(), *view.endpoint_data.values()]
    clusters = {id(one): one for data in every if isinstance(one := data.get("k3s"), K3s) and view.collector.valid(one)}
    for cluster in clusters.values():
        for network in _networks(view).values():
            for field in ("cluster_cidr", "service_cidr"):
                if network.cidr.overlaps(getattr(cluster, field)):
                    found = f"{network.cidr}, which overlaps {field} {getattr(cluster, field)} of {cluster.label}"
                    yield view.at(network, "cidr", found, "a network apart from those of pods and services")


def targets_there(view: View) -> Iterator[Problem]:
    """A load balancer's targets are pools of its own network."""
    networks, known = {pool.name: pool.network for pool in pools(view)}, pool_names(view)
    for one in _balancers(view):
        for name in one.targets:
            if name not in known:
                yield view.at(one, "targets", repr(name), one_of("NodePool", known, name))
            elif networks.get(name, one.network) != one.network:
                found = f"{name!r}, which is in the network {networks[name]}"
                yield view.at(one, "targets", found, f"pools of the network {one.network}, its own")


def balancers_fit(view: View) -> Iterator[Problem]:
    """Source: Hetzner Cloud, "Load Balancers": services and targets of each type."""
    counts = {pool.name: pool.count for pool in pools(view)}
    for one in _balancers(view):
        services, targets = cloud_quota.LOAD_BALANCERS.get(one.type, (None, None))
        if services is not None and len(one.services) > services:
            yield view.at(one, "services", f"{len(one.services)} services", f"at most {services} for {one.type}")
        wanted = sum(counts.get(name, 0) for name in one.targets)
        if targets is not None and wanted > targets:
            parts = " + ".join(f"{counts.get(name, 0)} ({name})" for name in one.targets)
            yield view.at(one, "targets", f"{parts} = {wanted} servers", f"at most {targets} for {one.type}")


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"


cloud_network_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    networks_there, zones_there, attachments_fit, cluster_networks_apart, targets_there, balancers_fit,
)  # fmt: skip
