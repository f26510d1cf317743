"""What requests about load balancers carry. Source: Hetzner Cloud API, "Load Balancers"."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unterbau.lab.cloud.bodies import Body, Chosen, IdOrName, Labels, LabelSelector, Name, Port

Protocol = Literal["tcp", "http", "https"]


CookieName = Annotated[str, Field(min_length=1, max_length=100)]
Lifetime = Annotated[int, Field(ge=30, le=86400)]
Idle = Annotated[int, Field(ge=30, le=300)]


class CheckHttpChanged(Body):
    """What a health check over HTTP asks for and expects."""

    domain: Annotated[str, Field(max_length=128)] | None = None
    path: Annotated[str, Field(min_length=1, max_length=256)] = "/"
    response: Annotated[str, Field(max_length=256)] = ""
    status_codes: Annotated[list[str], Field(max_length=20)] = Field(default_factory=lambda: ["2??", "3??"])
    tls: bool = False


class CheckHttp(CheckHttpChanged):
    """Of a new service. Which host it asks for is said, if only as null: none."""

    domain: Annotated[str, Field(max_length=128)] | None
    path: Annotated[str, Field(min_length=1, max_length=256)]


class CheckChanged(Body):
    """A health check's new values, all of them: times in seconds."""

    protocol: Literal["tcp", "http"]
    port: Port
    interval: Annotated[int, Field(ge=3, le=60)]
    timeout: Annotated[int, Field(ge=1, le=60)]
    retries: Annotated[int, Field(ge=1, le=5)]
    http: CheckHttpChanged | None = None


class Check(CheckChanged):
    """A new service's health check."""

    http: CheckHttp | None = None


class HttpChanged(Body):
    """How HTTP is served."""

    cookie_name: CookieName = "HCLBSTICKY"
    cookie_lifetime: Lifetime = 300
    certificates: list[int] = Field(default_factory=list)
    redirect_http: bool = False
    sticky_sessions: bool = False
    timeout_idle: Idle = 50


class Http(HttpChanged):
    """How a new service serves HTTP."""

    cookie_name: CookieName
    cookie_lifetime: Lifetime
    sticky_sessions: bool
    timeout_idle: Idle


class ServiceChanged(Body):
    """update_service: what is left out stays."""

    listen_port: Port
    protocol: Protocol | None = None
    destination_port: Port | None = None
    proxyprotocol: bool | None = None
    health_check: CheckChanged | None = None
    http: HttpChanged | None = None


class Service(ServiceChanged):
    """add_service. The API's description asks for all of it, whatever the API itself may fill in."""

    protocol: Protocol
    destination_port: Port
    proxyprotocol: bool
    health_check: Check
    http: Http | None = None

    @model_validator(mode="after")
    def _whole(self) -> Service:
        if self.http is None and self.protocol != "tcp":
            raise ValueError(f"protocol {self.protocol} needs the field http")
        return self


class ServiceDeleted(Body):
    """delete_service."""

    listen_port: int


class TargetIp(Body):
    """{ip}."""

    ip: str


class TargetRemoved(Body):
    """remove_target."""

    type: Literal["server", "label_selector", "ip"]
    server: Chosen | None = None
    label_selector: LabelSelector | None = None
    ip: TargetIp | None = None

    @model_validator(mode="after")
    def _whole(self) -> TargetRemoved:
        if getattr(self, self.type) is None:
            raise ValueError(f"type {self.type} needs the field {self.type}")
        return self


class Target(TargetRemoved):
    """add_target."""

    use_private_ip: bool = False


class Algorithm(Body):
    """change_algorithm."""

    type: Literal["round_robin", "least_connections"]


class LoadBalancer(Body):
    """POST /load_balancers."""

    name: Name
    load_balancer_type: IdOrName
    location: IdOrName | None = None
    network_zone: str | None = None
    network: int | None = None
    public_interface: bool = True
    algorithm: Algorithm = Algorithm(type="round_robin")
    services: list[Service] = Field(default_factory=list)
    targets: list[Target] = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)


class LoadBalancerType(Body):
    """change_type of a load balancer."""

    load_balancer_type: IdOrName
