"""What can be done with a server that is there. Source: Hetzner Cloud API, "Server Actions"."""

from __future__ import annotations

import secrets
from ipaddress import ip_address, ip_network

from unterbau.lab.cloud import addresses, bodies, limits, relations, shown, work
from unterbau.lab.cloud import server_bodies as asked
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.machines import How
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Kind, RecordHandler, Reply
from unterbau.lab.cloud.servers import PASSWORD_BYTES, check_group, check_network, create, default_names, image_for
from unterbau.lab.cloud.work import Effect, Key


def started(call: Call, command: str, effect: Effect, *resources: Key, status: int = 201) -> Reply:
    """The usual answer: one action that has begun."""
    return status, {"action": work.start(call.project, command, effect, *resources)}


def changing(kind: str, record: Record, values: Record, servers: tuple[int, ...] = ()) -> Effect:
    """New values of a record, for when its action's turn comes."""
    return Effect("put", {"kind": kind, "number": record["id"], "values": values, "servers": list(servers)})


def powering(command: str, how: How) -> RecordHandler:
    """poweron and its like."""

    def handle(call: Call, server: Record) -> Reply:
        call.read(bodies.Nothing)
        return started(call, command, Effect("power", {"number": server["id"], "how": how}), ("servers", server["id"]))

    return handle


def delete(call: Call, server: Record) -> Reply:
    """DELETE: refused while it is protected."""
    if server["protection"]["delete"]:
        raise ApiError("protected", f"server {server['name']} is delete protected")
    effect = Effect("delete_server", {"number": server["id"]})
    return started(call, "delete_server", effect, ("servers", server["id"]), status=200)


def rebuild(call: Call, server: Record) -> Reply:
    """rebuild: refused while it is protected; a server without SSH keys gets a new password."""
    if server["protection"]["rebuild"]:
        raise ApiError("protected", f"server {server['name']} is rebuild protected")
    body, project = call.read(asked.Rebuild), call.project
    kind = project.choose("server_types", server["server_type"], "server_type")
    values: Record = {"image": image_for(project, body.image, kind["architecture"])["id"]}
    if body.user_data is not None:
        values["user_data"] = body.user_data
    effect = Effect("rebuild", {"number": server["id"], "values": values})
    action = work.start(project, "rebuild_server", effect, ("servers", server["id"]))
    password = None if server["public_keys"] else secrets.token_urlsafe(PASSWORD_BYTES)
    return 201, {"action": action, "root_password": password}


def change_protection(call: Call, server: Record) -> Reply:
    """change_protection: deletion and rebuilding go together."""
    values = {**server["protection"], **call.read(asked.ServerProtection).model_dump(exclude_none=True)}
    if values["delete"] != values["rebuild"]:
        raise invalid("rebuild", "delete and rebuild must be the same")
    effect = changing("servers", server, {"protection": values})
    return started(call, "change_protection", effect, ("servers", server["id"]))


def attach_to_network(call: Call, server: Record) -> Reply:
    """attach_to_network."""
    body, project = call.read(asked.NetworkJoined), call.project
    network = project.get("networks", body.network)
    if any(net["network"] == body.network for net in server["private_net"]):
        raise ApiError("server_already_attached", f"server {server['name']} is in network {network['name']} already")
    if len(server["private_net"]) >= limits.NETWORKS_A_SERVER:
        raise ApiError("resource_limit_exceeded", f"a server is in {limits.NETWORKS_A_SERVER} networks at most")
    _check_overlap(project, server, network)
    zone = addresses.zone_of(project, server["location"])
    check_network(project, body.network, zone)
    if body.ip is not None:
        addresses.private(project, network, zone, _address(body.ip), body.ip_range)
    _check_aliases(network, body.alias_ips)
    effect = Effect("attach_server", {"number": server["id"], "wanted": body.model_dump()})
    return started(call, "attach_to_network", effect, ("servers", server["id"]), ("networks", body.network))


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise invalid("ip", str(error)) from error


def _check_overlap(project: Project, server: Record, network: Record) -> None:
    whole = ip_network(network["ip_range"])
    for net in server["private_net"]:
        other = project.get("networks", net["network"])
        if whole.overlaps(ip_network(other["ip_range"])):
            raise ApiError("networks_overlap", f"{network['name']} overlaps with {other['name']}, which it is in")


def _check_aliases(network: Record, ips: list[str]) -> None:
    for ip in ips:
        if ip_address(_address(ip)) not in ip_network(network["ip_range"]):
            raise invalid("alias_ips", f"{ip} is not inside {network['ip_range']}")


def _joined(call: Call, server: Record, number: int) -> Record:
    network = call.project.get("networks", number)
    if not any(net["network"] == number for net in server["private_net"]):
        raise ApiError("invalid_input", f"server {server['name']} is not in network {network['name']}")
    return network


def detach_from_network(call: Call, server: Record) -> Reply:
    """detach_from_network."""
    body = call.read(bodies.NetworkLeft)
    _joined(call, server, body.network)
    effect = Effect("detach_server", {"number": server["id"], "network": body.network})
    return started(call, "detach_from_network", effect, ("servers", server["id"]), ("networks", body.network))


