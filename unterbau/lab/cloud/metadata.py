"""The metadata service: a server asks who it is, and is known by its address.

Source: the paths that cloud-init's Hetzner data source and hcloud-go's metadata client read. There are no datacenters
any more, so `availability-zone` is the location.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import yaml

from unterbau.lab.cloud import addresses, relations
from unterbau.lab.cloud.answer import Answer, Record
from unterbau.lab.cloud.project import Project

ROOT = "/hetzner/v1"
ADDRESS = "169.254.169.254"


def answer(project: Project, source: str, path: str) -> Answer:
    """Text, or YAML; 404 for an address that no server has, and for what is not there."""
    server = relations.server_at(project, source)
    if server is None:
        return _text(404, f"no server has the address {source}")
    if path == f"{ROOT}/userdata":
        return _text(200, server["user_data"]) if server["user_data"] else _text(404, "no user data")
    if path == f"{ROOT}/metadata":
        return _yaml(_all(project, server))
    name = path.removeprefix(f"{ROOT}/metadata/")
    if name not in FIELDS:
        return _text(404, f"there is no {path}")
    value = FIELDS[name](project, server)
    return _text(200, str(value)) if isinstance(value, str | int) else _yaml(value)


def _all(project: Project, server: Record) -> Record:
    return {name: read(project, server) for name, read in FIELDS.items() if name != "private-networks"}


def _public_ipv4(project: Project, server: Record) -> str:
    ip = relations.primary_ip_of(project, server["id"], "ipv4")
    return "" if ip is None else ip["ip"]


def _private_networks(project: Project, server: Record) -> list[Record]:
    return [_private(project, number, net) for number, net in enumerate(server["private_net"], 1)]


def _private(project: Project, number: int, net: Record) -> Record:
    network = project.get("networks", net["network"])
    ranges = [subnet["ip_range"] for subnet in network["subnets"]]
    return {
        "ip": net["ip"], "alias_ips": net["alias_ips"], "interface_num": number, "mac_address": net["mac_address"],
        "network_id": network["id"], "network_name": network["name"], "network": network["ip_range"],
        "gateway": addresses.gateway(network), "subnet": next((one for one in ranges if _holds(one, net["ip"])), None),
    }  # fmt: skip


def _holds(ip_range: str, ip: str) -> bool:
    return IPv4Address(ip) in IPv4Network(ip_range)


FIELDS: dict[str, Callable[[Project, Record], object]] = {
    "hostname": lambda _, server: server["name"],
    "instance-id": lambda _, server: server["id"],
    "public-ipv4": _public_ipv4,
    "local-ipv4": lambda _, server: next((net["ip"] for net in server["private_net"]), ""),
    "availability-zone": lambda _, server: server["location"],
    "region": lambda project, server: addresses.zone_of(project, server["location"]),
    "public-keys": lambda _, server: list(server["public_keys"]),
    "private-networks": _private_networks,
}


def _text(status: int, text: str) -> Answer:
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8"}, text.encode())


def _yaml(value: object) -> Answer:
    return _text(200, yaml.safe_dump(value, sort_keys=True))
