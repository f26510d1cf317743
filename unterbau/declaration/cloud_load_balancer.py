"""Load balancers of a cloud project, in front of pools' private addresses. No firewall filters them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.cloud_firewall import API, SSH
from unterbau.declaration.cloud_names import CloudLabels, CloudName, Location
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Port, Some, different, matching, repeated

Balanced = Literal["tcp", "http"]
Algorithm = Literal["round_robin", "least_connections"]
BalancerType = Annotated[str, matching(r"lb[0-9]{2}", "a load balancer type's name such as lb11")]
StatusCode = Annotated[str, matching(r"[1-5?*][0-9?*]{0,2}", "a status code, or a pattern of them such as 2??")]
StatusCodes = Annotated[Some[StatusCode], AfterValidator(different)]
CheckPath = Annotated[str, matching(r"/[!-~]*", "a path that begins with '/', without blanks")]
PoolNames = Annotated[Some[CloudName], AfterValidator(different)]


class HealthCheck(Declaration):
    """How a load balancer finds out which servers answer."""

    protocol: Balanced = Field("tcp", description='"tcp" or "http"')
    port: Port | None = Field(None, description="what is asked; None: the service's destination_port")
    interval_s: int = Field(15, ge=3, le=60, description="between two checks of a server")
    timeout_s: int = Field(10, ge=1, le=60, description="how long a check may take; no longer than interval_s")
    retries: int = Field(3, ge=1, le=5, description="failed checks after which a server gets no more")
    path: CheckPath = Field("/", description="what is asked for, with http")
    status_codes: StatusCodes = Field(("2??", "3??"), description="answers that are good, with http")
    tls: bool = Field(default=False, description="ask over TLS, with http; certificates are not verified")

    @model_validator(mode="after")
    def _in_time(self) -> HealthCheck:
        if self.timeout_s > self.interval_s:
            raise rule(
                "timeout_s", f"{self.timeout_s} of {self.interval_s} between checks", "no longer than interval_s"
            )
        return self


MaybeCheck = Annotated[HealthCheck, made_of(HealthCheck)] | None


class LoadBalancerService(Declaration):
    """A port that a load balancer listens on. TLS ends behind it, so tcp is for what is encrypted."""

    protocol: Balanced = Field("tcp", description='"tcp" or "http"')
    listen_port: Port = Field(description="what clients connect to; unique")
    destination_port: Port = Field(description="where the servers listen")
    proxy_protocol: bool = Field(default=False, description="tell servers the client's address; they must expect it")
    health_check: MaybeCheck = Field(None, description="HealthCheck(…); None: what HealthCheck() says")


BalancerServices = Some[Annotated[LoadBalancerService, made_of(LoadBalancerService)]]


class LoadBalancer(Declaration):
    """A load balancer. Its targets are all servers of pools, by label: a new one is one at once."""

    name: CloudName = Field(description="unique")
    type: BalancerType = Field("lb11", description="its type, which has services and targets at most")
    location: Location = Field(description="where it is; for good")
    network: CloudName = Field(description="the CloudNetwork in which it reaches its targets")
    targets: PoolNames = Field(description="names of NodePools")
    services: BalancerServices = Field(description="LoadBalancerService(…), …")
    algorithm: Algorithm = Field("round_robin", description='"round_robin" or "least_connections"')
    public: bool = Field(default=False, description="say that it listens to the world: no firewall filters it")
    protection: bool = Field(default=True, description="the API refuses to delete it")
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")

    @model_validator(mode="after")
    def _services_apart(self) -> LoadBalancer:
        if again := repeated(self.services, lambda one: one.listen_port):
            raise rule("services", f"port {again[0].listen_port} twice", "each listen_port once")
        for port in (SSH, API) if self.public else ():
            if any(port in (one.listen_port, one.destination_port) for one in self.services):
                allowed = "public=False: SSH and the cluster's API are never the world's, and no firewall filters this"
                raise rule("public", f"True with port {port}", allowed)
        return self
