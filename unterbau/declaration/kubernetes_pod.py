"""Pods of a cluster: containers, and the two kinds of objects that make pods of them.

Every pod is rendered as Pod Security's profile "restricted" wants it: no root, no capabilities, the runtime's seccomp
profile, no privilege escalation. Source: Kubernetes, "Pod Security Standards".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Many, Port, Some, matching, repeated
from unterbau.declaration.kubernetes_names import (
    CronJobName,
    DottedName,
    EnvName,
    Image,
    LabelKeys,
    Labels,
    MountPath,
    ObjectName,
    PortName,
    Schedule,
    SecretNames,
    TimeZone,
    twice,
)
from unterbau.declaration.problems import Inert

Protocol = Literal["TCP", "UDP"]
Concurrency = Literal["Forbid", "Replace", "Allow"]
Text = Annotated[str, matching(r"[^\x00]*", "text without NUL")]
HttpPath = Annotated[str, matching(r"(/[!-~]*)?", "a path of the container's HTTP server, '/ready'")]


class ContainerPort(Declaration):
    """A port that a container listens on."""

    name: PortName = Field(description="unique in the pod; services and probes name it")
    port: Port = Field(description="the number")
    protocol: Protocol = Field("TCP", description='"TCP" or "UDP"')


class Probe(Declaration):
    """How the kubelet asks whether a container is well: by HTTP, or by a command that ends with 0."""

    port: PortName | None = Field(None, description="a ContainerPort of the container, for HTTP")
    path: HttpPath = Field("", description="the path that is asked for there")
    command: Many[Text] = Field((), description="a command in the container, instead of HTTP")
    period_s: int = Field(10, ge=1, le=3600, description="between two questions")
    timeout_s: int = Field(3, ge=1, le=600, description="for one answer")
    failures: int = Field(3, ge=1, le=100, description="that many in a row count")

    @model_validator(mode="after")
    def _one_way(self) -> Probe:
        if bool(self.command) == bool(self.port) or bool(self.port) != bool(self.path):
            raise rule("port", "port, path and command in another combination", "port and path, or command")
        return self


class Volume(Declaration):
    """What is mounted into a container: a ConfigMap, a Secret, or an empty folder of a size."""

    path: MountPath = Field(description="where it is mounted, unique in the container")
    config_map: DottedName | None = Field(None, description="a KubernetesConfigMap of the namespace, read only")
    secret: DottedName | None = Field(None, description="a KubernetesSecret of the namespace, read only")
    empty_mib: int | None = Field(None, ge=1, le=1048576, description="the most that an empty folder may take")

    @model_validator(mode="after")
    def _one_source(self) -> Volume:
        sources = [one for one in (self.config_map, self.secret, self.empty_mib) if one is not None]
        if len(sources) != 1:
            raise rule("config_map", f"{len(sources)} sources", "one of config_map, secret and empty_mib")
        return self


ContainerPorts = Many[Annotated[ContainerPort, made_of(ContainerPort)]]
Volumes = Many[Annotated[Volume, made_of(Volume)]]
MaybeProbe = Annotated[Probe, made_of(Probe)] | None


class Container(Declaration):
    """One container of a pod. What it may take is said: a pod without limits takes its node down with it."""

    name: ObjectName = Field(description="unique in the pod")
    image: Image = Field(description="registry/path:tag, pinned: no latest")
    command: Many[Text] = Field((), description="instead of the image's entry point")
    args: Many[Text] = Field((), description="its arguments; no secrets, they are shown")
    env: dict[EnvName, Text] = Field(default_factory=dict, description="variables; no secrets, they are shown")
    env_from_secrets: SecretNames = Field((), description="names of KubernetesSecret: each field becomes a variable")
    cpu_request_millicores: int = Field(50, ge=1, le=256000, description="thousandths of a CPU that it always gets")
    cpu_limit_millicores: int | None = Field(
        None, ge=1, le=256000, description="thousandths of a CPU at most; by itself what the node has to spare"
    )
    memory_request_mib: int = Field(description="what it always gets", ge=4, le=1048576)
    memory_limit_mib: int = Field(description="the most that it may take; more ends it", ge=4, le=1048576)
    ports: ContainerPorts = Field((), description="ContainerPort(…), …")
    volumes: Volumes = Field((), description="Volume(…), …")
    readiness: MaybeProbe = Field(None, description="Probe(…): requests come only while it answers")
    liveness: MaybeProbe = Field(None, description="Probe(…): it is started again when it does not answer")

    @model_validator(mode="after")
    def _requests_fit(self) -> Container:
        if self.memory_request_mib > self.memory_limit_mib:
            found = f"{self.memory_request_mib}, more than memory_limit_mib={self.memory_limit_mib}"
            raise rule("memory_request_mib", found, "at most the limit")
        if self.cpu_limit_millicores is not None and self.cpu_request_millicores > self.cpu_limit_millicores:
            found = f"{self.cpu_request_millicores}, more than cpu_limit_millicores={self.cpu_limit_millicores}"
            raise rule("cpu_request_millicores", found, "at most the limit")
        return self

    @model_validator(mode="after")
    def _mounts_apart(self) -> Container:
        if again := repeated(one.path for one in self.volumes):
            raise rule("volumes", f"{again[0]} twice", "each path once")
        return self

    @model_validator(mode="after")
    def _probes_have_a_port(self) -> Container:
        tcp = [one.name for one in self.ports if one.protocol == "TCP"]
        if any(isinstance(one.name, Inert) or isinstance(one.protocol, Inert) for one in self.ports):
            return self  # the port that is missed may be the one that failed
        for field, probe in (("readiness", self.readiness), ("liveness", self.liveness)):
            if probe is not None and isinstance(probe.port, str) and probe.port not in tcp:
                raise rule(field, f"the port {probe.port!r}", f"a TCP port of its ports: {', '.join(tcp) or 'none'}")
        return self


def _names_apart(containers: tuple[Container, ...]) -> tuple[Container, ...]:
    ports = [port for one in containers for port in one.ports]
    if again := repeated(one.name for one in containers):
        raise twice(f"the container {again[0]!r}")
    if again := repeated(port.name for port in ports):
        raise twice(f"the port {again[0]!r}")
    if numbers := repeated((port.port, port.protocol) for port in ports):
        raise twice(f"the port {numbers[0][0]}")
    return containers


Containers = Annotated[Some[Annotated[Container, made_of(Container)]], AfterValidator(_names_apart)]


class KubernetesCronJob(Declaration):
    """Work that comes round. A run that hangs is ended, two never overlap, and what was missed is not made up.

    Its pods have the label `unterbau.io/cron-job=<name>`, those of a Deployment `app.kubernetes.io/name=<name>`.
    """

    name: CronJobName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")
    schedule: Schedule = Field(description="cron: minute, hour, day of month, month, weekday")
    time_zone: TimeZone = Field("Etc/UTC", description="the zone that the schedule is read in")
    containers: Containers = Field(description="Container(…), …; the job is done when all have ended with 0")
    service_account: ObjectName | None = Field(None, description="a KubernetesServiceAccount; None: no API token")
    user_id: int = Field(65532, ge=1, le=4294967294, description="the user that its processes run as; never root")
    node_selector: Labels = Field(default_factory=dict, description="labels of the nodes that it may run on")
    tolerates: LabelKeys = Field((), description="keys of taints that its pods tolerate, whatever value and effect")
    concurrency_policy: Concurrency = Field(
        "Forbid", description='when one still runs: "Forbid" another, "Replace" it or "Allow" both'
    )
    starting_deadline_s: int = Field(300, ge=200, le=86400, description="how late a run may begin")
    active_deadline_s: int = Field(3600, ge=1, le=604800, description="when a run that does not end is ended")
    backoff_limit: int = Field(1, ge=0, le=10, description="how often a run that failed is tried again")
    successful_history: int = Field(3, ge=1, le=100, description="jobs kept that succeeded")
    failed_history: int = Field(3, ge=1, le=100, description="jobs kept that failed")
    ttl_after_finished_s: int | None = Field(
        None, ge=60, le=31536000, description="when a finished job is deleted; None: by the history alone"
    )
    suspend: bool = Field(default=False, description="True: it is kept, and does not run")


class KubernetesDeployment(Declaration):
    """Pods that are always there, and how many may be missing while nodes are drained."""

    name: ObjectName = Field(description="unique in the namespace")
    namespace: ObjectName = Field(description="a KubernetesNamespace, or default")
    containers: Containers = Field(description="Container(…), …")
    replicas: int = Field(1, ge=0, le=1000, description="how many pods")
    max_unavailable: int | None = Field(
        None, ge=0, le=1000, description="pods that a drain may take at once (a budget); None: no budget"
    )
    service_account: ObjectName | None = Field(None, description="a KubernetesServiceAccount; None: no API token")
    user_id: int = Field(65532, ge=1, le=4294967294, description="the user that its processes run as; never root")
    node_selector: Labels = Field(default_factory=dict, description="labels of the nodes that it may run on")
    tolerates: LabelKeys = Field((), description="keys of taints that its pods tolerate, whatever value and effect")
    labels: Labels = Field(default_factory=dict, description="labels of its pods besides the platform's own")
    spread: bool = Field(default=True, description="pods are on different nodes where there are enough")
    termination_grace_s: int = Field(30, ge=1, le=3600, description="what a pod gets to end by itself")

    @model_validator(mode="after")
    def _can_be_drained(self) -> KubernetesDeployment:
        """A budget that never lets a pod go holds up every drain, and with it every upgrade."""
        if self.max_unavailable == 0 and self.replicas:
            found = f"0 of {self.replicas}: no pod may ever leave its node"
            raise rule("max_unavailable", found, "1 or more, or None for no budget")
        return self
