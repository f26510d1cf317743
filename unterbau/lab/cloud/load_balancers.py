"""Load balancers: services, targets, a network. Source: Hetzner Cloud API, "Load Balancers"."""

from __future__ import annotations

from ipaddress import ip_address

from unterbau.lab.cloud import addresses, bodies, relations, shown, work
from unterbau.lab.cloud import load_balancer_bodies as asked
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.load_balancer_services import merged, new_service
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Kind, RecordHandler, Reply, check_deletable
from unterbau.lab.cloud.server_actions import changing, started
from unterbau.lab.cloud.servers import check_network, default_names
from unterbau.lab.cloud.work import Effect


def create(call: Call) -> Reply:
    """POST /load_balancers: at a location, or at one of a network zone's."""
    body, project = call.read(asked.LoadBalancer), call.project
    project.check_new("load_balancers", body.name)
    kind = project.choose("load_balancer_types", body.load_balancer_type, "load_balancer_type")
    location = _location(project, body)
    if body.network is not None:
        check_network(project, body.network, addresses.zone_of(project, location))
    record = _kept(project, body, kind["name"], location)
    try:
        _fill(project, record, body)
    except ApiError:
        project.remove("load_balancers", record["id"])
        raise
    action = _begin(project, record, body.network)
    return 201, {"load_balancer": shown.load_balancer(project, record), "action": action}


def _location(project: Project, body: asked.LoadBalancer) -> str:
    if (body.location is None) == (body.network_zone is None):
        raise invalid("location", "either a location or a network zone is needed")
    if body.location is not None:
        return project.location(body.location)
    names = [one["name"] for one in project.all("locations") if one["network_zone"] == body.network_zone]
    if not names:
        raise invalid("network_zone", f"there is no network zone {body.network_zone!r}")
    return str(names[0])


def _kept(project: Project, body: asked.LoadBalancer, kind: str, location: str) -> Record:
    ipv4, ipv6 = addresses.public(project, "ipv4"), addresses.public(project, "ipv6")
    return project.add("load_balancers", {
        "name": body.name, "load_balancer_type": kind, "location": location, "algorithm": body.algorithm.model_dump(),
        "services": [], "targets": [], "labels": body.labels, "created": project.now(), "private_net": [],
        "protection": {"delete": False}, "public_interface": body.public_interface,
        "ipv4": ipv4, "ipv6": f"{ipv6.removesuffix('/64')}1",
        "dns_ptr": {"ipv4": default_names("ipv4", ipv4)[0]["dns_ptr"], "ipv6": None},
    })  # fmt: skip


def _fill(project: Project, record: Record, body: asked.LoadBalancer) -> None:
    for service in body.services:
        record["services"].append(_service(project, record, service))
    networks = {net["network"] for net in record["private_net"]} | ({body.network} - {None})
    for target in body.targets:
        record["targets"].append(_target(project, record, target, networks))


def _begin(project: Project, record: Record, network: int | None) -> Record:
    number = record["id"]
    if network is None:
        effect = Effect("balance", {"number": number})
        return work.start(project, "create_load_balancer", effect, ("load_balancers", number))
    wanted = {"network": network, "ip": None, "ip_range": None}
    effect = Effect("attach_balancer", {"number": number, "wanted": wanted})
    return work.start(project, "create_load_balancer", effect, ("load_balancers", number), ("networks", network))


def _kind(project: Project, record: Record) -> Record:
    return project.choose("load_balancer_types", record["load_balancer_type"], "load_balancer_type")


def _service(project: Project, record: Record, body: asked.Service) -> Record:
    service = new_service(body)
    if any(one["listen_port"] == service["listen_port"] for one in record["services"]):
        raise ApiError("source_port_already_used", f"port {service['listen_port']} is served already")
    most = _kind(project, record)["max_services"]
    if len(record["services"]) >= most:
        raise ApiError("resource_limit_exceeded", f"a {record['load_balancer_type']} has {most} services at most")
    return service


