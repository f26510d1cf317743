"""Primary and floating IPs, and their reverse DNS. Source: Hetzner Cloud API, "Primary IPs" and "Floating IPs"."""

from __future__ import annotations

from unterbau.lab.cloud import addresses, bodies, relations, shown, work
from unterbau.lab.cloud import ip_bodies as asked
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Kind, RecordHandler, Reply, check_deletable
from unterbau.lab.cloud.server_actions import changing, named, started
from unterbau.lab.cloud.servers import default_names, new_primary_ip
from unterbau.lab.cloud.work import Effect, Key


def create_primary(call: Call) -> Reply:
    """POST /primary_ips: at a location, or of a server that is off and has none of its type."""
    body, project = call.read(asked.PrimaryIp), call.project
    if (body.location is None) == (body.assignee_id is None):
        raise invalid("location", "either a location or an assignee is needed")
    if body.assignee_id is not None:
        _check_assignee(project, body.assignee_id, body.type)
    place = project.location(body.location) if body.location is not None else _place(project, body.assignee_id or 0)
    values = {"name": body.name, "auto_delete": body.auto_delete, "labels": body.labels}
    record = new_primary_ip(project, body.type, place, values)
    answer: Record = {"primary_ip": shown.primary_ip(project, record)}
    if body.assignee_id is not None:
        effect = _assigning(record, body.assignee_id)
        own: Key = ("primary_ips", record["id"])
        answer["action"] = work.start(project, "create_primary_ip", effect, own, ("servers", body.assignee_id))
    return 201, answer


def _place(project: Project, server: int) -> str:
    location: str = project.get("servers", server)["location"]
    return location


def _check_assignee(project: Project, number: int, kind: str) -> None:
    server = project.get("servers", number)
    _check_off(server)
    if relations.primary_ip_of(project, number, kind):
        raise ApiError(f"server_has_{kind}", f"server {server['name']} has an {kind} already")


def _check_off(server: Record) -> None:
    if server["status"] != "off":
        raise ApiError("server_not_stopped", f"server {server['name']} is {server['status']}, it has to be off")


def _assigning(ip: Record, server: int) -> Effect:
    return changing("primary_ips", ip, {"assignee_id": server}, (server,))


def assign_primary(call: Call, ip: Record) -> Reply:
    """assign."""
    number = call.read(asked.PrimaryIpAssigned).assignee_id
    if ip["assignee_id"] is not None:
        raise ApiError("primary_ip_already_assigned", f"primary IP {ip['name']} belongs to server {ip['assignee_id']}")
    _check_assignee(call.project, number, ip["type"])
    if _place(call.project, number) != ip["location"]:
        raise invalid("assignee_id", f"primary IP {ip['name']} is in {ip['location']}, the server elsewhere")
    return started(call, "assign_primary_ip", _assigning(ip, number), ("primary_ips", ip["id"]), ("servers", number))


def unassign_primary(call: Call, ip: Record) -> Reply:
    """unassign: from a server that is off."""
    number = ip["assignee_id"]
    if number is None:
        raise ApiError("invalid_input", f"primary IP {ip['name']} belongs to no server")
    _check_off(call.project.get("servers", number))
    effect = changing("primary_ips", ip, {"assignee_id": None}, (number,))
    return started(call, "unassign_primary_ip", effect, ("primary_ips", ip["id"]), ("servers", number))


def delete_primary(call: Call, ip: Record) -> Reply:
    """DELETE: refused while it belongs to a server."""
    check_deletable(call, "primary_ips", ip)
    if ip["assignee_id"] is not None:
        raise ApiError("resource_in_use", f"primary IP {ip['name']} belongs to server {ip['assignee_id']}")
    call.project.remove("primary_ips", ip["id"])
    return 204, None


