"""How a Hetzner Cloud project writes names, places, types and labels; each refuses with one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator

from unterbau.declaration.fields import Many, Some, different, matching
from unterbau.declaration.problems import active
from unterbau.domain import cloud_labels

T = TypeVar("T")
# Source: Hetzner Cloud, "Locations". A network's subnets are of a zone, and servers reach those of their own.
ZONES = {
    "fsn1": "eu-central", "nbg1": "eu-central", "hel1": "eu-central", "ash": "us-east", "hil": "us-west",
    "sin": "ap-southeast",
}  # fmt: skip
_WORLD = {4: 8, 6: 16}  # what is wider than that is no list of sources any more
AnyNetwork = IPv4Network | IPv6Network


def any_cidr(value: object) -> object:
    """An IPv4 or IPv6 network with its prefix length and no host bits."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    text = value if isinstance(value, str) and "/" in value else ""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("a network in CIDR form such as 203.0.113.0/24 or 2001:db8::/48") from None
    if str(network) != text:
        raise ValueError(f"a network in CIDR form without host bits (write {network})")
    return network


def sound(parts: Iterable[T]) -> list[T]:
    """Those without a problem of their own: what is wrong with a part is no reason to refuse the whole as well."""
    collector = active()
    return [part for part in parts if collector is None or collector.valid(part)]


def is_world(network: AnyNetwork) -> bool:
    """Whether it is everybody: 0.0.0.0/0, ::/0, or so wide that two of them would be."""
    return network.prefixlen < _WORLD[network.version]


def label_key(text: str) -> str:
    """A key that is nobody else's."""
    if not cloud_labels.is_key(text):
        raise ValueError("a label's key: 1 to 63 letters, digits, '._-', after a domain and '/' if it has one")
    if cloud_labels.is_mark(text) or text.startswith(cloud_labels.RESERVED):
        raise ValueError(
            "another key: managed-by, cluster, pool and group-… are the platform's, hetzner.cloud/… is Hetzner's"
        )
    return text


def label_value(text: str) -> str:
    """Empty, or written as the part of a key."""
    if not cloud_labels.is_value(text):
        raise ValueError("a label's value: 63 letters, digits, '._-' at most, a letter or digit at both ends")
    return text


# What an image, a volume or a firewall may be called is freer; one rule for all keeps names fit for host names.
CloudName = Annotated[
    str, matching(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "a name: 1 to 63 of a-z, 0-9 and '-', a letter first")
]
CloudNameOrNone = Annotated[
    str, matching(r"([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?", "a name: 1 to 63 of a-z, 0-9 and '-', or '' for none")
]
CloudNames = Annotated[Many[CloudName], AfterValidator(different)]
# A group becomes a label's key, group-…, of 63 characters that ends with a letter or digit.
PoolGroup = Annotated[
    str,
    matching(r"[a-z]([a-z0-9_-]{0,55}[a-z0-9])?", "a group's name: 1 to 57 of a-z, 0-9, '_' and '-', a letter first"),
]
PoolGroups = Annotated[Many[PoolGroup], AfterValidator(different)]
Location = Literal["fsn1", "nbg1", "hel1", "ash", "hil", "sin"]
Zone = Literal["eu-central", "us-east", "us-west", "ap-southeast"]
Locations = Annotated[Some[Location], AfterValidator(different)]
ServerType = Annotated[str, matching(r"[a-z]{2,5}[0-9]{1,3}", "a server type's name such as cx32 or cpx31")]
ServerTypes = Annotated[Some[ServerType], AfterValidator(different)]
ImageName = Annotated[str, matching(r"[a-z0-9][a-z0-9.-]*", "an image's name such as debian-12")]
CloudLabels = dict[Annotated[str, AfterValidator(label_key)], Annotated[str, AfterValidator(label_value)]]
AnyCidr = Annotated[AnyNetwork, BeforeValidator(any_cidr)]
AnyCidrs = Annotated[Many[AnyCidr], AfterValidator(different)]
IpVersion = Literal["ipv4", "ipv6"]
FileSystem = Literal["ext4", "xfs"]
