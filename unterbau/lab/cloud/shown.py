"""How each kind looks in an answer: what is kept, with what others know of it. Source: Hetzner Cloud API."""

from __future__ import annotations

from unterbau.lab.cloud import addresses, relations
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.project import Project


def _named(project: Project, kind: str, name: str) -> Record:
    return next(one for one in project.all(kind) if one["name"] == name)


def same(project: Project, record: Record) -> Record:  # noqa: ARG001  # every kind's signature
    """As it is kept."""
    return record


def location(project: Project, name: str) -> Record:
    """A location, whole."""
    return _named(project, "locations", name)


def server(project: Project, record: Record) -> Record:
    """A server."""
    number = record["id"]
    group = record["placement_group"]
    kept = {name: record[name] for name in ("id", "name", "status", "created", "labels", "protection")}
    return {
        **kept, "public_net": _public_net(project, record), "private_net": _private_net(record),
        "server_type": _named(project, "server_types", record["server_type"]),
        "image": project.find("images", record["image"]), "location": location(project, record["location"]),
        "placement_group": placement_group(project, project.get("placement_groups", group)) if group else None,
        "volumes": [volume["id"] for volume in relations.volumes_of(project, number)],
        "load_balancers": _balanced_by(project, number), "primary_disk_size": record["disk_gb"],
        "locked": any(item["action"] and item["key"] == ["servers", number] for item in project.pending),
        "iso": None, "rescue_enabled": False, "backup_window": None,
        "outgoing_traffic": 0, "ingoing_traffic": 0, "included_traffic": 20 * 1000**4,
    }  # fmt: skip


def _private_net(record: Record) -> list[Record]:
    names = ("network", "ip", "alias_ips", "mac_address")
    return [{name: net[name] for name in names} for net in record["private_net"]]


def _public_net(project: Project, record: Record) -> Record:
    number = record["id"]
    ipv4 = relations.primary_ip_of(project, number, "ipv4")
    ipv6 = relations.primary_ip_of(project, number, "ipv6")
    status = "pending" if record["status"] == "initializing" else "applied"
    return {
        "ipv4": ipv4 and {"id": ipv4["id"], "ip": ipv4["ip"], "blocked": False, "dns_ptr": _ipv4_name(ipv4)},
        "ipv6": ipv6 and {"id": ipv6["id"], "ip": ipv6["ip"], "blocked": False, "dns_ptr": ipv6["dns_ptr"]},
        "floating_ips": [ip["id"] for ip in relations.floating_ips_of(project, number)],
        "firewalls": [{"id": one["id"], "status": status} for one in relations.firewalls_of(project, record)],
    }


def _ipv4_name(ip: Record) -> str:
    name: str = ip["dns_ptr"][0]["dns_ptr"]
    return name


def _balanced_by(project: Project, number: int) -> list[int]:
    def is_target(balancer: Record) -> bool:
        return any(one["type"] == "server" and one["server"]["id"] == number for one in balancer["targets"])

    return [one["id"] for one in project.all("load_balancers") if is_target(one)]


def placement_group(project: Project, record: Record) -> Record:
    """A placement group, with its servers."""
    return {**record, "servers": [one["id"] for one in relations.members(project, record["id"])]}


def network(project: Project, record: Record) -> Record:
    """A network, with its members and gateways."""
    gateway = addresses.gateway(record)
    inside = {kind: [one["id"] for one in relations.attached(project, kind, record["id"])]
              for kind in ("servers", "load_balancers")}  # fmt: skip
    return {**record, **inside, "subnets": [{**subnet, "gateway": gateway} for subnet in record["subnets"]]}


def firewall(project: Project, record: Record) -> Record:
    """A firewall; behind a label selector, the servers that it chooses now."""
    return {**record, "applied_to": [_applied(project, entry) for entry in record["applied_to"]]}


def _applied(project: Project, entry: Record) -> Record:
    if entry["type"] == "server":
        return entry
    servers = [{"type": "server", "server": {"id": one["id"]}} for one in relations.firewalled(project, entry)]
    return {**entry, "applied_to_resources": servers}


def volume(project: Project, record: Record) -> Record:
    """A volume."""
    device = f"/dev/disk/by-id/scsi-0HC_Volume_{record['id']}"
    return {**record, "location": location(project, record["location"]), "linux_device": device}


def primary_ip(project: Project, record: Record) -> Record:
    """A primary IP."""
    return {**record, "location": location(project, record["location"]), "blocked": False}


def floating_ip(project: Project, record: Record) -> Record:
    """A floating IP."""
    return {**record, "home_location": location(project, record["home_location"]), "blocked": False}


def load_balancer(project: Project, record: Record) -> Record:
    """A load balancer, with its targets' health."""
    kept = ("id", "name", "created", "labels", "protection", "algorithm", "services", "private_net")
    return {
        **{name: record[name] for name in kept},
        "load_balancer_type": _named(project, "load_balancer_types", record["load_balancer_type"]),
        "location": location(project, record["location"]),
        "public_net": {
            "enabled": record["public_interface"],
            **{kind: _balancer_ip(record, kind) for kind in ("ipv4", "ipv6")},
        },
        "targets": [_target(project, record, target) for target in record["targets"]],
        "outgoing_traffic": 0, "ingoing_traffic": 0, "included_traffic": 20 * 1000**4,
    }  # fmt: skip


def _balancer_ip(record: Record, kind: str) -> Record:
    """Its id is null: the lab has no primary IPs of load balancers."""
    return {"id": None, "ip": record[kind], "blocked": False, "dns_ptr": record["dns_ptr"][kind]}


def _target(project: Project, balancer: Record, target: Record) -> Record:
    if target["type"] == "ip":  # nobody looks at machines outside of the lab
        health = [{"listen_port": one["listen_port"], "status": "unknown"} for one in balancer["services"]]
        return {**target, "health_status": health}
    chosen = [
        _reached(project, balancer, one, target["use_private_ip"]) for one in relations.targets_of(project, target)
    ]
    return chosen[0] if target["type"] == "server" else {**target, "targets": chosen}


def _reached(project: Project, balancer: Record, server: Record, private: bool) -> Record:
    address = relations.reached_at(project, balancer, server, private=private)
    return {
        "type": "server", "server": {"id": server["id"], "ip": address or ""}, "use_private_ip": private,
        "health_status": _health(project, balancer, server["id"]),
    }  # fmt: skip


def _health(project: Project, balancer: Record, number: int) -> list[Record]:
    return [
        {"listen_port": one["listen_port"], "status": project.health(number, one["health_check"]["port"])}
        for one in balancer["services"]
    ]


def action(project: Project, record: Record) -> Record:  # noqa: ARG001
    """An action."""
    return record


def server_type(project: Project, record: Record) -> Record:
    """A server type: a sell-out is seen where the fault says so."""
    hidden = {
        one["location"] for one in project.faults
        if one["kind"] == "sold_out" and one["shown"] and one["server_type"] in {None, record["name"]}
    }  # fmt: skip
    offers = [
        {**one, "available": one["available"] and not hidden & {None, one["name"]}} for one in record["locations"]
    ]
    return {**record, "locations": offers}
