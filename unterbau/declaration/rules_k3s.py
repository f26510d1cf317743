"""Rules about K3s: who is in the cluster, its networks, what nodes register with, and where snapshots go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.data import K3S_REMOVED
from unterbau.declaration.endpoint import KubernetesEndpoint, SecretStore
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.k3s import SERVER_TAINT, K3s, NodeLabel, NodeTaint
from unterbau.declaration.node import Network
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_s3 import identity_statements
from unterbau.declaration.s3 import is_buckets
from unterbau.declaration.secret import CertificateAuthority, Secret, is_secrets
from unterbau.declaration.storage import S3Endpoint
from unterbau.declaration.view import View
from unterbau.domain import cidr
from unterbau.domain.s3_policy import allowed

# What K3s does with a bucket; that it may delete is no use under a lock. Source: k3s-io/k3s, pkg/etcd/s3.
SNAPSHOT_ACTIONS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")
# Labels that a kubelet may give its own node. Source: Kubernetes, NodeRestriction.
_ALLOWED = ("node.kubernetes.io", "kubelet.kubernetes.io")


def clusters(view: View) -> list[tuple[K3s, list[str]]]:
    """Each different `k3s`, with the nodes that have it in their data."""
    return [(one, nodes) for one, nodes in view.values("k3s") if isinstance(one, K3s)]


def members(view: View, cluster: K3s) -> list[str]:
    """Nodes of the cluster: servers, then agents."""
    return list(dict.fromkeys(name for group in _groups(cluster) for name in view.groups.get(group, ())))


def whole(view: View, cluster: K3s) -> bool:
    """Whether its groups are known: what is missed may be of one that is misspelt."""
    return view.inventory.complete and all(group in view.groups for group in _groups(cluster))


def _groups(cluster: K3s) -> list[str]:
    return [group for group in (cluster.servers, cluster.agents) if group]


def one_cluster(view: View) -> Iterator[Problem]:
    """An environment has one cluster, and every node of it reads the same declaration."""
    found = clusters(view)
    for other, nodes in found[1:]:
        allowed_ = f"one cluster for the environment ({view.where(found[0][0])})"
        yield view.at(other, "name", f"another cluster for {', '.join(nodes)}", allowed_)
    for cluster, nodes in found[:1] if len(found) == 1 else ():
        blind = [name for name in members(view, cluster) if name not in nodes]
        if blind:
            said = f"a group data file that all its nodes read (all.py or {view.inventory.path.stem}.py)"
            yield view.at(cluster, "servers", f"nothing of it in the data of {', '.join(blind)}", said)


def groups_there(view: View) -> Iterator[Problem]:
    """Servers and agents are groups, and a node is one of the two."""
    for cluster, _ in clusters(view) if view.inventory.complete else ():
        for field, group in (("servers", cluster.servers), ("agents", cluster.agents)):
            if group and group not in view.groups:
                yield view.at(cluster, field, repr(group), f"a group of nodes{near(group, view.groups)}")
        both = [name for name in view.groups.get(cluster.agents, ()) if name in view.groups.get(cluster.servers, ())]
        if both:
            said = "nodes that are no servers: a server runs an agent of its own"
            yield view.at(cluster, "agents", f"{', '.join(both)}, also in {cluster.servers}", said)


def servers_odd(view: View) -> Iterator[Problem]:
    """Raft majority, n//2+1: an even member adds a vote to win and no loss to survive. Source: etcd FAQ.

    With an etcd elsewhere the servers have no votes. The group `servers` has a rule of its own already.
    """
    for cluster, _ in clusters(view) if view.inventory.complete else ():
        count = len(view.groups.get(cluster.servers, ()))
        if count and count % 2 == 0 and cluster.datastore is None and cluster.servers != "servers":
            found = f"{count} servers: quorum {count // 2 + 1}, survives {(count - 1) // 2} down"
            yield view.at(cluster, "servers", found, f"an odd number of servers ({count - 1} or {count + 1})")


def networks_apart(view: View) -> Iterator[Problem]:
    """Pods, services, nodes and controllers have addresses of their own, else some could not be reached."""
    for cluster, nodes in clusters(view):
        known = {"cluster_cidr": cluster.cluster_cidr, "service_cidr": cluster.service_cidr}
        network = view.data[nodes[0]].get("network")
        if isinstance(network, Network) and view.collector.valid(network):
            known["network.cidr"] = network.cidr
            known |= {f"network.controllers[{index}]": one for index, one in enumerate(network.controllers)}
        for one, other in cidr.overlapping(known):
            if not one.startswith("network."):
                found = f"{known[one]}, which overlaps with {other} ({known[other]})"
                yield view.at(cluster, one, found, "a network of its own")


def networks_fit(view: View) -> Iterator[Problem]:
    """A /24 of pods for every node, and the DNS service among the services."""
    for cluster, _ in clusters(view):
        count = len(members(view, cluster))
        if found := cidr.pods(cluster.cluster_cidr, count):
            yield view.at(cluster, "cluster_cidr", found, f"a network with a /24 for {count} nodes, and more to come")
        if found := cidr.services(cluster.service_cidr, cluster.cluster_dns):
            field = "cluster_dns" if found.startswith(str(cluster.cluster_dns)) else "service_cidr"
            said = f"a free address of {cluster.service_cidr}" if field == "cluster_dns" else "a network such as a /16"
            yield view.at(cluster, field, found, said)


def endpoint_fits(view: View) -> Iterator[Problem]:
    """The API that is asked is the one of the declared servers; its tokens are secrets of the store."""
    found = [one for one, _ in clusters(view)]
    apis = [one for one in view.endpoints if isinstance(one, KubernetesEndpoint) and view.collector.valid(one)]
    for api in apis:
        if not found and view.readable and not view.anywhere("k3s"):
            said = f"k3s in group_data/all.py or group_data/{view.inventory.path.stem}.py"
            yield view.here("k3s", "nothing for all nodes", said)
        for cluster in found[:1]:
            if api.members != cluster.servers:
                said = f"{cluster.servers!r}, the servers of k3s ({view.where(cluster)})"
                yield view.at(api, "members", repr(api.members), said)
            if api.port != cluster.api_port:
                said = f"{cluster.api_port}, the api_port of k3s ({view.where(cluster)})"
                yield view.at(api, "port", str(api.port), said)
    stores = [one for one in view.endpoints if isinstance(one, SecretStore)]
    for cluster in found[:1] if view.inventory.complete and not stores else ():
        yield view.at(cluster, "token", "no SecretStore", "endpoints(SecretStore(…)) in a group of the inventory too")


def tokens_apart(view: View) -> Iterator[Problem]:
    """An agent's token does not make servers, and no authority is a token."""
    kinds = {str(one.name): one.kind for data in view.data.values() for one in _declared_secrets(data)}
    for cluster, _ in clusters(view):
        if cluster.token == cluster.agent_token:
            yield view.at(cluster, "agent_token", f"{cluster.token!r} again", "a secret of its own")
        for field, name in (("token", cluster.token), ("agent_token", cluster.agent_token)):
            if isinstance(kinds.get(name), CertificateAuthority):
                yield view.at(cluster, field, f"{name!r}, an authority", "a Password(…) or RandomKey(…)")