def create_floating(call: Call) -> Reply:
    """POST /floating_ips: at a location, or leading to a server."""
    body, project = call.read(asked.FloatingIp), call.project
    if body.home_location is None and body.server is None:
        raise invalid("home_location", "either a home location or a server is needed")
    project.check_new("floating_ips", body.name)
    wanted = body.home_location
    at_server = _place(project, body.server) if body.server is not None else None
    place = at_server if wanted is None else project.location(wanted)
    ip = addresses.public(project, body.type)
    record = project.add("floating_ips", {
        "name": body.name or f"floating-ip-{project.next_id}", "type": body.type, "ip": ip, "home_location": place,
        "description": body.description, "server": None, "labels": body.labels, "created": project.now(),
        "protection": {"delete": False}, "dns_ptr": default_names(body.type, ip),
    })  # fmt: skip
    answer: Record = {"floating_ip": shown.floating_ip(project, record)}
    if body.server is not None:
        answer["action"] = _lead(call, record, body.server)
    return 201, answer


def _lead(call: Call, ip: Record, server: int) -> Record:
    call.project.get("servers", server)
    servers = tuple(number for number in (server, ip["server"]) if number is not None)
    effect = changing("floating_ips", ip, {"server": server}, servers)
    return work.start(call.project, "assign_floating_ip", effect, ("floating_ips", ip["id"]), ("servers", server))


def assign_floating(call: Call, ip: Record) -> Reply:
    """assign: also from one server to another."""
    number = call.read(asked.FloatingIpAssigned).server
    if ip["server"] == number:
        raise ApiError("floating_ip_assigned", f"floating IP {ip['name']} leads to server {number} already")
    return 201, {"action": _lead(call, ip, number)}


def unassign_floating(call: Call, ip: Record) -> Reply:
    """unassign."""
    servers = () if ip["server"] is None else (ip["server"],)
    effect = changing("floating_ips", ip, {"server": None}, servers)
    return started(call, "unassign_floating_ip", effect, ("floating_ips", ip["id"]))


def delete_floating(call: Call, ip: Record) -> Reply:
    """DELETE: also while it leads to a server."""
    check_deletable(call, "floating_ips", ip)
    call.project.remove("floating_ips", ip["id"])
    if ip["server"] is not None:
        work.quietly(call.project, Effect("configure", {"servers": [ip["server"]]}), ("servers", ip["server"]))
    return 204, None


def naming(kind: str) -> RecordHandler:
    """change_dns_ptr."""

    def handle(call: Call, ip: Record) -> Reply:
        effect = changing(kind, ip, {"dns_ptr": named(ip, call.read(bodies.DnsPtr))})
        return started(call, "change_dns_ptr", effect, (kind, ip["id"]))

    return handle


def protecting(kind: str) -> RecordHandler:
    """change_protection: an address that goes with its server cannot be protected."""

    def handle(call: Call, ip: Record) -> Reply:
        values = {**ip["protection"], **call.read(bodies.Protection).model_dump(exclude_none=True)}
        if values["delete"] and ip.get("auto_delete"):
            raise invalid("delete", "auto_delete is on; switch it off first")
        return started(call, "change_protection", changing(kind, ip, {"protection": values}), (kind, ip["id"]))

    return handle


PRIMARY_IPS = Kind(
    "primary_ips", "primary_ip", shown.primary_ip, filters=("name", "ip"), sorts=("id", "created"),
    create=create_primary, changed=asked.PrimaryIpChanged, delete=delete_primary,
    actions={
        "assign": assign_primary, "unassign": unassign_primary, "change_dns_ptr": naming("primary_ips"),
        "change_protection": protecting("primary_ips"),
    },
)  # fmt: skip
FLOATING_IPS = Kind(
    "floating_ips", "floating_ip", shown.floating_ip, sorts=("id", "created"), create=create_floating,
    changed=asked.FloatingIpChanged, delete=delete_floating,
    actions={
        "assign": assign_floating, "unassign": unassign_floating, "change_dns_ptr": naming("floating_ips"),
        "change_protection": protecting("floating_ips"),
    },
)  # fmt: skip
