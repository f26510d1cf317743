"""What the lists of a Hetzner Cloud project have in common.

Fields have the API's names. Of an object in an object only the name is kept where it has one that cannot change, else
the number. All objects of the project are in a list, ours or not; it is [] if there is none. Moments are UTC, ISO 8601.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypedDict, TypeVar

from facts.endpoint import answer
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown

T = TypeVar("T")


class Listed(ABC, Generic[T]):
    """A fact of all objects of one kind."""

    kind: ClassVar[str]

    @staticmethod
    def default() -> list[T] | Unknown | AfterApply:
        """What could not be read."""
        return UNKNOWN

    def command(self) -> str:
        """The connector's command."""
        return f"GET {self.kind}"

    def process(self, output: list[str]) -> list[T] | Unknown | AfterApply:
        """Each object in the fact's shape."""
        return answer(output, lambda value: [self.one(found) for found in value])

    @staticmethod
    @abstractmethod
    def one(value: dict[str, Any]) -> T:
        """One object of the API in the fact's shape."""


class Object(TypedDict):
    """What all have."""

    id: int
    name: str
    labels: dict[str, str]


def common(value: dict[str, Any]) -> Object:
    """What all have, of one."""
    return Object(id=value["id"], name=value["name"], labels=dict(value["labels"]))


class Pointer(TypedDict):
    """The reverse DNS of an address; `dns_ptr` is None if it has none."""

    ip: str
    dns_ptr: str | None


def pointers(value: list[dict[str, Any]]) -> list[Pointer]:
    """Of several addresses."""
    return [Pointer(ip=one["ip"], dns_ptr=one["dns_ptr"]) for one in value]


class PrivateNet(TypedDict):
    """A server's or load balancer's place in a network; a load balancer has no MAC address to show."""

    network: int
    ip: str
    mac_address: str


def private(value: dict[str, Any]) -> PrivateNet:
    """Of one network."""
    return PrivateNet(network=value["network"], ip=value["ip"], mac_address=value.get("mac_address", ""))
