"""Rules about objects of Kubernetes: each is declared once, and what it names exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.endpoint import KubernetesEndpoint
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.k3s import SERVER_TAINT, K3s
from unterbau.declaration.kubernetes import BUILT_IN, DENY, DNS, KubernetesService
from unterbau.declaration.kubernetes_pod import Container, KubernetesCronJob, KubernetesDeployment
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_k3s import clusters, members, whole
from unterbau.declaration.secret import SecretRef
from unterbau.declaration.view import View

NAMESPACED = (
    "kubernetes_service_accounts", "kubernetes_config_maps", "kubernetes_secrets", "kubernetes_services",
    "kubernetes_network_policies", "kubernetes_deployments", "kubernetes_cron_jobs",
)  # fmt: skip
KINDS = ("kubernetes_namespaces", *NAMESPACED, "kubernetes_manifests")
_REPELS = ("NoSchedule", "NoExecute")
_OPEN = "default"  # the one namespace that is there by itself and may be used


def api_there(view: View) -> Iterator[Problem]:
    """Objects are made through the API, which is a host."""
    if any(isinstance(one, KubernetesEndpoint) for one in view.endpoints) or not view.inventory.complete:
        return
    for one in [found for kind in KINDS for found in view.each(kind)][:1]:
        said = "endpoints(KubernetesEndpoint(…)) in a group of the inventory: it is where objects are"
        yield view.at(one, "name", "no KubernetesEndpoint", said)


def objects_once(view: View) -> Iterator[Problem]:
    """An object is known by its kind, namespace and name."""
    for kind in KINDS:
        for again in repeated(view.each(kind), lambda one: (getattr(one, "namespace", ""), one.name)):
            yield view.at(again, "name", f"{again.name!r} again", "each name once in the namespace")


def namespaces_ours(view: View) -> Iterator[Problem]:
    """The cluster's own namespaces are not the environment's to declare."""
    for one in view.each("kubernetes_namespaces"):
        if one.name in BUILT_IN:
            yield view.at(one, "name", repr(one.name), "another name: this one is the cluster's own")


def namespaces_there(view: View) -> Iterator[Problem]:
    """An object is in a namespace of ours, or in default; into the cluster's own ones only a manifest puts any."""
    known = [*view.names("kubernetes_namespaces"), _OPEN]
    for one in [found for kind in NAMESPACED for found in view.each(kind)]:
        if one.namespace in BUILT_IN and one.namespace != _OPEN:
            said = "a namespace of yours: into the cluster's own ones only a KubernetesManifest puts objects"
            yield view.at(one, "namespace", repr(one.namespace), said)
        elif one.namespace not in known:
            said = f"one of those declared: {', '.join(known)}{near(one.namespace, known)}"
            yield view.at(one, "namespace", repr(one.namespace), said)
    for policy in view.each("kubernetes_network_policies"):
        for field, rules in (("ingress", policy.ingress), ("egress", policy.egress)):
            for index, rule in enumerate(rules):
                if isinstance(rule.namespace, str) and rule.namespace not in (*known, *BUILT_IN):
                    said = f"one of those declared: {', '.join(known)}{near(rule.namespace, known)}"
                    yield view.at(policy, f"{field}[{index}]", f"the namespace {rule.namespace!r}", said)


def policies_apart(view: View) -> Iterator[Problem]:
    """A namespace that refuses by itself has policies of its own, and their names."""
    spaces = [one for one in view.each("kubernetes_namespaces") if one.default_deny is True]
    taken = {(one.name, DENY) for one in spaces} | {(one.name, DNS) for one in spaces if one.egress_dns is True}
    for policy in view.each("kubernetes_network_policies"):
        if (policy.namespace, policy.name) in taken:
            found = f"{policy.name!r}, which the namespace {policy.namespace} has by itself"
            yield view.at(policy, "name", found, "another name, or default_deny=False there")


def _pods(view: View) -> list[KubernetesCronJob | KubernetesDeployment]:
    return [*view.each("kubernetes_deployments"), *view.each("kubernetes_cron_jobs")]


def named_there(view: View) -> Iterator[Problem]:
    """What pods mount, read and are is declared in their namespace: they would not start without."""
    for one in _pods(view):
        wanted = [(one, "service_account", one.service_account, "kubernetes_service_accounts")]
        for container in filter(view.collector.valid, one.containers):
            wanted += _named_by(view, container)
        for thing, field, name, kind in wanted:
            known = _names(view, kind, one.namespace)
            if isinstance(name, str) and name not in known and not (kind == NAMESPACED[0] and name == "default"):
                there = ", ".join(known) or "none is declared"
                said = f"one of {kind} in {one.namespace}: {there}{near(name, known)}"
                yield view.at(thing, field, repr(name), said)


def _named_by(view: View, one: Container) -> list[tuple[Any, str, str | None, str]]:
    volumes = list(filter(view.collector.valid, one.volumes))
    return [
        *((one, "env_from_secrets", name, "kubernetes_secrets") for name in one.env_from_secrets),
        *((volume, "secret", volume.secret, "kubernetes_secrets") for volume in volumes),
        *((volume, "config_map", volume.config_map, "kubernetes_config_maps") for volume in volumes),
    ]


