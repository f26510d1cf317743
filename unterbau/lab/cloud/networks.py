"""Networks: subnets and routes. Source: Hetzner Cloud API, "Networks"."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from unterbau.lab.cloud import addresses, bodies, limits, relations, shown, work
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Kind, Reply, check_deletable
from unterbau.lab.cloud.server_actions import changing, started


def create(call: Call) -> Reply:
    """POST /networks: done at once, without an action."""
    body, project = call.read(bodies.Network), call.project
    project.check_new("networks", body.name)
    values: Record = {
        "name": body.name, "ip_range": body.ip_range, "subnets": [], "routes": [], "labels": body.labels,
        "created": project.now(), "protection": {"delete": False},
        "expose_routes_to_vswitch": body.expose_routes_to_vswitch,
    }  # fmt: skip
    for subnet in body.subnets:
        values["subnets"].append(_subnet(project, values, subnet))
    for route in body.routes:
        values["routes"].append(_route(values, route))
    record = project.add("networks", values)
    return 201, {"network": shown.network(project, record)}


def _subnet(project: Project, network: Record, body: bodies.Subnet) -> Record:
    if len(network["subnets"]) >= limits.SUBNETS:
        raise ApiError("resource_limit_exceeded", f"a network has {limits.SUBNETS} subnets at most")
    if body.network_zone not in {location["network_zone"] for location in project.all("locations")}:
        raise invalid("network_zone", f"there is no network zone {body.network_zone!r}")
    ip_range = body.ip_range or addresses.free_subnet(network)
    subnet = {"type": body.type, "network_zone": body.network_zone, "ip_range": ip_range, "vswitch_id": None}
    addresses.check_subnet(network, subnet)
    return subnet


def _route(network: Record, body: bodies.Route) -> Record:
    if len(network["routes"]) >= limits.ROUTES:
        raise ApiError("resource_limit_exceeded", f"a network has {limits.ROUTES} routes at most")
    if any(one["destination"] == body.destination for one in network["routes"]):
        raise invalid("destination", f"there is a route to {body.destination} already")
    try:
        inside = IPv4Address(body.gateway) in IPv4Network(network["ip_range"])
    except ValueError as error:
        raise invalid("gateway", str(error)) from error
    if not inside or body.gateway == addresses.gateway(network):
        raise invalid("gateway", f"{body.gateway} is not inside {network['ip_range']}, or the network's own gateway")
    return {"destination": body.destination, "gateway": body.gateway}


def _changed(call: Call, network: Record, command: str, values: Record) -> Reply:
    number = network["id"]
    servers = tuple(one["id"] for one in relations.attached(call.project, "servers", number))
    return started(call, command, changing("networks", network, values, servers), ("networks", number))


def add_subnet(call: Call, network: Record) -> Reply:
    """add_subnet."""
    work.check_free(call.project, "networks", network["id"])
    subnet = _subnet(call.project, network, call.read(bodies.Subnet))
    return _changed(call, network, "add_subnet", {"subnets": [*network["subnets"], subnet]})


def delete_subnet(call: Call, network: Record) -> Reply:
    """delete_subnet: refused while somebody has an address in it."""
    ip_range = call.read(bodies.SubnetDeleted).ip_range
    left = [subnet for subnet in network["subnets"] if subnet["ip_range"] != ip_range]
    if len(left) == len(network["subnets"]):
        raise ApiError("not_found", f"network {network['name']} has no subnet {ip_range}")
    taken = relations.private_addresses(call.project, network["id"])
    if any(IPv4Address(address) in IPv4Network(ip_range) for address in taken):
        raise ApiError("resource_in_use", f"subnet {ip_range} has members; detach them first")
    return _changed(call, network, "delete_subnet", {"subnets": left})


def add_route(call: Call, network: Record) -> Reply:
    """add_route."""
    route = _route(network, call.read(bodies.Route))
    return _changed(call, network, "add_route", {"routes": [*network["routes"], route]})


def delete_route(call: Call, network: Record) -> Reply:
    """delete_route."""
    route = call.read(bodies.Route).model_dump()
    if route not in network["routes"]:
        raise ApiError("not_found", f"network {network['name']} has no route {route['destination']}")
    return _changed(call, network, "delete_route", {"routes": [one for one in network["routes"] if one != route]})


def change_ip_range(call: Call, network: Record) -> Reply:
    """change_ip_range: only to more, from the same beginning."""
    new, old = IPv4Network(call.read(bodies.IpRange).ip_range), IPv4Network(network["ip_range"])
    if new.network_address != old.network_address or new.prefixlen > old.prefixlen:
        raise invalid("ip_range", f"{new} does not extend {old} from the same first address")
    return _changed(call, network, "change_ip_range", {"ip_range": str(new)})


def change_protection(call: Call, network: Record) -> Reply:
    """change_protection."""
    values = {**network["protection"], **call.read(bodies.Protection).model_dump(exclude_none=True)}
    effect = changing("networks", network, {"protection": values})
    return started(call, "change_protection", effect, ("networks", network["id"]))


def delete(call: Call, network: Record) -> Reply:
    """DELETE: refused while it has members."""
    check_deletable(call, "networks", network)
    view = shown.network(call.project, network)
    if view["servers"] or view["load_balancers"]:
        raise ApiError("resource_in_use", f"network {network['name']} has members; detach them first")
    call.project.remove("networks", network["id"])
    return 204, None


NETWORKS = Kind(
    "networks", "network", shown.network, create=create, changed=bodies.NetworkChanged, delete=delete,
    actions={
        "add_subnet": add_subnet, "delete_subnet": delete_subnet, "add_route": add_route, "delete_route": delete_route,
        "change_ip_range": change_ip_range, "change_protection": change_protection,
    },
)  # fmt: skip