def _target(project: Project, record: Record, body: asked.Target, networks: set[int | None]) -> Record:
    target = body.model_dump(exclude_none=True)
    if target["type"] == "ip":
        del target["use_private_ip"]
        _check_ip(project, target["ip"]["ip"])
    if any(_same(one, target) for one in record["targets"]):
        raise ApiError("target_already_defined", "the load balancer has this target already")
    most = _kind(project, record)["max_targets"]
    if len(record["targets"]) >= most:
        raise ApiError("resource_limit_exceeded", f"a {record['load_balancer_type']} has {most} targets at most")
    _check_reachable(project, target, networks)
    return target


def _check_ip(project: Project, text: str) -> None:
    try:
        ip = str(ip_address(text))
    except ValueError as error:
        raise invalid("ip", str(error)) from error
    if relations.server_at(project, ip):
        raise ApiError("cloud_resource_ip_not_allowed", f"{ip} is a server of this cloud; make the server a target")


def _same(one: Record, other: Record) -> bool:
    return bool(one["type"] == other["type"] and one[one["type"]] == other[one["type"]])


def _check_reachable(project: Project, target: Record, networks: set[int | None]) -> None:
    private = target.get("use_private_ip", False)
    if private and not networks:
        raise ApiError("load_balancer_not_attached_to_network", "attach the load balancer to a network first")
    if target["type"] != "server":
        return
    server = project.get("servers", target["server"]["id"])
    if private and not any(net["network"] in networks for net in server["private_net"]):
        raise ApiError(
            "server_not_attached_to_network", f"server {server['name']} is not in the load balancer's network"
        )
    if not private and relations.primary_ip_of(project, server["id"], "ipv4") is None:
        raise ApiError("missing_ipv4", f"server {server['name']} has no public IPv4")


def _changed(call: Call, record: Record, command: str, values: Record) -> Reply:
    return started(call, command, changing("load_balancers", record, values), ("load_balancers", record["id"]))


def add_service(call: Call, record: Record) -> Reply:
    """add_service."""
    work.check_free(call.project, "load_balancers", record["id"])
    service = _service(call.project, record, call.read(asked.Service))
    return _changed(call, record, "add_service", {"services": [*record["services"], service]})


def update_service(call: Call, record: Record) -> Reply:
    """update_service: the one on that port; what is left out stays."""
    body = call.read(asked.ServiceChanged)
    _check_served(record, body.listen_port)
    services = [merged(one, body) if one["listen_port"] == body.listen_port else one for one in record["services"]]
    return _changed(call, record, "update_service", {"services": services})


def _check_served(record: Record, port: int) -> None:
    if not any(one["listen_port"] == port for one in record["services"]):
        raise ApiError("not_found", f"load balancer {record['name']} has no service on port {port}")


def delete_service(call: Call, record: Record) -> Reply:
    """delete_service."""
    port = call.read(asked.ServiceDeleted).listen_port
    _check_served(record, port)
    services = [one for one in record["services"] if one["listen_port"] != port]
    return _changed(call, record, "delete_service", {"services": services})


def add_target(call: Call, record: Record) -> Reply:
    """add_target."""
    work.check_free(call.project, "load_balancers", record["id"])
    networks: set[int | None] = {net["network"] for net in record["private_net"]}
    target = _target(call.project, record, call.read(asked.Target), networks)
    return _changed(call, record, "add_target", {"targets": [*record["targets"], target]})


def remove_target(call: Call, record: Record) -> Reply:
    """remove_target."""
    target = call.read(asked.TargetRemoved).model_dump(exclude_none=True)
    left = [one for one in record["targets"] if not _same(one, target)]
    if len(left) == len(record["targets"]):
        raise ApiError("not_found", f"load balancer {record['name']} has no such target")
    return _changed(call, record, "remove_target", {"targets": left})


def change_algorithm(call: Call, record: Record) -> Reply:
    """change_algorithm."""
    return _changed(call, record, "change_algorithm", {"algorithm": call.read(asked.Algorithm).model_dump()})


