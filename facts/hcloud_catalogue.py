"""What Hetzner Cloud sells, where, for how much, and what is left of a project's requests."""

from __future__ import annotations

from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import answer
from facts.hcloud_object import Listed
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class Deprecation(TypedDict):
    """Since when something is no longer recommended, and from when on it cannot be had."""

    announced: str
    unavailable_after: str


class Offer(TypedDict):
    """A type of server in one location. `available` is None where the API does not say."""

    name: str
    deprecation: Deprecation | None
    available: bool | None


class ServerType(TypedDict):
    """One type of server."""

    id: int
    name: str
    cores: int
    memory: float  # GB
    disk: int  # GB
    architecture: str  # x86, arm
    cpu_type: str  # shared, dedicated
    deprecation: Deprecation | None
    locations: list[Offer]


class ServerTypes(Listed[ServerType], FactBase[list[ServerType] | Unknown | AfterApply]):
    """All types of servers, deprecated ones too."""

    kind = "server_types"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> ServerType:
        return ServerType(
            id=value["id"],
            name=value["name"],
            cores=value["cores"],
            memory=value["memory"],
            disk=value["disk"],
            architecture=value["architecture"],
            cpu_type=value["cpu_type"],
            deprecation=_deprecation(value.get("deprecation")),
            locations=[_offer(one) for one in value["locations"]],
        )


def _offer(value: dict[str, Any]) -> Offer:
    deprecation = _deprecation(value.get("deprecation"))
    return Offer(name=value["name"], deprecation=deprecation, available=value.get("available"))


def _deprecation(value: dict[str, Any] | None) -> Deprecation | None:
    return Deprecation(announced=value["announced"], unavailable_after=value["unavailable_after"]) if value else None


class Location(TypedDict):
    """One location."""

    id: int
    name: str
    city: str
    country: str  # ISO 3166-1 alpha-2
    network_zone: str


class Locations(Listed[Location], FactBase[list[Location] | Unknown | AfterApply]):
    """All locations."""

    kind = "locations"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> Location:
        return Location(
            id=value["id"],
            name=value["name"],
            city=value["city"],
            country=value["country"],
            network_zone=value["network_zone"],
        )


class Image(TypedDict):
    """One image. A snapshot or backup has no name."""

    id: int
    name: str | None
    type: str  # system, app, snapshot, backup
    architecture: str
    os_flavor: str
    status: str  # available, creating, unavailable
    deprecated: str | None


class Images(Listed[Image], FactBase[list[Image] | Unknown | AfterApply]):
    """All images."""

    kind = "images"

    @override
    @staticmethod
    def one(value: dict[str, Any]) -> Image:
        return Image(
            id=value["id"],
            name=value["name"],
            type=value["type"],
            architecture=value["architecture"],
            os_flavor=value["os_flavor"],
            status=value["status"],
            deprecated=value["deprecated"],
        )


class Pricing(FactBase[dict[str, Any] | Unknown | AfterApply]):
    """The price list as the API has it: {currency, vat_rate, server_types: [{name, prices: […]}], …}; texts, net."""

    @override
    @staticmethod
    def default() -> dict[str, Any] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET pricing"

    @override
    def process(self, output: list[str]) -> dict[str, Any] | Unknown | AfterApply:
        return answer(output, lambda value: {"currency": value["currency"], **value})


class Quota(TypedDict):
    """Requests of the project an hour. What is left refills steadily; at `reset_at` (seconds since 1970) it is full."""

    limit: int
    remaining: int | None
    reset_at: int | None


class Limits(FactBase[Quota | Unknown | AfterApply]):
    """What the API's last answer said of the project's requests; None where it said nothing."""

    @override
    @staticmethod
    def default() -> Quota | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET limits"

    @override
    def process(self, output: list[str]) -> Quota | Unknown | AfterApply:
        return answer(
            output, lambda value: Quota(limit=value["limit"], remaining=value["remaining"], reset_at=value["reset_at"])
        )
