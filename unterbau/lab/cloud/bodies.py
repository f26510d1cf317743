"""What requests carry, field by field. A field that the API does not know is refused: it would be a mistake of ours.

Source: Hetzner Cloud API, the request of each call.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, ip_network
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from unterbau.lab.cloud import limits, selector
from unterbau.lab.cloud.answer import ApiError

_PORTS = re.compile(r"any|(\d{1,5})(?:-(\d{1,5}))?")


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not selector.KEY.fullmatch(key) or not selector.VALUE.fullmatch(value):
            raise ValueError(f"label {key}={value} is not valid")
    return labels


def _cidr(text: str) -> str:
    ip_network(text)  # ValueError also for bits beyond the mask
    return text


def _private_cidr(text: str) -> str:
    inside = IPv4Network(text)
    if not any(inside.subnet_of(IPv4Network(range_)) for range_ in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")):
        raise ValueError(f"{text} is not inside a private range (RFC 1918)")
    return text


def _ports(text: str) -> str:
    found = _PORTS.fullmatch(text)
    numbers = [int(number) for number in found.groups() if number] if found else [0]
    if not all(1 <= number <= 65535 for number in numbers) or numbers != sorted(numbers):
        raise ValueError(f"{text!r} is no port, no range of ports and not 'any'")
    return text


Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Cidr = Annotated[str, AfterValidator(_cidr)]
PrivateCidr = Annotated[str, AfterValidator(_private_cidr)]
Ports = Annotated[str, AfterValidator(_ports)]
Port = Annotated[int, Field(ge=1, le=65535)]
IdOrName = int | str


class Body(BaseModel):
    """A JSON object with known fields only, none of them converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


B = TypeVar("B", bound=Body)


def read(model: type[B], content: bytes) -> B:
    """The request's body; json_error or invalid_input, with every field that is wrong."""
    try:
        return model.model_validate_json(content or b"{}")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    if any(problem["type"] == "json_invalid" for problem in problems):
        raise ApiError("json_error", "the request's body is no JSON")
    fields: dict[str, list[str]] = {}
    for problem in problems:
        fields.setdefault(".".join(str(part) for part in problem["loc"]), []).append(problem["msg"])
    details = {"fields": [{"name": name, "messages": messages} for name, messages in fields.items()]}
    raise ApiError("invalid_input", f"invalid input in fields {', '.join(map(repr, fields))}", details)


class Nothing(Body):
    """A request without a body."""


class Changed(Body):
    """PUT: a new name, new labels; what is left out stays."""

    name: Name | None = None
    labels: Labels | None = None


class NetworkChanged(Changed):
    """PUT of a network."""

    expose_routes_to_vswitch: bool | None = None


class Protection(Body):
    """change_protection."""

    delete: bool | None = None


class DnsPtr(Body):
    """change_dns_ptr: null resets it."""

    ip: str
    dns_ptr: str | None


class SshKey(Body):
    """POST /ssh_keys."""

    name: Name
    public_key: str
    labels: Labels = {}


class PlacementGroup(Body):
    """POST /placement_groups."""

    name: Name
    type: Literal["spread"]
    labels: Labels = {}


class Route(Body):
    """A route of a network."""

    destination: Cidr
    gateway: str


class Subnet(Body):
    """A subnet; without a range it becomes the first free /24."""

    type: Literal["cloud", "server"]
    network_zone: str
    ip_range: PrivateCidr | None = None


class SubnetDeleted(Body):
    """delete_subnet."""

    ip_range: str


class IpRange(Body):
    """change_ip_range."""

    ip_range: PrivateCidr


class Network(Body):
    """POST /networks."""

    name: Name
    ip_range: PrivateCidr
    subnets: list[Subnet] = []
    routes: list[Route] = []
    labels: Labels = {}
    expose_routes_to_vswitch: bool = False


class Rule(Body):
    """A firewall's rule."""

    direction: Literal["in", "out"]
    protocol: Literal["tcp", "udp", "icmp", "esp", "gre"]
    port: Ports | None = None
    source_ips: Annotated[list[Cidr], Field(max_length=100)] = []
    destination_ips: Annotated[list[Cidr], Field(max_length=100)] = []
    description: Annotated[str, Field(max_length=255)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        if (self.port is not None) != (self.protocol in {"tcp", "udp"}):
            raise ValueError("tcp and udp need a port, the others have none")
        if not (self.source_ips if self.direction == "in" else self.destination_ips):
            raise ValueError("a rule in needs source_ips, a rule out destination_ips")
        return self


class Chosen(Body):
    """{id}."""

    id: int


class LabelSelector(Body):
    """{selector}."""

    selector: Annotated[str, AfterValidator(lambda text: selector.parse(text) and text), Field(min_length=1)]


class FirewallResource(Body):
    """What a firewall is applied to."""

    type: Literal["server", "label_selector"]
    server: Chosen | None = None
    label_selector: LabelSelector | None = None

    @model_validator(mode="after")
    def _whole(self) -> FirewallResource:
        if getattr(self, self.type) is None:
            raise ValueError(f"type {self.type} needs the field {self.type}")
        return self


Rules = Annotated[list[Rule], Field(max_length=limits.RULES)]


class Firewall(Body):
    """POST /firewalls."""

    name: Name
    rules: Rules = []
    apply_to: list[FirewallResource] = []
    labels: Labels = {}


class FirewallRules(Body):
    """set_rules."""

    rules: Rules


class FirewallApplied(Body):
    """apply_to_resources."""

    apply_to: list[FirewallResource]


class FirewallRemoved(Body):
    """remove_from_resources."""

    remove_from: list[FirewallResource]


class Volume(Body):
    """POST /volumes: at a location, or attached to a server."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-_.A-Za-z0-9]{0,62}[A-Za-z0-9])?$")]
    size: Annotated[int, Field(ge=limits.VOLUME_GB[0], le=limits.VOLUME_GB[1])]
    location: IdOrName | None = None
    server: int | None = None
    format: Literal["ext4", "xfs"] | None = None
    automount: bool = False
    labels: Labels = {}


class VolumeAttached(Body):
    """attach."""

    server: int
    automount: bool = False


class VolumeResized(Body):
    """resize."""

    size: Annotated[int, Field(le=limits.VOLUME_GB[1])]


class NetworkLeft(Body):
    """detach_from_network."""

    network: int


class LoadBalancerNetworkJoined(NetworkLeft):
    """attach_to_network of a load balancer; without an address the lowest free one."""

    ip: str | None = None
    ip_range: str | None = None
