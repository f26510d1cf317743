"""What is declared of a Hetzner Cloud project, as its operations take it. Nothing is asked for here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from operations import hcloud_load_balancer as balancer
from operations.hcloud_firewall import Firewall, Rule
from operations.hcloud_floating_ip import FloatingIp
from operations.hcloud_network import Network, Subnet
from operations.hcloud_pool import Pool
from operations.hcloud_primary_ip import PrimaryIp
from operations.hcloud_server import Server
from operations.hcloud_volume import Volume
from unterbau.declaration import (
    CloudFirewall,
    CloudNetwork,
    CloudProject,
    FirewallRule,
    HealthCheck,
    LoadBalancer,
    LoadBalancerService,
    NodePool,
)
from unterbau.domain.cloud_labels import POOL, labels, selector
from unterbau.domain.placement import shard_of

SERVERS = "servers"  # the group whose nodes hold the cluster's state
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """All objects of a project as they should be."""

    networks: list[Network] = field(default_factory=list)
    ssh_keys: Mapping[str, str] = field(default_factory=dict)
    placement_groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    firewalls: list[Firewall] = field(default_factory=list)
    primary_ips: list[PrimaryIp] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)
    floating_ips: list[FloatingIp] = field(default_factory=list)
    load_balancers: list[balancer.LoadBalancer] = field(default_factory=list)

    @property
    def servers(self) -> list[Server]:
        """Of all pools, in the order in which they are bought."""
        return [server for pool in self.pools for server in pool.servers]

    @property
    def names(self) -> dict[str, list[str]]:
        """{kind as the API lists it: names}."""
        listed = {
            "networks": self.networks, "firewalls": self.firewalls, "primary_ips": self.primary_ips,
            "servers": self.servers, "volumes": self.volumes, "floating_ips": self.floating_ips,
            "load_balancers": self.load_balancers,
        }  # fmt: skip
        named = {kind: [str(one.name) for one in every] for kind, every in listed.items()}  # type: ignore[attr-defined]
        return {**named, "ssh_keys": list(self.ssh_keys), "placement_groups": list(self.placement_groups)}

    @property
    def addresses(self) -> dict[str, int]:
        """{server: how many public addresses it brings along}."""
        return {one.name: len(set(one.public) - set(one.primary_ips)) for one in self.servers}


def declared(project: CloudProject, data: Data) -> Declared:
    """What the project's data say, `data` as the project's host has them."""
    pools = data.get("node_pools") or ()
    return Declared(
        networks=[_network(one) for one in data.get("cloud_networks") or ()],
        ssh_keys={one.name: one.line for one in data.get("cloud_ssh_keys") or ()},
        placement_groups=dict(chain.from_iterable(_groups(project, pool).items() for pool in pools)),
        firewalls=[_firewall(project, one, pools) for one in data.get("cloud_firewalls") or ()],
        primary_ips=[
            PrimaryIp(one.name, one.type, one.location, one.reverse_dns, one.labels, one.protection)
            for one in data.get("cloud_primary_ips") or ()
        ],
        pools=[_pool(project, pool, data) for pool in pools],
        volumes=[*chain.from_iterable(_volumes(project, pool) for pool in pools), *_own_volumes(data)],
        floating_ips=[
            FloatingIp(one.name, one.type, one.location, one.server, one.reverse_dns, one.labels, one.protection)
            for one in data.get("cloud_floating_ips") or ()
        ],
        load_balancers=[_balancer(project, one) for one in data.get("cloud_load_balancers") or ()],
    )


def _network(one: CloudNetwork) -> Network:
    subnets = [Subnet(str(subnet.cidr), subnet.zone, subnet.type, subnet.vswitch_id) for subnet in one.subnets]
    routes = [(str(route.destination), str(route.gateway)) for route in one.routes]
    return Network(one.name, str(one.cidr), subnets, routes, one.labels, one.protection)


def _firewall(project: CloudProject, one: CloudFirewall, pools: Sequence[NodePool]) -> Firewall:
    selectors = [selector(project.cluster, pool) for pool in one.pools]
    servers = [name for pool in pools if pool.name in one.pools for name in pool.servers(project.cluster)]
    return Firewall(one.name, [_rule(rule) for rule in one.rules], selectors, one.labels, servers)


def _rule(one: FirewallRule) -> Rule:
    sources, destinations = ([str(cidr) for cidr in cidrs] for cidrs in (one.sources, one.destinations))
    return Rule(one.direction, one.protocol, one.written_ports or "", sources, destinations, one.description)


def _group(project: CloudProject, pool: NodePool, number: int) -> str:
    return f"{pool.named(project.cluster)}-{shard_of(number)}" if pool.placement == "spread" else ""


def _groups(project: CloudProject, pool: NodePool) -> dict[str, dict[str, str]]:
    names = [_group(project, pool, number) for number in range(1, pool.count + 1)]
    return {name: {POOL: pool.name} for name in dict.fromkeys(filter(None, names))}


def _pool(project: CloudProject, pool: NodePool, data: Data) -> Pool:
    kept = [one for one in data.get("cloud_primary_ips") or () if one.server]
    bound = [*kept, *(one for one in data.get("cloud_volumes") or () if one.server)]
    names = pool.servers(project.cluster)
    return Pool(
        pool.name,
        pool.types,
        pool.locations,
        [_server(project, pool, number, data) for number in range(1, pool.count + 1)],
        spread=pool.spread_locations,
        most_per_location=pool.wish.most_per_location,
        places={one.server: one.location for one in bound if one.server in names},
        volumes_gb=[volume.size_gib for volume in pool.volumes],
        votes=pool.survives_location or SERVERS in pool.inventory_groups,
    )


def _server(project: CloudProject, pool: NodePool, number: int, data: Data) -> Server:
    name, keys = pool.server(project.cluster, number), data.get("cloud_ssh_keys") or ()
    kept = [one for one in data.get("cloud_primary_ips") or () if one.server == name]
    marks = labels(project.cluster, pool.name, pool.groups_of(name), pool.labels)
    return Server(
        name,
        (),
        pool.image,
        [key.name for key in keys],
        labels=marks,
        networks={pool.network: str(pool.address(number))},
        placement_group=_group(project, pool, number),
        firewalls=[one.name for one in data.get("cloud_firewalls") or () if pool.name in one.pools],
        public=[family for family in ("ipv4", "ipv6") if getattr(pool, f"public_{family}")],
        primary_ips={one.type: one.name for one in kept},
        protected=pool.protection,
        pin=str(project.known_hosts),
    )


def _volumes(project: CloudProject, pool: NodePool) -> list[Volume]:
    return [
        Volume(f"{server}-{one.name}", one.size_gib, server, "", one.format, {POOL: pool.name}, pool.protection)
        for server in pool.servers(project.cluster)
        for one in pool.volumes
    ]


def _own_volumes(data: Data) -> list[Volume]:
    return [
        Volume(one.name, one.size_gib, one.server, one.location, one.format, one.labels, one.protection)
        for one in data.get("cloud_volumes") or ()
    ]


def _balancer(project: CloudProject, one: LoadBalancer) -> balancer.LoadBalancer:
    return balancer.LoadBalancer(
        one.name,
        one.type,
        one.location,
        [_service(service) for service in one.services],
        [selector(project.cluster, pool) for pool in one.targets],
        one.network,
        one.algorithm,
        one.public,
        one.labels,
        one.protection,
    )


def _service(one: LoadBalancerService) -> dict[str, Any]:
    return {
        "protocol": one.protocol,
        "listen_port": one.listen_port,
        "destination_port": one.destination_port,
        "proxyprotocol": one.proxy_protocol,
        "health_check": _check(one.health_check or HealthCheck(), one.destination_port),
    }


def _check(one: HealthCheck, port: int) -> dict[str, Any]:
    asked = {"path": one.path, "status_codes": list(one.status_codes), "tls": one.tls}
    times = {"interval": one.interval_s, "timeout": one.timeout_s, "retries": one.retries}
    http = {"http": asked} if one.protocol == "http" else {}
    return {"protocol": one.protocol, "port": one.port or port, **times, **http}
