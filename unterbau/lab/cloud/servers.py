"""POST /servers: what is checked, kept and set going."""

from __future__ import annotations

import secrets
from datetime import datetime

from unterbau.lab.cloud import addresses, faults, limits, relations, shown, work
from unterbau.lab.cloud import server_bodies as asked
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.firewalls import effective
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Reply
from unterbau.lab.cloud.work import Effect, Key

PASSWORD_BYTES = 18


def create(call: Call) -> Reply:
    """A server, initializing, with the actions that make it one."""
    project, body = call.project, call.read(asked.Server)
    project.check_new("servers", body.name)
    kind = project.choose("server_types", body.server_type, "server_type")
    location = _location(project, body, kind)
    image = image_for(project, body.image, kind["architecture"])
    keys = [project.choose("ssh_keys", key, "ssh_keys") for key in body.ssh_keys]
    _check_attachments(project, body, location)
    if body.placement_group is not None:
        check_group(project, body.placement_group)
    faults.placing(project, kind["name"], location)
    values = {"location": location, "image": image["id"], "public_keys": [key["public_key"] for key in keys]}
    record = _kept(project, body, kind, values)
    _give_addresses(project, body.public_net, record)
    _put_behind(project, body, record)
    action, following = _actions(project, body, record)
    password = None if keys else secrets.token_urlsafe(PASSWORD_BYTES)
    answer = {"server": shown.server(project, record), "action": action, "next_actions": following}
    return 201, {**answer, "root_password": password}


def _location(project: Project, body: asked.Server, kind: Record) -> str:
    offers = {offer["name"]: offer for offer in kind["locations"]}
    name = next(iter(offers)) if body.location is None else project.location(body.location)
    if name not in offers:
        raise invalid("location", f"unsupported location for server type {kind['name']}: {name}")
    end = offers[name]["deprecation"]
    if end and project.clock() >= datetime.fromisoformat(end["unavailable_after"]):
        raise invalid("server_type", f"server type {kind['name']} is deprecated and not sold any more")
    return name


def image_for(project: Project, wanted: int | str, architecture: str) -> Record:
    """The image with that id, or the one with that name for an architecture; invalid_input if there is none."""
    named = (one for one in project.all("images") if wanted in {one["name"], one["id"], str(one["id"])})
    found = next((one for one in named if one["architecture"] == architecture), None)
    if found is None:
        raise invalid("image", f"there is no image {wanted!r} for {architecture}")
    return found


def check_group(project: Project, number: int) -> None:
    """A placement group has room for one more server."""
    project.get("placement_groups", number)
    if len(relations.members(project, number)) >= limits.PER_GROUP:
        raise ApiError("placement_error", f"placement group {number} has {limits.PER_GROUP} servers and takes no more")


def _check_attachments(project: Project, body: asked.Server, location: str) -> None:
    _check_public(project, body, location)
    firewalls = [one.firewall for one in body.firewalls]
    for name, most, numbers in (
        ("networks", limits.NETWORKS_A_SERVER, body.networks), ("volumes", limits.VOLUMES_A_SERVER, body.volumes),
        ("firewalls", limits.FIREWALLS_A_SERVER, firewalls),
    ):  # fmt: skip
        if len(set(numbers)) < len(numbers):
            raise invalid(name, "one of them is named twice")
        if len(numbers) > most:
            raise ApiError("resource_limit_exceeded", f"a server has {most} {name} at most")
    for number in body.volumes:
        check_volume(project, project.get("volumes", number), location)
    for number in body.networks:
        check_network(project, number, addresses.zone_of(project, location))
    check_rules([project.get("firewalls", number) for number in firewalls])


def _check_public(project: Project, body: asked.Server, location: str) -> None:
    net = body.public_net
    if body.start_after_create and not body.networks and not net.enable_ipv4 and not net.enable_ipv6:
        raise invalid("public_net", "a server needs a public address or a network")
    wanted = ((net.enable_ipv4, net.ipv4), (net.enable_ipv6, net.ipv6))
    new = sum(enabled and own is None for enabled, own in wanted)
    project.limits.check("primary_ips", len(project.all("primary_ips")) + new)
    for kind, own in (("ipv4", net.ipv4), ("ipv6", net.ipv6)):
        if own is not None:
            _check_primary_ip(project.get("primary_ips", own), kind, location)


def check_volume(project: Project, volume: Record, location: str) -> None:
    """A volume is free, and where the server is."""
    if volume["server"] is not None:
        raise ApiError("volume_already_attached", f"volume {volume['name']} is attached to server {volume['server']}")
    if volume["location"] != location:
        raise ApiError("invalid_input", f"volume {volume['name']} is in {volume['location']}, the server in {location}")
    work.check_free(project, "volumes", volume["id"])


