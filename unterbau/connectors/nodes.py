"""`@nodes/<project>`: the servers of a cloud project's pools as nodes of an inventory.

Which there are to be is declared, with their names, addresses and groups; the project's API says which there are. The
data of each tell what the run has to know:

    cloud_state   the server's status, "absent", or "unattached" for one that runs without its address; not there if the
                  project could not be asked
    leaving       True for one that no pool declares any more and that may be deleted: it leaves its clusters first

One that no pool declares and that may not be deleted stays in its pool's groups, as if it were declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from typing_extensions import override

from unterbau.connectors import cloud_listing
from unterbau.connectors.node import NodeConnector
from unterbau.declaration import Environment
from unterbau.declaration.cloud_nodes import node_of
from unterbau.declaration.data import CLOUD_DELETIONS
from unterbau.declaration.node import Node, hosts
from unterbau.domain.cloud_labels import POOL, groups_of, ours
from unterbau.secrets.known_hosts import first_keys

ABSENT, RUNNING, UNATTACHED = "absent", "running", "unattached"
STATE, LEAVING = "cloud_state", "leaving"
BOOTS_WITHIN_S = 300  # from an image to sshd; a large type takes a minute
MAY_BOOT_S = 60
NamesData = Iterator[tuple[str, dict[str, Any], list[str]]]


class NodesConnector(NodeConnector):
    """See the module. Its hosts are entered as any node is."""

    @override
    def connect(self) -> None:
        node = self.host.data.node
        if cloud_listing.has_just_begun(node.name) or first_keys(node.known_hosts, str(node.address)):
            # Nobody has entered it yet: it may still be booting, if this run has started it or one right before.
            self.await_greeting(BOOTS_WITHIN_S if cloud_listing.has_just_begun(node.name) else MAY_BOOT_S)
        super().connect()

    @override
    @staticmethod
    def make_names_data(name: str) -> NamesData:
        project, environment = cloud_listing.declared(name), cloud_listing.environment_of(name)
        found = cloud_listing.servers(name)
        known = not isinstance(found, str)
        listed = [] if isinstance(found, str) else found
        there = {one["name"]: one for one in listed if ours(one.get("labels") or {}, project.cluster)}
        nodes = [(one.node, one.pool) for owner, one in environment.pool_nodes if owner.name == name]
        for node, pool in nodes:
            state = {STATE: _state(node, there.get(node.name))} if known else {}
            yield _entry(node, state, list(pool.groups_of(node.name)))
        for surplus in sorted(there.keys() - {node.name for node, _ in nodes}):
            yield from _surplus(environment, name, there[surplus])


def _state(node: Node, server: Mapping[str, Any] | None) -> str:
    """One that runs without its address cannot be entered before the cloud has given it that again."""
    if server is None:
        return ABSENT
    attached = str(node.address) in (net["ip"] for net in server["private_net"])
    return UNATTACHED if server["status"] == RUNNING and not attached else str(server["status"])


def _entry(node: Node, data: Mapping[str, Any], groups: list[str]) -> tuple[str, dict[str, Any], list[str]]:
    [(_, connection)] = hosts(node)
    return str(node.name), {**connection, **data}, groups


def _surplus(environment: Environment, project: str, server: Mapping[str, Any]) -> NamesData:
    """One that runs and has an address; else nobody could enter it, and nothing runs there that could leave."""
    addresses = [net["ip"] for net in server["private_net"]]
    if server["status"] != RUNNING or not addresses:
        return
    node = node_of(cloud_listing.declared(project), server["name"], addresses[0])
    data = environment.endpoint_data.get(project, {})
    if f"server/{server['name']}" in data.get(CLOUD_DELETIONS, ()):
        yield _entry(node, {STATE: RUNNING, LEAVING: True}, [])
    else:
        yield _entry(node, {STATE: RUNNING}, _groups(server["labels"], data))


def _groups(labels: Mapping[str, str], data: Mapping[str, Any]) -> list[str]:
    """What its pool declares; the labels of groups count only where that pool is gone, for anybody may edit them."""
    pools = {pool.name: pool for pool in data.get("node_pools") or ()}
    pool = pools.get(labels.get(POOL, ""))
    return list(pool.inventory_groups if pool else groups_of(labels))