def _declared_secrets(data: Any) -> list[Secret]:
    values = [value for name, value in data.items() if is_secrets(name) and isinstance(value, tuple)]
    return [one for value in values for one in value if isinstance(one, Secret)]


def registrations_fit(view: View) -> Iterator[Problem]:
    """What nodes register with: of groups of the cluster, allowed to a kubelet, and each key once a node."""
    for cluster, _ in clusters(view):
        labels = [one for one in cluster.labels if view.collector.valid(one)]
        taints = [one for one in cluster.taints if view.collector.valid(one)]
        for label in labels:
            yield from _of_cluster(view, cluster, label)
            yield from _may_label(view, label)
        for taint in taints:
            yield from _of_cluster(view, cluster, taint)
        yield from _once(view, labels, lambda one: (one.key,))
        yield from _once(view, taints, lambda one: (one.key, one.effect))
        for taint in taints:
            if taint.key == SERVER_TAINT and cluster.server_taint:
                yield view.at(taint, "key", repr(taint.key), "another key: server_taint of k3s stands for this one")


def _of_cluster(view: View, cluster: K3s, one: NodeLabel | NodeTaint) -> Iterator[Problem]:
    inside = members(view, cluster)
    outside = [name for name in view.groups.get(one.nodes, ()) if name not in inside]
    if one.nodes not in view.groups and view.inventory.complete:
        yield view.at(one, "nodes", repr(one.nodes), f"a group of nodes{near(one.nodes, view.groups)}")
    elif outside and view.inventory.complete and whole(view, cluster):
        said = f"nodes of the cluster ({' and '.join(_groups(cluster))})"
        yield view.at(one, "nodes", f"{', '.join(outside)} of {one.nodes}, in no group of k3s", said)


