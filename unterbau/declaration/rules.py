"""Rules between objects. Each yields problems of an environment's view; a value that failed on its own is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from unterbau.declaration.data import REQUIRED
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.node import Network, Node
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_cloud import cloud_rules
from unterbau.declaration.rules_cloud_address import cloud_address_rules
from unterbau.declaration.rules_cloud_firewall import cloud_firewall_rules
from unterbau.declaration.rules_cloud_network import cloud_network_rules
from unterbau.declaration.rules_flows import flow_rules
from unterbau.declaration.rules_k3s import k3s_rules
from unterbau.declaration.rules_k3s_flows import k3s_flow_rules
from unterbau.declaration.rules_kubernetes import kubernetes_rules
from unterbau.declaration.rules_s3 import s3_rules
from unterbau.declaration.rules_vault import vault_rules
from unterbau.declaration.ssh import Operator, SshServer
from unterbau.declaration.system import Kernel, is_kernel
from unterbau.declaration.view import View
from unterbau.domain.reboot_window import slots

Rule = Callable[[View], Iterator[Problem]]
SERVERS = "servers"


def all_problems(view: View) -> list[Problem]:
    """What every rule finds."""
    every = (
        *_RULES, *flow_rules, *vault_rules, *s3_rules, *k3s_rules, *k3s_flow_rules, *kubernetes_rules, *cloud_rules,
        *cloud_network_rules, *cloud_firewall_rules, *cloud_address_rules,
    )  # fmt: skip
    return [problem for rule in every for problem in rule(view)]


def node_names_once(view: View) -> Iterator[Problem]:
    """A node is declared once; in two groups it is the same object."""
    first: dict[str, Node] = {}
    for node in (node for node in view.nodes if isinstance(node.name, str)):
        if first.setdefault(node.name, node) is not node:
            allowed = f"each node once ({node.name} is at {view.where(first[node.name])} already)"
            yield view.at(node, "name", f"{node.name!r} again", allowed)


def addresses_once(view: View) -> Iterator[Problem]:
    """No two nodes share an address."""
    first: dict[IPv4Address, Node] = {}
    for node in view.valid_nodes():
        other = first.setdefault(node.address, node)
        if other is not node:
            allowed = f"an address of its own ({other.name} at {view.where(other)} has it)"
            yield view.at(node, "address", str(node.address), allowed)


def addresses_inside(view: View) -> Iterator[Problem]:
    """A node's address is one that a host of the network may have. Source: RFC 919 and RFC 1122 3.2.1.3."""
    for node in view.valid_nodes():
        network = view.data[node.name].get("network")
        if isinstance(network, Network) and view.collector.valid(network):
            found = _misplaced(node.address, network.cidr)
            allowed = f"a host's address inside {network.cidr}, the network at {view.where(network)}"
            yield from [view.at(node, "address", found, allowed)] if found else []


def _misplaced(address: IPv4Address, network: IPv4Network) -> str:
    if address not in network:
        return f"{address}, which is outside"
    if network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
        kind = "network's own" if address == network.network_address else "broadcast"
        return f"{address}, the {kind} address"
    return ""


def one_network(view: View) -> Iterator[Problem]:
    """The nodes of an environment share one network."""
    (_, *others) = view.values("network") or [(None, [])]
    for network, nodes in others:
        yield view.at(
            network, "cidr", f"another network for {_list(nodes)}", "one network for all nodes of the environment"
        )


def groups_not_empty(view: View) -> Iterator[Problem]:
    """An empty group is a mistake: flows and layers for it would be nothing, silently."""
    for group, members in view.groups.items():
        if not members and view.inventory.names.get(group) == []:
            yield view.here(group, "an empty group", "a node or more, or no such group")


def members_once(view: View) -> Iterator[Problem]:
    """A node is in a group once."""
    for group in view.inventory.names.keys() & view.groups.keys():
        entries = [entry for entry in view.inventory.names[group] if isinstance(entry, tuple) and len(entry) == 2]
        for _, data in repeated(entries, lambda entry: id(entry[1].get("node"))):
            yield view.here(group, f"{data['node'].name} twice in the group", "each node once")


def servers_odd(view: View) -> Iterator[Problem]:
    """Raft majority, n//2+1: an even member adds a vote to win and no loss to survive. Source: etcd FAQ."""
    count = len(view.groups.get(SERVERS, ()))
    if SERVERS not in view.inventory.lines and SERVERS not in view.groups and view.inventory.complete:
        yield view.here(SERVERS, "no group of this name", "servers = hosts(Node(…), …): they hold the cluster's state")
    elif count and count % 2 == 0 and view.inventory.complete:
        quorum, survives = count // 2 + 1, (count - 1) // 2
        found = f"{count} servers: quorum {quorum}, survives {survives} down, no more than {count - 1} servers do"
        yield view.here(SERVERS, found, f"an odd number of servers ({count - 1} or {count + 1})")


