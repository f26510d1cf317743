"""What actions do when their turn comes.

Each effect is a generator: it changes the state, and yields what the machines have to do meanwhile. The state is locked
while it runs and free while the machines work. It may be begun again from its start, so it sets and never adds.
A ApiError that it raises fails its action; a MachineError is thrown into it where it yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from unterbau.lab.cloud import addresses, relations
from unterbau.lab.cloud.answer import ApiError, Record
from unterbau.lab.cloud.machine_view import balancer, machine
from unterbau.lab.cloud.machines import How, MachineError, Machines
from unterbau.lab.cloud.project import Project

Call = Callable[[Machines], None]
Steps = Generator[Call, None, None]


def put(project: Project, kind: str, number: int, values: Record, servers: Iterable[int] = ()) -> Steps:
    """New values of one record; the machines of `servers` are told."""
    project.get(kind, number).update(values)
    yield from configure(project, servers)
    if kind == "load_balancers":
        yield from balance(project, number)


def nothing(project: Project) -> Steps:  # noqa: ARG001  # every effect's signature
    """Only to be an action."""
    yield from ()


def configure(project: Project, servers: Iterable[int]) -> Steps:
    """The machines of these servers as they are now; those that are gone, or not there yet, need nothing."""
    for number in servers:
        server = project.tables["servers"].get(number)
        if server and server["status"] not in {"initializing", "deleting"}:
            yield _configured(project, server)
    for one in [*project.tables["load_balancers"].values()]:
        if any(target["id"] in servers for entry in one["targets"] for target in relations.targets_of(project, entry)):
            yield from balance(project, one["id"])


def _configured(project: Project, server: Record) -> Call:
    wanted = machine(project, server)
    return lambda machines: machines.configure(wanted)


def balance(project: Project, number: int) -> Steps:
    """A load balancer serves as it is now."""
    wanted = balancer(project, project.get("load_balancers", number))
    yield lambda machines: machines.balance(wanted)


def create_server(project: Project, number: int, half: bool = False) -> Steps:
    """A new machine, off; `half`: and then the action fails."""
    server = project.get("servers", number)
    wanted = machine(project, server)
    yield lambda machines: machines.create(wanted)
    if half:
        raise ApiError("service_error", "the lab was told to create half a server")
    server["status"] = "off"


def power(project: Project, number: int, how: How) -> Steps:
    """On, off, or off and on again."""
    server = project.get("servers", number)
    before = server["status"]
    server["status"] = {"on": "starting", "off": "stopping", "shutdown": "stopping"}.get(how, before)
    try:
        yield lambda machines: machines.power(number, how)
    except MachineError:
        server["status"] = before
        raise
    server["status"] = "off" if how in {"off", "shutdown"} else "running"


def rebuild(project: Project, number: int, values: Record) -> Steps:
    """A new disk from an image, and running."""
    server = project.get("servers", number)
    server.update(values, status="rebuilding")
    wanted = machine(project, server)
    try:
        yield lambda machines: machines.rebuild(wanted)
    except MachineError:
        server["status"] = "off"
        raise
    server["status"] = "running"


def delete_server(project: Project, number: int) -> Steps:
    """No machine, no server; its volumes and its lasting addresses stay, unattached."""
    if number in project.tables["servers"]:  # the first time
        project.get("servers", number)["status"] = "deleting"
        yield lambda machines: machines.destroy(number)
        _detach_all(project, number)
        project.remove("servers", number)
    for balancer_id in list(project.tables["load_balancers"]):
        yield from balance(project, balancer_id)


def _detach_all(project: Project, number: int) -> None:
    for kind in ("volumes", "floating_ips"):
        for one in project.all(kind):
            one["server"] = None if one["server"] == number else one["server"]
    for primary in [one for one in project.all("primary_ips") if one["assignee_id"] == number]:
        primary["assignee_id"] = None
        if primary["auto_delete"]:
            project.remove("primary_ips", primary["id"])
    for kind, field in (("firewalls", "applied_to"), ("load_balancers", "targets")):
        for one in project.all(kind):
            one[field] = [entry for entry in one[field] if entry.get("server") != {"id": number}]


def attach_server(project: Project, number: int, wanted: Record) -> Steps:
    """A server gets an address in a network."""
    server, network = project.get("servers", number), project.get("networks", wanted["network"])
    others = [net for net in server["private_net"] if net["network"] != network["id"]]
    server["private_net"] = others
    zone = addresses.zone_of(project, server["location"])
    ip = addresses.private(project, network, zone, wanted["ip"], wanted["ip_range"])
    mac_address = addresses.mac(number, network["id"])
    net = {"network": network["id"], "ip": ip, "alias_ips": wanted["alias_ips"], "mac_address": mac_address}
    server["private_net"] = [*others, net]
    yield from configure(project, [number])


def detach_server(project: Project, number: int, network: int) -> Steps:
    """A server leaves a network."""
    server = project.get("servers", number)
    server["private_net"] = [net for net in server["private_net"] if net["network"] != network]
    yield from configure(project, [number])


def alias_ips(project: Project, number: int, network: int, ips: list[str]) -> Steps:
    """Other addresses of a server in a network."""
    for net in project.get("servers", number)["private_net"]:
        if net["network"] == network:
            net["alias_ips"] = ips
    yield from configure(project, [number])


def attach_balancer(project: Project, number: int, wanted: Record) -> Steps:
    """A load balancer gets an address in a network."""
    record, network = project.get("load_balancers", number), project.get("networks", wanted["network"])
    record["private_net"] = []
    zone = addresses.zone_of(project, record["location"])
    ip = addresses.private(project, network, zone, wanted["ip"], wanted["ip_range"])
    record["private_net"] = [{"network": network["id"], "ip": ip}]
    yield from balance(project, number)


def delete_balancer(project: Project, number: int) -> Steps:
    """A load balancer is gone."""
    yield lambda machines: machines.unbalance(number)
    project.remove("load_balancers", number)


def firewall(project: Project, number: int, applied: list[Record], removed: list[Record]) -> Steps:
    """A firewall stands before more, or before fewer."""
    record = project.get("firewalls", number)
    kept = [one for one in record["applied_to"] if one not in removed]
    record["applied_to"] = kept + [one for one in applied if one not in kept]
    meant = {server["id"] for entry in applied + removed for server in relations.firewalled(project, entry)}
    yield from configure(project, sorted(meant))


# By the names that pending work carries in the state.
EFFECTS: dict[str, Callable[..., Steps]] = {
    one.__name__: one
    for one in (
        put, balance, configure, create_server, power, rebuild, delete_server, attach_server, detach_server, alias_ips,
        attach_balancer, delete_balancer, firewall,
    )
}  # fmt: skip


def begin(project: Project, item: Record) -> Steps:
    """The steps of one pending work."""
    arguments: dict[str, Any] = item["arguments"]
    return EFFECTS[item["effect"]](project, **arguments)
