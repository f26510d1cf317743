"""Objects of a Kubernetes cluster. Values of secrets never stand here, only their names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Cidr, FilePath, Many, Port, Slug, Some, matching, repeated
from unterbau.declaration.kubernetes_names import (
    DataKey,
    DottedName,
    LabelKey,
    Labels,
    LabelValue,
    ObjectName,
    PortName,
    twice,
)
from unterbau.declaration.kubernetes_pod import Protocol, Text
from unterbau.declaration.problems import Inert
from unterbau.declaration.secret import Ref

BUILT_IN = ("default", "kube-node-lease", "kube-public", "kube-system")  # namespaces that are always there
MANAGED_BY, NAME = "app.kubernetes.io/managed-by", "app.kubernetes.io/name"  # labels that are the platform's own
DENY, DNS = "default-deny", "allow-dns"  # policies that a namespace brings with it
# Of pods of a CronJob: a Deployment's service and budget, which may have the same name, are not for them.
CRON_JOB = "unterbau.io/cron-job"

PodSecurity = Literal["restricted", "baseline", "privileged"]
SecretType = Annotated[str, matching(r"[A-Za-z0-9./-]{1,253}", "a Secret's type such as Opaque or kubernetes.io/tls")]
FreeLabelKey = Annotated[
    LabelKey,
    matching(
        rf"(?!({MANAGED_BY}|{NAME}|{CRON_JOB}|pod-security\.kubernetes\.io/.*)$).*",
        "another key: this one is the platform's",
    ),
]
FreeLabels = dict[FreeLabelKey, LabelValue]


class KubernetesNamespace(Declaration):
    """A namespace: what its pods may be, and that nothing reaches them, nor they anything, but by policies."""

    name: ObjectName = Field(description="unique")
    pod_security: PodSecurity = Field("restricted", description='Pod Security\'s level: "restricted", "baseline" …')
    labels: FreeLabels = Field(default_factory=dict, description="labels besides the platform's own")
    default_deny: bool = Field(default=True, description="a NetworkPolicy that refuses all that no other one allows")
    egress_dns: bool = Field(default=True, description="a NetworkPolicy that allows the cluster's DNS")


class KubernetesServiceAccount(Declaration):
    """Whom pods are for the cluster's API, and for Vault."""

    name: ObjectName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")


class KubernetesConfigMap(Declaration):
    """Text for pods; anybody with access to the namespace reads it."""

    name: DottedName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")
    data: dict[DataKey, Text] = Field(min_length=1, description="key -> text")

    @model_validator(mode="after")
    def _not_too_large(self) -> KubernetesConfigMap:
        """Source: Kubernetes, "ConfigMaps": 1 MiB at most."""
        size = sum(len(key) + len(text.encode()) for key, text in self.data.items())
        if size > 1048576:
            raise rule("data", f"{size} bytes", "at most 1048576 bytes in all")
        return self


class KubernetesSecret(Declaration):
    """Values for pods out of the environment's store."""

    name: DottedName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")
    fields: dict[DataKey, Ref] = Field(min_length=1, description="field -> SecretRef")
    open_fields: dict[DataKey, Text] = Field(
        default_factory=dict, description="field -> text that is no secret, a host's name for example"
    )
    type: SecretType = Field("Opaque", description="Opaque, kubernetes.io/tls …")

    @model_validator(mode="after")
    def _fields_once(self) -> KubernetesSecret:
        if both := sorted(self.fields.keys() & self.open_fields.keys()):
            raise rule("open_fields", f"{both[0]} again", "each field once: in fields, or in open_fields")
        return self


class ServicePort(Declaration):
    """A port of a service."""

    name: PortName = Field(description="unique in the service")
    port: Port = Field(description="what clients connect to")
    target: PortName | None = Field(None, description="the container's port by name; None: the one of this name")
    protocol: Protocol = Field("TCP", description='"TCP" or "UDP"')
    node_port: int | None = Field(
        None, ge=30000, le=32767, description="the port of every node, past its firewall; None: inside only"
    )


def _ports_apart(ports: tuple[ServicePort, ...]) -> tuple[ServicePort, ...]:
    if again := repeated(one.name for one in ports):
        raise twice(f"the port {again[0]!r}")
    if numbers := repeated((one.port, one.protocol) for one in ports):
        raise twice(f"the port {numbers[0][0]}")
    return ports