def change_type(call: Call, record: Record) -> Reply:
    """change_type: to one that holds what there is."""
    wanted = call.read(asked.LoadBalancerType).load_balancer_type
    kind = call.project.choose("load_balancer_types", wanted, "load_balancer_type")
    if len(record["services"]) > kind["max_services"] or len(record["targets"]) > kind["max_targets"]:
        raise ApiError(
            "invalid_load_balancer_type", f"a {kind['name']} is too small for load balancer {record['name']}"
        )
    return _changed(call, record, "change_load_balancer_type", {"load_balancer_type": kind["name"]})


def attach_to_network(call: Call, record: Record) -> Reply:
    """attach_to_network: a load balancer is in one at most."""
    body, project = call.read(bodies.LoadBalancerNetworkJoined), call.project
    if record["private_net"]:
        raise ApiError("load_balancer_already_attached", f"load balancer {record['name']} is in a network already")
    zone = addresses.zone_of(project, record["location"])
    check_network(project, body.network, zone)
    addresses.private(project, project.get("networks", body.network), zone, body.ip, body.ip_range)
    effect = Effect("attach_balancer", {"number": record["id"], "wanted": body.model_dump()})
    return started(call, "attach_to_network", effect, ("load_balancers", record["id"]), ("networks", body.network))


def detach_from_network(call: Call, record: Record) -> Reply:
    """detach_from_network."""
    number = call.read(bodies.NetworkLeft).network
    if not any(net["network"] == number for net in record["private_net"]):
        raise ApiError(
            "load_balancer_not_attached_to_network", f"load balancer {record['name']} is not in network {number}"
        )
    return _changed(call, record, "detach_from_network", {"private_net": []})


def public_interface(command: str, on: bool) -> RecordHandler:
    """enable_public_interface, disable_public_interface."""

    def handle(call: Call, record: Record) -> Reply:
        call.read(bodies.Nothing)
        if not on and not record["private_net"]:
            raise ApiError("load_balancer_not_attached_to_network", "attach the load balancer to a network first")
        if not on and not all(target.get("use_private_ip", True) for target in record["targets"]):
            raise ApiError("targets_without_use_private_ip", "there are targets with public addresses")
        return _changed(call, record, command, {"public_interface": on})

    return handle


def change_dns_ptr(call: Call, record: Record) -> Reply:
    """change_dns_ptr."""
    body = call.read(bodies.DnsPtr)
    kind = next((kind for kind in ("ipv4", "ipv6") if record[kind] == body.ip), None)
    if kind is None:
        raise invalid("ip", f"load balancer {record['name']} does not have {body.ip}")
    usual = [one["dns_ptr"] for one in default_names(kind, body.ip)]
    name = body.dns_ptr or next(iter(usual), None)
    return _changed(call, record, "change_dns_ptr", {"dns_ptr": {**record["dns_ptr"], kind: name}})


def change_protection(call: Call, record: Record) -> Reply:
    """change_protection."""
    values = {**record["protection"], **call.read(bodies.Protection).model_dump(exclude_none=True)}
    return _changed(call, record, "change_protection", {"protection": values})


def delete(call: Call, record: Record) -> Reply:
    """DELETE: refused while it is protected."""
    check_deletable(call, "load_balancers", record)
    effect = Effect("delete_balancer", {"number": record["id"]})
    return started(call, "delete_load_balancer", effect, ("load_balancers", record["id"]))


LOAD_BALANCERS = Kind(
    "load_balancers", "load_balancer", shown.load_balancer, create=create, changed=bodies.Changed, delete=delete,
    actions={
        "add_service": add_service, "update_service": update_service, "delete_service": delete_service,
        "add_target": add_target, "remove_target": remove_target, "change_algorithm": change_algorithm,
        "change_type": change_type, "attach_to_network": attach_to_network,
        "detach_from_network": detach_from_network,
        "enable_public_interface": public_interface("enable_public_interface", True),
        "disable_public_interface": public_interface("disable_public_interface", False),
        "change_dns_ptr": change_dns_ptr, "change_protection": change_protection,
    },
)  # fmt: skip