def check_network(project: Project, number: int, zone: str) -> None:
    """A network has room for one more member, and a subnet in its zone."""
    network = project.get("networks", number)
    count = sum(len(relations.attached(project, kind, number)) for kind in ("servers", "load_balancers"))
    joining = [one for one in project.pending if one["effect"] in {"attach_server", "attach_balancer"}]
    count += sum(one["arguments"]["wanted"]["network"] == number for one in joining)
    if count >= limits.ATTACHMENTS:
        raise ApiError("resource_limit_exceeded", f"network {network['name']} has {count} members and takes no more")
    if not any(subnet["network_zone"] == zone for subnet in network["subnets"]):
        raise ApiError("no_subnet_available", f"network {network['name']} has no subnet in zone {zone}")


def check_rules(firewalls: list[Record]) -> None:
    """So many rules one server may have."""
    rules = sum(effective(firewall["rules"]) for firewall in firewalls)
    if rules > limits.EFFECTIVE_RULES:
        raise ApiError("resource_limit_exceeded", f"{rules} effective rules, {limits.EFFECTIVE_RULES} are the most")


def _check_primary_ip(ip: Record, kind: str, location: str) -> None:
    if ip["assignee_id"] is not None:
        raise ApiError("primary_ip_assigned", f"primary IP {ip['name']} belongs to server {ip['assignee_id']}")
    if ip["type"] != kind:
        raise ApiError("primary_ip_version_mismatch", f"primary IP {ip['name']} is {ip['type']}, not {kind}")
    if ip["location"] != location:
        raise ApiError("primary_ip_datacenter_mismatch", f"primary IP {ip['name']} is in {ip['location']}")


def _kept(project: Project, body: asked.Server, kind: Record, values: Record) -> Record:
    return project.add("servers", {
        "name": body.name, "status": "initializing", "created": project.now(), "labels": body.labels,
        "server_type": kind["name"], "disk_gb": kind["disk"], **values,
        "placement_group": body.placement_group, "protection": {"delete": False, "rebuild": False},
        "private_net": [], "user_data": body.user_data,
    })  # fmt: skip


def _give_addresses(project: Project, net: asked.PublicNet, server: Record) -> None:
    for kind, wanted, number in (("ipv4", net.enable_ipv4, net.ipv4), ("ipv6", net.enable_ipv6, net.ipv6)):
        if number is not None:
            project.get("primary_ips", number)["assignee_id"] = server["id"]
        elif wanted:
            new_primary_ip(project, kind, server["location"], {"assignee_id": server["id"], "auto_delete": True})


def new_primary_ip(project: Project, kind: str, location: str, values: Record) -> Record:
    """A public address of its own; resource_limit_exceeded if the project has too many."""
    project.check_new("primary_ips", values.get("name"))
    ip = addresses.public(project, kind)
    record = project.add("primary_ips", {
        "name": f"primary_ip-{project.next_id}", "type": kind, "ip": ip, "location": location, "assignee_id": None,
        "assignee_type": "server", "auto_delete": False, "labels": {}, "created": project.now(),
        "protection": {"delete": False}, "dns_ptr": default_names(kind, ip), **values,
    })  # fmt: skip
    return record


def default_names(kind: str, ip: str) -> list[Record]:
    """The reverse DNS entries that an address has before it is given any."""
    if kind == "ipv6":
        return []
    return [{"ip": ip, "dns_ptr": f"static.{'.'.join(reversed(ip.split('.')))}.clients.your-server.de"}]


def _put_behind(project: Project, body: asked.Server, server: Record) -> None:
    for one in body.firewalls:
        entry = {"type": "server", "server": {"id": server["id"]}}
        project.get("firewalls", one.firewall)["applied_to"].append(entry)


def _actions(project: Project, body: asked.Server, server: Record) -> tuple[Record, list[Record]]:
    number = server["id"]
    own: Key = ("servers", number)
    half = faults.strike(project, "half_created", server_type=server["server_type"], location=server["location"])
    effect = Effect("create_server", {"number": number, "half": half is not None})
    first = before = work.start(project, "create_server", effect, own)
    following: list[Record] = []
    for command, effect, others in _next(body, number):
        before = work.start(project, command, effect, own, *others, after=before)
        following.append(before)
    return first, following


def _next(body: asked.Server, number: int) -> list[tuple[str, Effect, list[Key]]]:
    found: list[tuple[str, Effect, list[Key]]] = []
    for network in body.networks:
        wanted: Record = {"network": network, "ip": None, "ip_range": None, "alias_ips": []}
        effect = Effect("attach_server", {"number": number, "wanted": wanted})
        found.append(("attach_to_network", effect, [("networks", network)]))
    for volume in body.volumes:
        effect = attaching(volume, number)
        found.append(("attach_volume", effect, [("volumes", volume)]))
    if body.start_after_create:
        found.append(("start_server", Effect("power", {"number": number, "how": "on"}), []))
    return found


def attaching(volume: int, server: int) -> Effect:
    """A volume gets to its server."""
    return Effect("put", {"kind": "volumes", "number": volume, "values": {"server": server}, "servers": [server]})
