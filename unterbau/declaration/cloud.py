"""A Hetzner Cloud project: its API, its networks, and what belongs to no pool. Values of secrets never stand here."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.cloud_names import (
    CloudLabels,
    CloudName,
    CloudNameOrNone,
    FileSystem,
    IpVersion,
    Location,
    Zone,
    sound,
)
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Address, Cidr, FilePath, Many, Slug, Some, UserName, domain_name
from unterbau.declaration.keys import PublicKeyFile
from unterbau.declaration.secret import Ref
from unterbau.declaration.ssh import public_key_or_file
from unterbau.domain.cloud_quota import SUBNETS

_URL = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._-]+)*|http://127\.[0-9.]+(:[0-9]{1,5})?(/v1)?")
# Source: RFC 1918. The API takes no other address for a network.
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
ANYWHERE = IPv4Network("0.0.0.0/0")
VSWITCH_ZONE = "eu-central"


def _api(text: str) -> str:
    """The token goes there with each request: encrypted, but on the machine's own loopback."""
    if not _URL.fullmatch(text):
        told = {
            "found": "another one (not shown)",
            "allowed": "https://HOST:PORT/PATH, without credentials or '/' at the end",
        }
        raise PydanticCustomError("url", "{allowed}", told)
    return text


def private(network: IPv4Network) -> IPv4Network:
    """One of the private ranges. Source: RFC 1918."""
    if not any(network.subnet_of(one) for one in PRIVATE):
        raise ValueError("a private network: within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    return network


def _size(longest: int) -> AfterValidator:
    def check(network: IPv4Network) -> IPv4Network:
        if network.prefixlen > longest:
            raise ValueError(f"a network of /{longest} or larger")
        return network

    return AfterValidator(check)


def _destination(network: IPv4Network) -> IPv4Network:
    return network if network == ANYWHERE else private(network)


ApiUrl = Annotated[str, AfterValidator(_api)]
LimitKind = Literal[
    "servers", "primary_ips", "floating_ips", "volumes", "load_balancers", "networks", "placement_groups"
]
Limits = dict[LimitKind, Annotated[int, Field(ge=0)]]
NetworkCidr = Annotated[Cidr, AfterValidator(private), _size(24)]
SubnetCidr = Annotated[Cidr, AfterValidator(private), _size(30)]
Destination = Annotated[Cidr, AfterValidator(_destination)]
SubnetKind = Literal["cloud", "vswitch"]
PublicKey = Annotated[str | PublicKeyFile, BeforeValidator(public_key_or_file)]
ReverseDns = Annotated[str, AfterValidator(lambda text: text and domain_name(text))]


class CloudProject(Declaration):
    """A project of Hetzner Cloud. Only what carries the labels of `cluster` in it is ever changed or deleted."""

    name: Slug = Field(description="how the plan names it")
    token: Ref = Field(description="SecretRef of the project's API token, with the right to read and write")
    cluster: CloudName = Field(
        description="what its objects are labelled with, and servers' names begin with; for good"
    )
    endpoint: ApiUrl = Field("https://api.hetzner.cloud/v1", description="where the API answers")
    ca: FilePath | None = Field(None, description="PEM file of the authority that `endpoint` is verified against")
    ssh_user: UserName = Field("root", description="who logs in to its servers")
    ssh_key: FilePath | None = Field(None, description="path of the private key to log in with; None asks the agent")
    known_hosts: FilePath = Field(description="OpenSSH known_hosts file where the keys of its servers are pinned")
    limits: Limits = Field(
        default_factory=dict,
        description="what the console shows as the project's limits: kind -> how many there may be",
    )


class CloudSubnet(Declaration):
    """Part of a network; servers of one zone have their private addresses there."""

    cidr: SubnetCidr = Field(description="within the network's, apart from the other subnets, /30 or larger")
    zone: Zone = Field("eu-central", description="the zone of the locations whose servers are in it")
    type: SubnetKind = Field("cloud", description='"cloud", or "vswitch" for dedicated servers')
    vswitch_id: int | None = Field(None, ge=1, description="the vSwitch of a subnet of that type")

    @model_validator(mode="after")
    def _vswitch(self) -> CloudSubnet:
        """Source: Hetzner Cloud, "Networks", connect dedicated servers: in eu-central only."""
        if (self.type == "vswitch") != (self.vswitch_id is not None):
            found = "no vSwitch" if self.vswitch_id is None else f"a vSwitch with the type {self.type}"
            raise rule("vswitch_id", found, 'vswitch_id and type="vswitch", or neither')
        if self.type == "vswitch" and self.zone != VSWITCH_ZONE:
            raise rule("zone", f"{self.zone!r} with a vSwitch", f'"{VSWITCH_ZONE}", the only zone that has vSwitches')
        return self


class CloudRoute(Declaration):
    """Where a network sends what is for other addresses than its own."""

    destination: Destination = Field(description="a private network outside of the subnets, or 0.0.0.0/0")
    gateway: Address = Field(description="the private address of a server, in one of the subnets")


Subnets = Some[Annotated[CloudSubnet, made_of(CloudSubnet)]]
Routes = Many[Annotated[CloudRoute, made_of(CloudRoute)]]


class CloudNetwork(Declaration):
    """A private network of the project."""

    name: CloudName = Field(description="unique")
    cidr: NetworkCidr = Field(description="a private network with all of its subnets in it, /24 or larger")
    subnets: Subnets = Field(description="CloudSubnet(…), …; 50 at most")
    routes: Routes = Field((), description="CloudRoute(…), …")
    protection: bool = Field(default=True, description="the API refuses to delete it")
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")

    @model_validator(mode="after")
    def _subnets_fit(self) -> CloudNetwork:
        """Source: Hetzner Cloud API, `subnet`: within the network and apart; "Networks" FAQ: 50 of them."""
        ranges = [subnet.cidr for subnet in sound(self.subnets)]
        if len(self.subnets) > SUBNETS:
            raise rule("subnets", f"{len(self.subnets)} subnets", f"at most {SUBNETS} a network")
        for one in ranges:
            if not one.subnet_of(self.cidr):
                raise rule("subnets", f"{one}, which is outside of {self.cidr}", f"subnets within {self.cidr}")
        for one, other in combinations(ranges, 2):
            if one.overlaps(other):
                raise rule("subnets", f"{one} and {other}", "subnets that do not overlap")
        return self

    @model_validator(mode="after")
    def _routes_fit(self) -> CloudNetwork:
        """Source: Hetzner Cloud API, `route`: apart from subnets and other routes; never by the network's gateway."""
        subnets, routes = [subnet.cidr for subnet in sound(self.subnets)], sound(self.routes)
        for route in routes if len(subnets) == len(self.subnets) else ():
            self._leads_out(route, subnets)
        for one, other in combinations((route.destination for route in routes), 2):
            if one == other or (ANYWHERE not in (one, other) and one.overlaps(other)):
                raise rule("routes", f"{one} and {other}", "destinations that do not overlap")
        return self

    def _leads_out(self, route: CloudRoute, subnets: list[IPv4Network]) -> None:
        there = [one for one in subnets if route.destination != ANYWHERE and one.overlaps(route.destination)]
        if there:
            raise rule("routes", f"{route.destination}, which overlaps the subnet {there[0]}", "what is in no subnet")
        if route.gateway == self.cidr[1] or not any(route.gateway in one for one in subnets):
            allowed = f"a server's address in one of the subnets, and not {self.cidr[1]}, the network's own gateway"
            raise rule("routes", f"the gateway {route.gateway}", allowed)


class CloudSshKey(Declaration):
    """A key that new servers let in as root."""

    name: CloudName = Field(description="unique")
    public_key: PublicKey = Field(description="an OpenSSH public key on one line, or public_key_file(…)")

    @property
    def line(self) -> str:
        """The key as it is sent; ValueError with what to do if its file can't be had."""
        return self.public_key if isinstance(self.public_key, str) else self.public_key.read()


class CloudVolume(Declaration):
    """A volume that belongs to no pool."""

    name: CloudName = Field(description="unique, and no name of a pool's volume")
    size_gib: int = Field(ge=10, le=10240, description="its size; it can grow and never shrinks")
    location: Location = Field(description="where it is; for good")
    format: FileSystem = Field("xfs", description='"ext4" or "xfs"; made once, when it is new')
    server: CloudNameOrNone = Field("", description="the server that it is attached to; '' for none")
    protection: bool = Field(default=True, description="the API refuses to delete it")
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")


class CloudPrimaryIp(Declaration):
    """A public address that stays when its server goes. It is bound to a location; a new server takes it."""

    name: CloudName = Field(description="unique")
    type: IpVersion = Field("ipv4", description='"ipv4" or "ipv6"')
    location: Location = Field(description="where it is; for good")
    server: CloudNameOrNone = Field("", description="the server that has it; '' for none")
    reverse_dns: ReverseDns = Field("", description="the name that its address resolves to; '' for the provider's")
    protection: bool = Field(default=True, description="the API refuses to delete it")
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")


class CloudFloatingIp(Declaration):
    """A public address that moves between servers of a network zone."""

    name: CloudName = Field(description="unique")
    type: IpVersion = Field("ipv4", description='"ipv4" or "ipv6"')
    location: Location = Field(description="its home location; for good")
    server: CloudNameOrNone = Field("", description="the server that has it; '' for none")
    reverse_dns: ReverseDns = Field("", description="the name that its address resolves to; '' for the provider's")
    protection: bool = Field(default=True, description="the API refuses to delete it")
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")