def _names(view: View, kind: str, namespace: str) -> list[str]:
    """Names in a namespace, also of declarations with a problem of their own."""
    tuples = [data[kind] for data in view.data.values() if isinstance(data.get(kind), tuple)]
    found = [one.name for values in tuples for one in values if getattr(one, "namespace", None) == namespace]
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


def services_have_pods(view: View) -> Iterator[Problem]:
    """A service is for pods that are declared, and for ports that they have."""
    deployments = {(one.namespace, one.name): one for one in view.each("kubernetes_deployments")}
    for service in view.each("kubernetes_services"):
        known = _names(view, "kubernetes_deployments", service.namespace)
        deployment = deployments.get((service.namespace, service.deployment))
        if service.deployment not in known:
            there = ", ".join(known) or "none is declared"
            said = f"one of kubernetes_deployments in {service.namespace}: {there}{near(service.deployment, known)}"
            yield view.at(service, "deployment", repr(service.deployment), said)
        elif deployment is not None:
            yield from _ports_there(view, service, deployment)


def _ports_there(view: View, service: KubernetesService, deployment: KubernetesDeployment) -> Iterator[Problem]:
    containers = [one for one in deployment.containers if view.collector.valid(one)]
    ports = [port for one in containers for port in one.ports]
    if len(containers) < len(deployment.containers) or not all(map(view.collector.valid, ports)):
        return  # the port that is missed may be the one that failed
    for one in filter(view.collector.valid, service.ports):
        there = [port.name for port in ports if port.protocol == one.protocol]
        target = one.target or one.name
        if target not in there:
            said = f"a {one.protocol} port of {deployment.name}: {', '.join(there) or 'none'}{near(target, there)}"
            yield view.at(service, "ports", f"the target {target!r}", said)


def node_ports_once(view: View) -> Iterator[Problem]:
    """Every node listens on it, so no two services can have it."""
    taken: dict[tuple[int, str], KubernetesService] = {}
    for service in view.each("kubernetes_services"):
        for port in (one for one in service.ports if view.collector.valid(one) and one.node_port):
            other = taken.setdefault((port.node_port, port.protocol), service)
            if other is not service:
                said = f"a node_port of its own ({other.name} at {view.where(other)} has it)"
                yield view.at(service, "ports", f"node_port {port.node_port} again", said)


def nodes_there(view: View) -> Iterator[Problem]:
    """Some node has the labels that pods ask for, and no taint that they do not tolerate: else they wait for ever."""
    found = clusters(view)
    for cluster, _ in found if len(found) == 1 else ():
        if not whole(view, cluster) or not all(map(view.collector.valid, (*cluster.labels, *cluster.taints))):
            continue
        nodes = {node: _of_node(view, cluster, node) for node in members(view, cluster)}
        for one in _pods(view):
            wanted = {pair for pair in one.node_selector.items() if not _set_by_itself(pair[0])}
            fit = [taints for labels, taints in nodes.values() if wanted <= labels]
            if wanted and not fit:
                said = ", ".join(f"{key}={value}" for key, value in sorted(wanted))
                yield view.at(one, "node_selector", said, "labels that a node has (labels of k3s)")
            elif fit and all(taints - {*one.tolerates} for taints in fit):
                keys = sorted(set[str].union(*fit) - {*one.tolerates})
                said = f"{', '.join(one.tolerates) or 'nothing'}, but every node that it may run on has another taint"
                yield view.at(one, "tolerates", said, f"the keys of one node's taints: {', '.join(keys)}")


def _of_node(view: View, cluster: K3s, node: str) -> tuple[set[tuple[str, str]], set[str]]:
    """(labels, keys of taints that keep pods away) that a node registers with."""
    labels = {(one.key, one.value) for one in cluster.labels if node in view.groups.get(one.nodes, ())}
    taints = {one.key for one in cluster.taints if node in view.groups.get(one.nodes, ()) and one.effect in _REPELS}
    on_server = cluster.server_taint and node in view.groups.get(cluster.servers, ())
    return labels, taints | ({SERVER_TAINT} if on_server else set())


def _set_by_itself(key: str) -> bool:
    return key.partition("/")[0].endswith(("kubernetes.io", "k8s.io", "k3s.io"))


def templates_there(view: View) -> Iterator[Problem]:
    """A manifest's file is there; what it says is read when a run renders it."""
    for one in view.each("kubernetes_manifests"):
        if one.template and not _is_file(view, one.template):
            yield view.at(one, "template", repr(one.template), "a file, from the checkout, or absolute")


def _is_file(view: View, path: str) -> bool:
    """As a run finds it: from the working directory, which is the checkout; or from the inventory's own checkout."""
    given = Path(path).expanduser()
    return given.is_file() or (view.inventory.path.parent.parent / given).is_file()


def kubernetes_secrets(view: View) -> Iterator[tuple[Declaration, str, str]]:
    """(declaration, field, name) of every secret that is named."""
    for one in view.each("kubernetes_secrets"):
        yield from ((one, f"fields[{key}]", ref.name) for key, ref in one.fields.items() if isinstance(ref, SecretRef))


kubernetes_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    api_there, objects_once, namespaces_ours, namespaces_there, policies_apart, named_there, services_have_pods,
    node_ports_once, nodes_there, templates_there,
)  # fmt: skip