def _may_label(view: View, label: NodeLabel) -> Iterator[Problem]:
    domain = label.key.rpartition("/")[0]
    ours = any(domain == one or domain.endswith(f".{one}") for one in ("kubernetes.io", "k8s.io"))
    if ours and not any(domain == one or domain.endswith(f".{one}") for one in _ALLOWED):
        said = "a key outside of kubernetes.io and k8s.io, or below node.kubernetes.io: a kubelet may set no other"
        yield view.at(label, "key", repr(label.key), said)


def _once(view: View, declared: Sequence[Any], key: Callable[[Any], tuple[str, ...]]) -> Iterator[Problem]:
    taken: dict[tuple[str, ...], Declaration] = {}
    for one in declared:
        again = [name for name in view.groups.get(one.nodes, ()) if taken.setdefault((name, *key(one)), one) is not one]
        if again:
            other = taken[again[0], *key(one)]
            yield view.at(one, "key", f"{one.key!r} again for {again[0]}", f"each once a node ({view.where(other)})")


def registries_once(view: View) -> Iterator[Problem]:
    """A registry's mirrors are one declaration."""
    for cluster, _ in clusters(view):
        for again in repeated(cluster.registries, lambda one: one.registry):
            yield view.at(again, "registry", f"{again.registry!r} again", "each registry once, with all its endpoints")


def snapshots_reach_their_bucket(view: View) -> Iterator[Problem]:
    """Who writes snapshots is declared, and may do what K3s does with the bucket."""
    for cluster in (one for one, _ in clusters(view) if one.snapshot_bucket):
        buckets = [name for data in view.data.values() for name in data if is_buckets(name)]
        known = list(dict.fromkeys(name for kind in buckets for name in view.names(kind)))
        users = view.names("s3_users")
        for field, name, there in (
            ("snapshot_bucket", cluster.snapshot_bucket, known),
            ("snapshot_user", cluster.snapshot_user, users),
        ):
            if name not in there:
                said = f"one of those declared: {', '.join(there) or 'none is declared'}{near(name, there)}"
                yield view.at(cluster, field, repr(name), said)
        if view.inventory.complete and not any(isinstance(one, S3Endpoint) for one in view.endpoints):
            said = "endpoints(S3Endpoint(…)) in a group of the inventory: it is where buckets are"
            yield view.at(cluster, "snapshot_bucket", "no S3Endpoint", said)
        yield from _may_write(view, cluster)


def _may_write(view: View, cluster: K3s) -> Iterator[Problem]:
    for user in (one for one in view.each("s3_users") if one.name == cluster.snapshot_user):
        statements, complete = identity_statements(view, user)
        may = allowed(statements, SNAPSHOT_ACTIONS, cluster.snapshot_bucket)
        if complete and (missing := [one for one in SNAPSHOT_ACTIONS if one not in may]):
            found = f"{user.name!r}, who may not {', '.join(missing)}"
            yield view.at(cluster, "snapshot_user", found, f"a user who may, on {cluster.snapshot_bucket}")


def removed_is_gone(view: View) -> Iterator[Problem]:
    """Who is to leave the cluster is not declared to be in it. A machine that is replaced keeps its name and stays."""
    inside = {name: cluster for cluster, _ in clusters(view) for name in members(view, cluster)}
    for names, _ in view.values(K3S_REMOVED):
        for name in (one for one in names if one in inside):
            group = next(one for one in _groups(inside[name]) if name in view.groups[one])
            said = f"declare one or the other: in {group}, or removed (a replaced machine stays in its group)"
            yield view.here(K3S_REMOVED, f"{name}, which is in the group {group}", said)


def k3s_secrets(view: View) -> Iterator[tuple[Declaration, str, str]]:
    """(declaration, field, name) of every secret that is named."""
    for cluster, _ in clusters(view):
        yield from ((cluster, "token", cluster.token), (cluster, "agent_token", cluster.agent_token))
        for mirror in filter(view.collector.valid, cluster.registries):
            yield from [(mirror, "ca", mirror.ca)] if mirror.ca else []
            yield from [(mirror, "password", mirror.password.name)] if mirror.password else []
        if (store := cluster.datastore) and view.collector.valid(store):
            yield from ((store, "ca", store.ca), (store, "certificate", store.certificate), (store, "key", store.key))


k3s_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    one_cluster, groups_there, servers_odd, networks_apart, networks_fit, endpoint_fits, tokens_apart,
    registrations_fit, registries_once, snapshots_reach_their_bucket, removed_is_gone,
)  # fmt: skip
