"""Reverse DNS of addresses: which names they have, as plans show them, and what sets them.

The API gives every IPv4 address a name of its own, so only what is declared is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from pyinfra.api import StringCommand

from operations.hcloud_object import Kind, act


def pointers(declared: Mapping[str, str], found: Mapping[str, Any] | None = None) -> dict[str, str]:
    """{"reverse DNS ipv4": name} as declared, or as found of an object that is there.

    Args:
        declared: {"ipv4" or "ipv6": name}.
        found: a server, a primary or a floating address.
    """
    if found is None:
        return {f"reverse DNS {family}": name for family, name in declared.items()}
    names = {_address(one["ip"]): one["dns_ptr"] or "" for one in found["dns_ptr"]}
    return {f"reverse DNS {family}": names.get(_of(found, family), "") for family in declared}


def set_pointer(kind: Kind, name: str, declared: Mapping[str, str]) -> dict[str, list[StringCommand]]:
    """{as `pointers` names it: what sets it}. The connector puts the address where the family stands."""
    return {
        f"reverse DNS {family}": [act(kind, name, "change_dns_ptr", {"ip": family, "dns_ptr": pointer})]
        for family, pointer in declared.items()
    }


def _of(found: Mapping[str, Any], family: str) -> str:
    return _address(str(found.get(family) or found.get("ip") or ""))


def _address(text: str) -> str:
    """In one spelling; of a network its first address."""
    if not text:
        return ""
    if "/" in text:
        return str(IPv6Address(int(ip_network(text, strict=False).network_address) + 1))
    return str(ip_address(text))
