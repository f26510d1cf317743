"""Rules about flows: their groups exist, they count where they should, and SSH and the time can be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from unterbau.declaration.explain import near
from unterbau.declaration.fields import port_bounds
from unterbau.declaration.flow import CONTROLLERS, PODS, Flow, is_flows
from unterbau.declaration.node import Network
from unterbau.declaration.problems import Problem
from unterbau.declaration.ssh import SshServer
from unterbau.declaration.system import TimeSync
from unterbau.declaration.view import View

NTP = 123


def _flows(view: View) -> list[tuple[Flow, list[str]]]:
    """Every valid flow with the nodes that have it in their data."""
    by_id: dict[int, tuple[Flow, list[str]]] = {}
    for node, data in view.data.items():
        for flow in _of_node(view, data):
            by_id.setdefault(id(flow), (flow, []))[1].append(node)
    return list(by_id.values())


def _of_node(view: View, data: Mapping[str, Any]) -> list[Flow]:
    values = [value for name, value in data.items() if is_flows(name) and isinstance(value, tuple)]
    return [flow for flows in values for flow in flows if isinstance(flow, Flow) and view.collector.valid(flow)]


def flow_names_once(view: View) -> Iterator[Problem]:
    """Names are unique: they are how the firewall's rules and the plan speak of a flow."""
    first: dict[str, Flow] = {}
    for flow, _ in _flows(view):
        other = first.setdefault(flow.name, flow)
        if other is not flow:
            yield view.at(flow, "name", f"{flow.name!r} again", f"each flow's name once (it is at {view.where(other)})")


def flow_groups_there(view: View) -> Iterator[Problem]:
    """A flow from or to a group that does not exist would open nothing."""
    for flow, _ in _flows(view) if view.inventory.complete else ():
        sources = (*view.groups, CONTROLLERS, PODS)
        if not flow.source[:1].isdigit() and flow.source not in sources:
            allowed = f"a CIDR or one of {', '.join(sources)}{near(flow.source, sources)}"
            yield view.at(flow, "source", repr(flow.source), allowed)
        if flow.target not in view.groups:
            allowed = f"one of {', '.join(view.groups)}{near(flow.target, view.groups)}"
            yield view.at(flow, "target", repr(flow.target), allowed)


def flows_reach_target(view: View) -> Iterator[Problem]:
    """A node accepts the flows of its own data: one that its target's nodes don't have would open nothing."""
    for flow, nodes in _flows(view):
        blind = [name for name in view.groups.get(flow.target, ()) if name not in nodes]
        if blind:
            allowed = f"a group data file that {flow.target} reads (all.py or {view.inventory.path.stem}.py)"
            yield view.at(flow, "target", f"{flow.target}, but not in the data of {', '.join(blind)}", allowed)


def controllers_reach_ssh(view: View) -> Iterator[Problem]:
    """Without this the first apply would lock everybody out."""
    shut: dict[int, list[str]] = {}
    for node in view.data if view.readable and not near("flows", view.unknown) else ():
        port = _shut_port(view, node)
        if port:
            shut.setdefault(port, []).append(node)
    for port, nodes in shut.items():
        allowed = f'Flow(name="ssh", source="controllers", target="all", protocol="tcp", ports=({port},))'
        yield view.here("flows", f"no flow from the controllers to SSH (tcp {port}) of {', '.join(nodes)}", allowed)


def _shut_port(view: View, node: str) -> int:
    """The port of a node's SSH server if the controllers can't reach it; 0 if they can, or if that is not known."""
    data = view.data[node]
    server, network = data.get("ssh_server"), data.get("network")
    if (
        not isinstance(server, SshServer)
        or not isinstance(network, Network)
        or not all_known(view, data, server, network)
    ):
        return 0
    fit = accepted(view, node, "tcp", server.port)
    return 0 if all(_open_to(fit, controller) for controller in network.controllers) else server.port


def time_is_reached(view: View) -> Iterator[Problem]:
    """With an island, every node asks its members; without this a node would have no time, and nothing would say so."""
    for time_sync, nodes in view.values("time_sync") if view.readable and not near("flows", view.unknown) else ():
        members = view.groups.get(time_sync.island or "", ()) if isinstance(time_sync, TimeSync) else ()
        deaf = [node for node in nodes if any(not answers(view, member, node) for member in members)]
        if deaf:
            flow = f'Flow(name="ntp", source="all", target="{time_sync.island}", protocol="udp", ports=({NTP},))'
            found = f"no flow to the time (udp {NTP}) of {time_sync.island} from {', '.join(deaf)}"
            yield view.here("flows", found, flow)


def answers(view: View, member: str, node: str, protocol: str = "udp", port: int = NTP) -> bool:
    """Whether a member accepts a port from a node; True as well if that is not known."""
    if member == node or not all_known(view, view.data[member]):
        return True
    addresses = [one.address for one in view.valid_nodes() if one.name == node]
    return not addresses or any(
        node in view.groups.get(flow.source, ()) or _inside(addresses[0], flow.source)
        for flow in accepted(view, member, protocol, port)
    )


def _inside(address: IPv4Address, source: str) -> bool:
    return source[:1].isdigit() and address in IPv4Network(source)


def all_known(view: View, data: Mapping[str, Any], *parts: object) -> bool:
    """Whether no flow failed on its own, nor one of `parts`: it may have been the flow that is missed."""
    flows = [data[name] for name in data if is_flows(name)]
    every = [*parts, *(flow for one in flows if isinstance(one, tuple) for flow in one)]
    return all(isinstance(one, tuple) for one in flows) and all(view.collector.valid(part) for part in every)


def accepted(view: View, node: str, protocol: str, port: int) -> list[Flow]:
    """Flows that the node accepts on this port."""
    mine = [flow for flow in _of_node(view, view.data[node]) if node in view.groups.get(flow.target, ())]
    return [flow for flow in mine if flow.protocol == protocol and _has(flow, port)]


def _has(flow: Flow, port: int) -> bool:
    return any(first <= port <= last for first, last in map(port_bounds, flow.ports))


def _open_to(flows: list[Flow], controller: IPv4Network) -> bool:
    sources = [flow.source for flow in flows]
    return CONTROLLERS in sources or any(
        controller.subnet_of(IPv4Network(source)) for source in sources if source[:1].isdigit()
    )


flow_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    flow_names_once, flow_groups_there, flows_reach_target, controllers_reach_ssh, time_is_reached,
)  # fmt: skip
