"""Pools of servers: how many, of which types and where, and the volumes that each has."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, model_validator

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.cloud_names import (
    CloudLabels,
    CloudName,
    CloudNameOrNone,
    FileSystem,
    ImageName,
    Locations,
    PoolGroup,
    PoolGroups,
    ServerTypes,
)
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import Address, Many, repeated
from unterbau.domain import location_loss
from unterbau.domain.capacity import Candidate, Wish
from unterbau.domain.cloud_cost import Item
from unterbau.domain.cloud_labels import server_name

Placement = Literal["spread", "none"]


class PoolVolume(Declaration):
    """A volume that every server of a pool has: <server>-<name>."""

    name: CloudName = Field(description="unique in the pool")
    size_gib: int = Field(ge=10, le=10240, description="its size; it can grow and never shrinks")
    format: FileSystem = Field("xfs", description='"ext4" or "xfs"; made once, when it is new')


ServerGroups = dict[CloudName, PoolGroups]
PoolVolumes = Many[Annotated[PoolVolume, made_of(PoolVolume)]]


class NodePool(Declaration):
    """Servers that are alike: <prefix>-1, -2 … What is sold out is bought as the next type or elsewhere."""

    name: PoolGroup = Field(description="unique, without '_'; its servers' group too, if `groups` says nothing else")
    count: int = Field(ge=0, le=500, description="how many servers there are")
    types: ServerTypes = Field(description="server types in order of preference: the first that can be had")
    locations: Locations = Field(description="locations in order of preference")
    network: CloudName = Field(description="the CloudNetwork whose private addresses they have")
    first_address: Address = Field(
        description="private address of its server 1, in a subnet of `network`; server n has the n-1st after it; "
        "a server that runs keeps its own"
    )
    prefix: CloudNameOrNone = Field(
        "", description="what its servers' names begin with; '' for <cluster>-<name>; another one makes other servers"
    )
    image: ImageName = Field("debian-12", description="what a new server starts from; those that run stay as they are")
    groups: PoolGroups = Field((), description="inventory groups of its servers; () for the pool's name")
    server_groups: ServerGroups = Field(
        default_factory=dict, description="further groups of single servers: {a server's name: its groups besides}"
    )
    labels: CloudLabels = Field(default_factory=dict, description="labels besides the platform's own")
    placement: Placement = Field("spread", description='"spread": on different machines, ten servers a group; "none"')
    spread_locations: bool = Field(
        default=True,
        description="the next server goes where the fewest are; False: to the first location, as its type goes",
    )
    survives_location: bool = Field(
        default=False, description="promise: with any one location lost, the others are still a majority"
    )
    public_ipv4: bool = Field(default=True, description="each has a public IPv4 address, which costs")
    public_ipv6: bool = Field(default=True, description="each has a public IPv6 network")
    protection: bool = Field(default=True, description="the API refuses to delete and to rebuild them")
    volumes: PoolVolumes = Field((), description="PoolVolume(…), … that each of them has")

    @model_validator(mode="after")
    def _promise_kept(self) -> NodePool:
        if "_" in self.name:
            raise rule("name", repr(self.name), "a name without '_', for it is part of host names")
        if again := repeated(self.volumes, lambda volume: volume.name):
            raise rule("volumes", f"{again[0].name!r} twice", "each volume's name once")
        if not self.survives_location:
            return self
        if not self.spread_locations:
            raise rule("survives_location", "True without spread_locations", "both, or neither")
        verdict = location_loss.spread(self.count, len(self.locations))
        if not verdict.passed:
            arithmetic, _, instead = verdict.arithmetic.partition("; ")
            raise rule("survives_location", arithmetic, f"{instead}, or survives_location=False")
        return self

    @property
    def inventory_groups(self) -> tuple[str, ...]:
        """The groups that its servers are in."""
        return self.groups or (self.name,)

    @property
    def every_group(self) -> tuple[str, ...]:
        """The groups that any of its servers is in."""
        single = (group for groups in self.server_groups.values() for group in groups)
        return tuple(dict.fromkeys([*self.inventory_groups, *single]))

    def groups_of(self, server: str) -> tuple[str, ...]:
        """The groups that a server of it is in."""
        return tuple(dict.fromkeys([*self.inventory_groups, *self.server_groups.get(server, ())]))

    def named(self, cluster: str) -> str:
        """What its servers' names begin with."""
        return self.prefix or f"{cluster}-{self.name}"

    def server(self, cluster: str, number: int) -> str:
        """What its n-th server is called, n from 1."""
        return server_name(self.named(cluster), number)

    def address(self, number: int) -> IPv4Address:
        """The private address of its n-th server, n from 1."""
        return self.first_address + number - 1

    def servers(self, cluster: str) -> dict[str, IPv4Address]:
        """{name: private address} of each of its servers, in their order: known before they exist."""
        return {self.server(cluster, number): self.address(number) for number in range(1, self.count + 1)}

    @property
    def wish(self) -> Wish:
        """What `domain.capacity` asks for."""
        most = location_loss.most_per_location(self.count) if self.survives_location else None
        return Wish(self.types, self.locations, self.spread_locations, most)

    def items(self, candidate: Candidate) -> list[Item]:
        """What one of its servers costs where it is bought: itself, its public addresses and its volumes."""
        families = [family for family in ("ipv4", "ipv6") if getattr(self, f"public_{family}")]
        return [
            Item("server", *candidate),
            *(Item("primary_ip", family, candidate.location) for family in families),
            *(Item("volume", location=candidate.location, size_gb=volume.size_gib) for volume in self.volumes),
        ]

    def quota(self, servers: int) -> dict[str, int]:
        """What so many more of its servers take of a project: kind -> how many, as `domain.cloud_quota` wants it."""
        addresses = self.public_ipv4 + self.public_ipv6
        return {"servers": servers, "primary_ips": servers * addresses, "volumes": servers * len(self.volumes)}

    @property
    def location_loss(self) -> str:
        """What the plan says of a lost location, with the arithmetic."""
        return location_loss.spread(self.count, len(self.locations) if self.spread_locations else 1).arithmetic