def change_alias_ips(call: Call, server: Record) -> Reply:
    """change_alias_ips."""
    body = call.read(asked.AliasIps)
    _check_aliases(_joined(call, server, body.network), body.alias_ips)
    effect = Effect("alias_ips", {"number": server["id"], "network": body.network, "ips": body.alias_ips})
    return started(call, "change_alias_ips", effect, ("servers", server["id"]), ("networks", body.network))


def change_dns_ptr(call: Call, server: Record) -> Reply:
    """change_dns_ptr of one of its primary IPs."""
    body = call.read(bodies.DnsPtr)
    kind = "ipv6" if ":" in body.ip else "ipv4"
    primary = relations.primary_ip_of(call.project, server["id"], kind)
    if primary is None:
        raise ApiError("not_found", f"server {server['name']} has no {kind}")
    effect = changing("primary_ips", primary, {"dns_ptr": named(primary, body)})
    return started(call, "change_dns_ptr", effect, ("servers", server["id"]))


def named(ip: Record, body: bodies.DnsPtr) -> list[Record]:
    """An address's reverse DNS entries with one changed; null brings back what it had at first."""
    asked = ip_address(_address(body.ip))
    if asked not in ip_network(ip["ip"]):
        raise invalid("ip", f"{body.ip} is not {ip['ip']}")
    others = [one for one in ip["dns_ptr"] if ip_address(one["ip"]) != asked]
    if body.dns_ptr is None:
        return others + default_names(ip["type"], str(asked))
    return [*others, {"ip": str(asked), "dns_ptr": body.dns_ptr}]


def _check_off(server: Record) -> None:
    if server["status"] != "off":
        raise ApiError("server_not_stopped", f"server {server['name']} is {server['status']}, it has to be off")


def change_type(call: Call, server: Record) -> Reply:
    """change_type: of the same architecture, with a disk that is no smaller."""
    body = call.read(asked.ServerType)
    kind = call.project.choose("server_types", body.server_type, "server_type")
    before = call.project.choose("server_types", server["server_type"], "server_type")
    _check_off(server)
    offered = {offer["name"] for offer in kind["locations"] if offer["deprecation"] is None}
    fits = kind["architecture"] == before["architecture"] and kind["disk"] >= server["disk_gb"]
    if not fits or server["location"] not in offered:
        raise ApiError("invalid_server_type", f"server type {kind['name']} does not fit server {server['name']}")
    disk = kind["disk"] if body.upgrade_disk else server["disk_gb"]
    effect = changing("servers", server, {"server_type": kind["name"], "disk_gb": disk}, (server["id"],))
    return started(call, "change_server_type", effect, ("servers", server["id"]))


def add_to_placement_group(call: Call, server: Record) -> Reply:
    """add_to_placement_group: of a server that is off, and in no group."""
    body = call.read(asked.PlacementGroupJoined)
    check_group(call.project, body.placement_group)
    _check_off(server)
    if server["placement_group"] is not None:
        raise ApiError("invalid_input", f"server {server['name']} is in a placement group already")
    effect = changing("servers", server, {"placement_group": body.placement_group})
    group: Key = ("placement_groups", body.placement_group)
    return started(call, "add_to_placement_group", effect, ("servers", server["id"]), group)


def remove_from_placement_group(call: Call, server: Record) -> Reply:
    """remove_from_placement_group."""
    if server["placement_group"] is None:
        raise ApiError("not_found", f"server {server['name']} is in no placement group")
    effect = changing("servers", server, {"placement_group": None})
    return started(call, "remove_from_placement_group", effect, ("servers", server["id"]))


def _relabelled(project: Project, server: Record) -> None:
    """Other firewalls and load balancers may choose it now."""
    number = server["id"]
    work.quietly(project, Effect("configure", {"servers": [number]}), ("servers", number))
    for one in project.all("load_balancers"):
        if any(target["type"] == "label_selector" for target in one["targets"]):
            work.quietly(project, Effect("balance", {"number": one["id"]}), ("load_balancers", one["id"]))


SERVERS = Kind(
    "servers", "server", shown.server, filters=("name", "status"), create=create, changed=asked.ServerChanged,
    after_change=_relabelled, delete=delete,
    actions={
        "poweron": powering("start_server", "on"), "poweroff": powering("stop_server", "off"),
        "shutdown": powering("shutdown_server", "shutdown"), "reboot": powering("reboot_server", "reboot"),
        "reset": powering("reset_server", "reset"), "rebuild": rebuild, "change_protection": change_protection,
        "attach_to_network": attach_to_network, "detach_from_network": detach_from_network,
        "change_alias_ips": change_alias_ips, "change_dns_ptr": change_dns_ptr, "change_type": change_type,
        "add_to_placement_group": add_to_placement_group,
        "remove_from_placement_group": remove_from_placement_group,
    },
)  # fmt: skip