ServicePorts = Annotated[Some[Annotated[ServicePort, made_of(ServicePort)]], AfterValidator(_ports_apart)]


class KubernetesService(Declaration):
    """A name and an address for the pods of a Deployment."""

    name: ObjectName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")
    deployment: ObjectName = Field(description="the KubernetesDeployment of the namespace whose pods it is for")
    ports: ServicePorts = Field(description="ServicePort(…), …")
    headless: bool = Field(default=False, description="True: no address of its own, its name is that of all pods")

    @model_validator(mode="after")
    def _node_ports_are_chosen(self) -> KubernetesService:
        """A port without a number of its own would get one that nobody sees, on every node."""
        if any(isinstance(one.node_port, Inert) for one in self.ports):
            return self  # the one that failed may be the one that is missed
        without = [one.name for one in self.ports if one.node_port is None]
        if without and len(without) < len(self.ports):
            allowed = "node_port for all of its ports or for none: declare a second service"
            raise rule("ports", f"{without[0]} without node_port", allowed)
        return self

    @model_validator(mode="after")
    def _headless_has_no_node_ports(self) -> KubernetesService:
        if self.headless and any(one.node_port for one in self.ports):
            raise rule("headless", "True with node_port", "one of the two")
        return self


class PolicyPort(Declaration):
    """A port that a policy speaks of."""

    port: Port = Field(description="the number")
    protocol: Protocol = Field("TCP", description='"TCP" or "UDP"')


PolicyPorts = Many[Annotated[PolicyPort, made_of(PolicyPort)]]


class PolicyRule(Declaration):
    """Whom pods may speak with: a network outside, or pods of a namespace."""

    cidr: Cidr | None = Field(None, description="a network; None: pods")
    namespace: ObjectName | None = Field(None, description="whose pods; None: those of the policy's own namespace")
    pods: Labels = Field(default_factory=dict, description="labels of those pods; {} is all of them")
    ports: PolicyPorts = Field((), description="PolicyPort(…), …; () is every one")

    @model_validator(mode="after")
    def _one_kind(self) -> PolicyRule:
        if self.cidr is not None and (self.namespace or self.pods):
            raise rule("cidr", "cidr with namespace or pods", "a network, or pods: a rule for each")
        return self


PolicyRules = Many[Annotated[PolicyRule, made_of(PolicyRule)]]


class KubernetesNetworkPolicy(Declaration):
    """What may reach some pods, and what they may reach, in a namespace that refuses by itself."""

    name: DottedName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")
    pods: Labels = Field(default_factory=dict, description="labels of the pods it is for; {} is all")
    ingress: PolicyRules = Field((), description="PolicyRule(…), …: who may reach them")
    egress: PolicyRules = Field((), description="PolicyRule(…), …: whom they may reach")

    @model_validator(mode="after")
    def _says_something(self) -> KubernetesNetworkPolicy:
        if not self.ingress and not self.egress:
            raise rule(
                "ingress", "a policy that says nothing", "ingress=… or egress=…; default_deny is the namespace's"
            )
        return self


def _plain(value: object) -> object:
    """Text, numbers, truth values, and tuples and dicts of them: what a manifest can be filled with."""
    if isinstance(value, list | tuple):
        return tuple(_plain(one) for one in value)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(one) for key, one in value.items()}
    if not isinstance(value, str | int | bool | float) and value is not None:
        raise ValueError("text, numbers, True, False, None, and tuples and dicts of them; no secrets")
    return value


Plain = Annotated[Any, BeforeValidator(_plain)]
ValueName = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "a name that a template can use")]


class KubernetesManifest(Declaration):
    """Objects of kinds that have no type here: YAML, filled in by Jinja2. One file or text may hold several."""

    name: Slug = Field(description="unique; how the plan names it")
    template: FilePath | None = Field(None, description="the YAML file, from the checkout")
    text: Text | None = Field(None, description="the YAML itself, instead of template")
    values: dict[ValueName, Plain] = Field(default_factory=dict, description="what the template is filled with")

    @model_validator(mode="after")
    def _one_source(self) -> KubernetesManifest:
        if (self.template is None) == (self.text is None):
            found = "neither template nor text" if self.text is None else "template and text"
            raise rule("template", found, "one of the two")
        return self
