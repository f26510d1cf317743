"""Rules about flows between the nodes of a cluster: a join that cannot reach what it needs would wait for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from typing import NamedTuple

from unterbau.declaration.explain import near
from unterbau.declaration.flow import PODS
from unterbau.declaration.k3s import K3s
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_flows import accepted, all_known, answers
from unterbau.declaration.rules_k3s import clusters
from unterbau.declaration.view import View

OVERLAY = {"vxlan": 8472, "wireguard-native": 51820}  # flannel's UDP port; host-gw has none


class Way(NamedTuple):
    """Nodes of the groups `sources` reach the ports on nodes of the groups `targets`."""

    name: str
    protocol: str
    ports: tuple[int, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def flow(self) -> str:
        """The flow that would open it, to be copied."""
        ports = ", ".join(map(str, self.ports)) + ("," if len(self.ports) == 1 else "")
        source, target = (groups[0] if len(groups) == 1 else "all" for groups in (self.sources, self.targets))
        who = f'source="{source}", target="{target}"'
        return f'Flow(name="…", {who}, protocol="{self.protocol}", ports=({ports}))'


def nodes_reach_each_other(view: View) -> Iterator[Problem]:
    """What listens where: the API and etcd of servers, every kubelet, flannel. Source: K3s, "Requirements"."""
    for cluster, _ in clusters(view) if view.readable and not near("flows", view.unknown) else ():
        for way in _ways(cluster):
            if shut := _shut(view, way):
                asks, at = shut
                ports = ", ".join(map(str, way.ports))
                yield view.here(
                    "flows", f"no flow to {way.name} ({way.protocol} {ports}) of {at} from {asks}", way.flow
                )


def ports_of(cluster: K3s) -> set[tuple[str, int]]:
    """(protocol, port) of all that nodes of a cluster reach on each other."""
    return {(way.protocol, port) for way in _ways(cluster) for port in way.ports}


def _ways(cluster: K3s) -> Iterator[Way]:
    servers, everybody = (cluster.servers,), tuple(group for group in (cluster.servers, cluster.agents) if group)
    yield Way("the API", "tcp", (cluster.api_port,), everybody, servers)
    yield Way("kubelets", "tcp", (10250,), servers, everybody)
    if cluster.datastore is None:
        yield Way("etcd", "tcp", (2379, 2380), servers, servers)
    if cluster.flannel_backend in OVERLAY:
        yield Way("the pods' network", "udp", (OVERLAY[cluster.flannel_backend],), everybody, everybody)


def _shut(view: View, way: Way) -> tuple[str, str] | None:
    """The first (node that asks, node that does not answer); None if all do, or if it is not known."""
    asking, at = ([node for group in groups for node in view.groups.get(group, ())] for groups in way[3:])
    pairs = ((node, one) for one in at for node in asking)
    return next(
        (p for p in pairs if not all(answers(view, p[1], p[0], way.protocol, port) for port in way.ports)), None
    )


def pods_reach_the_api(view: View) -> Iterator[Problem]:
    """A pod that asks the API of its own node does so with its own address."""
    for cluster, _ in clusters(view) if view.readable and not near("flows", view.unknown) else ():
        way = Way("the API", "tcp", (cluster.api_port,), (PODS,), (cluster.servers,))
        for node in view.groups.get(cluster.servers, ()):
            flows = accepted(view, node, "tcp", cluster.api_port)
            if all_known(view, view.data[node]) and not any(
                _of_pods(one.source, cluster.cluster_cidr) for one in flows
            ):
                yield view.here(
                    "flows", f"no flow to the API (tcp {cluster.api_port}) of {node} from its pods", way.flow
                )
                break


def _of_pods(source: str, pods: IPv4Network) -> bool:
    return source == PODS or (source[:1].isdigit() and pods.subnet_of(IPv4Network(source)))


k3s_flow_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (nodes_reach_each_other, pods_reach_the_api)
