"""From declarations to Kubernetes objects; pure functions. What the platform itself sets of each stands here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyinfra.api import HiddenValue

from operations.kubernetes_object import Object
from unterbau.declaration.kubernetes import (
    DENY,
    DNS,
    NAME,
    KubernetesConfigMap,
    KubernetesNamespace,
    KubernetesNetworkPolicy,
    KubernetesSecret,
    KubernetesService,
    KubernetesServiceAccount,
    PolicyRule,
    ServicePort,
)
from unterbau.domain.kubernetes_object import ADMIN_GROUP, VIEW_GROUP, Ref, hash_purpose
from unterbau.secrets.hidden import MASK

POD_SECURITY = "pod-security.kubernetes.io"
NAMESPACE_NAME = "kubernetes.io/metadata.name"  # a label that every namespace has. Source: Kubernetes, "Namespaces"
CLUSTER_DNS = {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "kube-system"}},
               "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}  # fmt: skip


def manifest(api_version: str, kind: str, name: str, namespace: str = "", **parts: Any) -> dict[str, Any]:
    """An object; what is None of it is left out."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **present(**parts)}


def present(**parts: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in parts.items() if value is not None}


def namespace(one: KubernetesNamespace) -> Object:
    """Pod Security refuses, warns of and audits at the declared level."""
    levels: dict[str, str] = {f"{POD_SECURITY}/{mode}": one.pod_security for mode in ("enforce", "audit", "warn")}
    levels[f"{POD_SECURITY}/enforce-version"] = "latest"  # one that somebody sets by hand is older, and weaker
    made = manifest("v1", "Namespace", one.name)
    made["metadata"]["labels"] = {**one.labels, **levels}
    return Object(made)


def namespace_policies(one: KubernetesNamespace) -> Iterator[Object]:
    """Nothing in, nothing out, but the cluster's DNS. Source: Kubernetes, "Network Policies", default policies."""
    if one.default_deny:
        spec: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        yield Object(manifest("networking.k8s.io/v1", "NetworkPolicy", DENY, one.name, spec=spec))
    if one.default_deny and one.egress_dns:
        ports = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
        spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [CLUSTER_DNS], "ports": ports}]}
        yield Object(manifest("networking.k8s.io/v1", "NetworkPolicy", DNS, one.name, spec=spec))


def operator_roles() -> Iterator[Object]:
    """What people with a kubeconfig of their own may do: the groups of `unterbau kubernetes kubeconfig`.

    Source: Kubernetes, "Using RBAC Authorization", user-facing roles.
    """
    for group, role in ((VIEW_GROUP, "view"), (ADMIN_GROUP, "cluster-admin")):
        api = "rbac.authorization.k8s.io"
        subject = {"kind": "Group", "name": group, "apiGroup": api}
        reference = {"kind": "ClusterRole", "name": role, "apiGroup": api}
        yield Object(manifest(f"{api}/v1", "ClusterRoleBinding", group, roleRef=reference, subjects=[subject]))


def service_account(one: KubernetesServiceAccount) -> Object:
    """Only pods that ask for its token get one."""
    return Object(manifest("v1", "ServiceAccount", one.name, one.namespace, automountServiceAccountToken=False))


def config_map(one: KubernetesConfigMap) -> Object:
    """Its texts."""
    return Object(manifest("v1", "ConfigMap", one.name, one.namespace, data=dict(one.data)))


def secret(
    one: KubernetesSecret, cluster: str, values: Mapping[str, HiddenValue], keyed_hash: Callable[[str, str], str]
) -> Object:
    """`values` are of its fields. All are hidden, and beside each stands its keyed hash."""
    hidden: dict[str, HiddenValue] = {
        **values,
        **{name: HiddenValue(text, MASK) for name, text in one.open_fields.items()},
    }
    made = manifest("v1", "Secret", one.name, one.namespace, type=one.type, data=hidden)
    ref = Ref.of(made)
    hashes = {name: keyed_hash(hash_purpose(cluster, ref, name), value.unmask()) for name, value in hidden.items()}
    return Object(made, hashes)


def service(one: KubernetesService) -> Object:
    """For the pods of a Deployment."""
    spec = present(
        type="NodePort" if any(port.node_port for port in one.ports) else "ClusterIP",
        clusterIP="None" if one.headless else None,
        selector={NAME: one.deployment},
        ports=[_service_port(port) for port in one.ports],
    )
    return Object(manifest("v1", "Service", one.name, one.namespace, spec=spec))


def _service_port(one: ServicePort) -> dict[str, Any]:
    target = one.target or one.name
    return present(name=one.name, port=one.port, targetPort=target, protocol=one.protocol, nodePort=one.node_port)


def network_policy(one: KubernetesNetworkPolicy) -> Object:
    """What it allows in the directions that it speaks of."""
    directions = {"Ingress": one.ingress, "Egress": one.egress}
    spec = present(
        podSelector=_selector(one.pods),
        policyTypes=[direction for direction, rules in directions.items() if rules],
        ingress=[_rule("from", rule) for rule in one.ingress] or None,
        egress=[_rule("to", rule) for rule in one.egress] or None,
    )
    return Object(manifest("networking.k8s.io/v1", "NetworkPolicy", one.name, one.namespace, spec=spec))


def _rule(direction: str, one: PolicyRule) -> dict[str, Any]:
    ports = [{"port": port.port, "protocol": port.protocol} for port in one.ports]
    return {direction: [_peer(one)], **({"ports": ports} if ports else {})}


def _peer(one: PolicyRule) -> dict[str, Any]:
    if one.cidr is not None:
        return {"ipBlock": {"cidr": str(one.cidr)}}
    elsewhere = {"namespaceSelector": _selector({NAMESPACE_NAME: one.namespace})} if one.namespace else {}
    return {**elsewhere, **({"podSelector": _selector(one.pods)} if one.pods or not one.namespace else {})}


def _selector(labels: Mapping[str, str]) -> dict[str, Any]:
    return {"matchLabels": dict(labels)} if labels else {}