def data_there(view: View) -> Iterator[Problem]:
    """Every node has every value that the layers read."""
    for name in REQUIRED if view.readable else ():
        missing = [node for node, data in view.data.items() if name not in data and not near(name, view.unknown)]
        nodes = "all nodes" if len(missing) == len(view.data) else _list(missing)
        allowed = f"{name} in group_data/all.py or group_data/{view.inventory.path.stem}.py"
        yield from [view.here(name, f"nothing for {nodes}", allowed)] if missing else []


def operators_once(view: View) -> Iterator[Problem]:
    """An account is declared once; there is one at least, for root's login may be closed."""
    for operators, nodes in view.values("operators"):
        if operators == ():
            yield view.here("operators", f"no operator for {_list(nodes)}", "one or more")
        for again in repeated(_declared(operators, Operator), lambda operator: operator.name):
            yield view.at(again, "name", f"{again.name!r} again", "each operator once")


def operator_keys_readable(view: View) -> Iterator[Problem]:
    """Keys in files are there and are public keys."""
    seen = {id(o): o for operators, _ in view.values("operators") for o in _declared(operators, Operator)}
    for operator in seen.values():
        try:
            _ = operator.authorized_keys if view.collector.valid(operator) else ()
        except ValueError as error:
            yield view.at(operator, "authorized_keys", str(error), "a file with an OpenSSH public key")


def island_there(view: View) -> Iterator[Problem]:
    """The island of time is a group with nodes."""
    for time_sync, _ in view.values("time_sync"):
        if time_sync.island and time_sync.island not in view.groups and view.inventory.complete:
            yield view.at(time_sync, "island", repr(time_sync.island), _groups(view, time_sync.island))


def kernel_values_once(view: View) -> Iterator[Problem]:
    """A node's kernel values are united: one that is set twice would be whichever name comes last."""
    for data in view.data.values():
        values = [data[name] for name in sorted(data) if is_kernel(name) and isinstance(data[name], Kernel)]
        for one, other in combinations(filter(view.collector.valid, values), 2):
            for key in one.sysctl.keys() & other.sysctl.keys():
                yield view.at(other, "sysctl", f"{key} again", f"each name once (it is at {view.where(one)} already)")


def root_may_log_in(view: View) -> Iterator[Problem]:
    """A run that closes root's login would be the last one that logs in as root."""
    for node in view.valid_nodes():
        server = view.data[node.name].get("ssh_server")
        if node.ssh_user != "root" or not isinstance(server, SshServer) or not view.collector.valid(server):
            continue
        if not server.permit_root_login:
            allowed = f"an operator, for permit_root_login is False at {view.where(server)}"
            yield view.at(node, "ssh_user", "'root'", allowed)


def ssh_ports_agree(view: View) -> Iterator[Problem]:
    """A run that moves sshd to another port than it connects to would cut itself off."""
    for node in view.valid_nodes():
        server = view.data[node.name].get("ssh_server")
        if isinstance(server, SshServer) and view.collector.valid(server) and server.port != node.ssh_port:
            allowed = f"{server.port}, where sshd listens (ssh_server.port at {view.where(server)})"
            yield view.at(node, "ssh_port", str(node.ssh_port), allowed)


def reboots_fit(view: View) -> Iterator[Problem]:
    """Every node of the environment gets a slot of the window."""
    for upgrades, _ in view.values("security_upgrades"):
        window, slot = upgrades.reboot_window_minutes, upgrades.slot_minutes
        try:
            slots(upgrades.reboot_window_start, window, slot, list(view.data))
        except ValueError as error:
            yield view.at(upgrades, "reboot_window_minutes", str(window), str(error))


def _declared(values: object, kind: type[Operator]) -> list[Operator]:
    return [value for value in values if isinstance(value, kind)] if isinstance(values, tuple) else []


def _groups(view: View, wrong: str) -> str:
    return "a group: " + ", ".join(view.groups) + near(wrong, view.groups)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


_RULES: tuple[Rule, ...] = (
    node_names_once, addresses_once, addresses_inside, one_network, groups_not_empty, members_once, servers_odd,
    data_there, operators_once, operator_keys_readable, island_there,
    kernel_values_once, root_may_log_in, ssh_ports_agree, reboots_fit,
)  # fmt: skip
