"""A server as its machine has to be, and a load balancer as it has to serve."""

from __future__ import annotations

from unterbau.lab.cloud import relations
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.machines import Machine
from unterbau.lab.cloud.project import Project


def machine(project: Project, server: Record) -> Machine:
    """What `Machines` is told of a server."""
    number = server["id"]
    ips = {kind: relations.primary_ip_of(project, number, kind) for kind in ("ipv4", "ipv6")}
    kind = next(one for one in project.all("server_types") if one["name"] == server["server_type"])
    image = project.get("images", server["image"])
    firewalls = relations.firewalls_of(project, server)
    volumes = relations.volumes_of(project, number)
    return Machine(
        id=number, name=server["name"], image=image["name"], cores=kind["cores"], memory_gb=kind["memory"],
        disk_gb=server["disk_gb"], public_keys=tuple(server["public_keys"]), user_data=server["user_data"],
        public_ipv4=_address(ips["ipv4"]), public_ipv6=_address(ips["ipv6"]),
        private_net=tuple(_net(project, net) for net in server["private_net"]),
        volumes=tuple({name: volume[name] for name in ("id", "size", "format")} for volume in volumes),
        floating_ips=tuple(ip["ip"] for ip in relations.floating_ips_of(project, number)),
        rules=tuple(rule for one in firewalls for rule in one["rules"]) if firewalls else None,
    )  # fmt: skip


def _address(ip: Record | None) -> str | None:
    return None if ip is None else ip["ip"]


def _net(project: Project, net: Record) -> Record:
    network = project.get("networks", net["network"])
    return {**net, "ip_range": network["ip_range"], "routes": network["routes"]}


def balancer(project: Project, record: Record) -> Record:
    """A load balancer as it is kept, and the addresses that stand behind it."""
    found = [address for target in record["targets"] for address in _addresses(project, record, target)]
    return {**record, "backends": sorted(set(found))}


def _addresses(project: Project, record: Record, target: Record) -> list[str]:
    if target["type"] == "ip":
        return [target["ip"]["ip"]]
    private = target["use_private_ip"]
    servers = relations.targets_of(project, target)
    found = (relations.reached_at(project, record, server, private=private) for server in servers)
    return [address for address in found if address is not None]
