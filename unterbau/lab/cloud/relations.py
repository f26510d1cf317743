"""What belongs to what in a project. Each relation is kept on one side; here it is read from the other."""

from __future__ import annotations

from unterbau.lab.cloud import selector
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.project import Project


def volumes_of(project: Project, server: int) -> list[Record]:
    """The volumes attached to a server."""
    return [volume for volume in project.all("volumes") if volume["server"] == server]


def primary_ip_of(project: Project, server: int, kind: str) -> Record | None:
    """A server's ipv4 or ipv6; None without one."""
    owned = (ip for ip in project.all("primary_ips") if ip["assignee_id"] == server and ip["type"] == kind)
    return next(owned, None)


def floating_ips_of(project: Project, server: int) -> list[Record]:
    """The floating IPs that lead to a server."""
    return [ip for ip in project.all("floating_ips") if ip["server"] == server]


def is_public(project: Project, server: int) -> bool:
    """Whether a server has a public address: only such an interface has firewalls."""
    return any(ip["assignee_id"] == server for ip in project.all("primary_ips"))


def chosen_servers(project: Project, text: str) -> list[Record]:
    """The servers that a label selector chooses."""
    chosen = selector.parse(text)
    return [server for server in project.all("servers") if chosen.chooses(server["labels"])]


def firewalled(project: Project, resource: Record) -> list[Record]:
    """The public servers that an entry of a firewall's `applied_to` means."""
    if resource["type"] == "server":
        servers = [one for one in project.all("servers") if one["id"] == resource["server"]["id"]]
    else:
        servers = chosen_servers(project, resource["label_selector"]["selector"])
    return [server for server in servers if is_public(project, server["id"])]


def servers_behind(project: Project, firewall: Record) -> set[int]:
    """The ids of all servers that a firewall filters, named or by label."""
    return {server["id"] for entry in firewall["applied_to"] for server in firewalled(project, entry)}


def firewalls_of(project: Project, server: Record) -> list[Record]:
    """The firewalls in front of a server."""
    if not is_public(project, server["id"]):
        return []
    return [one for one in project.all("firewalls") if any(_means(entry, server) for entry in one["applied_to"])]


def _means(entry: Record, server: Record) -> bool:
    if entry["type"] == "server":
        return bool(entry["server"]["id"] == server["id"])
    return selector.parse(entry["label_selector"]["selector"]).chooses(server["labels"])


def attached(project: Project, kind: str, network: int) -> list[Record]:
    """The servers or the load balancers in a network."""
    return [one for one in project.all(kind) if any(net["network"] == network for net in one["private_net"])]


def members(project: Project, group: int) -> list[Record]:
    """A placement group's servers."""
    return [server for server in project.all("servers") if server["placement_group"] == group]


def private_addresses(project: Project, network: int) -> set[str]:
    """Every address in a network that somebody has."""
    nets = [
        net for kind in ("servers", "load_balancers") for one in attached(project, kind, network)
        for net in one["private_net"] if net["network"] == network
    ]  # fmt: skip
    return {address for net in nets for address in (net["ip"], *net.get("alias_ips", ()))}


def targets_of(project: Project, target: Record) -> list[Record]:
    """The servers that a load balancer's target means; none for an IP."""
    if target["type"] == "server":
        return [one for one in project.all("servers") if one["id"] == target["server"]["id"]]
    if target["type"] == "label_selector":
        return chosen_servers(project, target["label_selector"]["selector"])
    return []


def reached_at(project: Project, balancer: Record, server: Record, *, private: bool) -> str | None:
    """Where a load balancer reaches a server, in its network or in public; None if it has no such address."""
    if not private:
        ip = primary_ip_of(project, server["id"], "ipv4")
        return None if ip is None else ip["ip"]
    networks = {net["network"] for net in balancer["private_net"]}
    return next((net["ip"] for net in server["private_net"] if net["network"] in networks), None)


def server_at(project: Project, address: str) -> Record | None:
    """The server that has an address, public or private; None if nobody has it."""
    for ip in project.all("primary_ips"):
        if ip["ip"] == address and ip["assignee_id"] is not None:
            return project.tables["servers"].get(ip["assignee_id"])
    return next(
        (one for one in project.all("servers") if any(net["ip"] == address for net in one["private_net"])), None
    )
