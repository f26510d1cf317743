"""Which addresses are free, in public and in a network."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from unterbau.lab.cloud import relations
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.project import Project

PUBLIC_IPV6 = IPv6Address("2001:db8::")  # for documentation. Source: RFC 3849
RESERVED = IPv4Address("172.31.1.1")  # the gateway of every server's public interface


def public(project: Project, kind: str) -> str:
    """The lowest address that no primary IP, floating IP or load balancer has: an IPv4, or a /64."""
    taken = {ip["ip"] for table in ("primary_ips", "floating_ips") for ip in project.all(table)}
    taken |= {one[name] for one in project.all("load_balancers") for name in ("ipv4", "ipv6")}
    wanted = (str(address) for address in project.public_ipv4.hosts()) if kind == "ipv4" else _prefixes()
    return next(address for address in wanted if address not in taken)


def _prefixes() -> Iterator[str]:
    return (f"{PUBLIC_IPV6 + (number << 64)}/64" for number in range(1, 1 << 16))


def gateway(network: Record) -> str:
    """A network's first address, which is the gateway of all its subnets."""
    return str(IPv4Network(network["ip_range"])[1])


def zone_of(project: Project, location: str) -> str:
    """The network zone of a location."""
    zone: str = project.choose("locations", location, "location")["network_zone"]
    return zone


def check_subnet(network: Record, subnet: Record) -> None:
    """A subnet lies in its network and over no other one."""
    inside = IPv4Network(subnet["ip_range"])
    if not inside.subnet_of(IPv4Network(network["ip_range"])):
        raise invalid("ip_range", f"{inside} is not inside the network's {network['ip_range']}")
    for other in network["subnets"]:
        if inside.overlaps(IPv4Network(other["ip_range"])):
            raise invalid("ip_range", f"{inside} overlaps with the subnet {other['ip_range']}")


def free_subnet(network: Record) -> str:
    """The first /24 of a network that no subnet lies in."""
    whole = IPv4Network(network["ip_range"])
    taken = [IPv4Network(subnet["ip_range"]) for subnet in network["subnets"]]
    for candidate in whole.subnets(new_prefix=24) if whole.prefixlen <= 24 else ():
        if not any(candidate.overlaps(other) for other in taken):
            return str(candidate)
    raise invalid("ip_range", f"there is no free /24 in {whole}; name a range")


def private(project: Project, network: Record, zone: str, ip: str | None, ip_range: str | None = None) -> str:
    """The address that a new member gets: the one that it asks for, else the lowest free one of its zone's subnets."""
    subnets = [one for one in network["subnets"] if one["network_zone"] == zone and ip_range in {None, one["ip_range"]}]
    taken = relations.private_addresses(project, network["id"])
    free = (str(address) for one in subnets for address in _usable(network, one) if str(address) not in taken)
    if ip is None:
        found = next(free, None)
        if found is None:
            raise ApiError("no_subnet_available", f"network {network['name']} has no free address in zone {zone}")
        return found
    if ip in taken or not any(IPv4Address(ip) in IPv4Network(one["ip_range"]) for one in subnets):
        raise ApiError("ip_not_available", f"{ip} is taken, or in no subnet of zone {zone}")
    return ip


def _usable(network: Record, subnet: Record) -> Iterator[IPv4Address]:
    reserved = {IPv4Address(gateway(network)), RESERVED}
    return (address for address in IPv4Network(subnet["ip_range"]).hosts() if address not in reserved)


def mac(server: int, network: int) -> str:
    """The hardware address of a server's interface in a network: always the same one."""
    number = (server << 16 | network) & 0xFFFFFFFFFF
    return ":".join(f"{byte:02x}" for byte in (0x86, *number.to_bytes(5, "big")))
