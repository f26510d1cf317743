"""The base layer: what every node is before anything runs on it."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from deploys import access
from operations import (
    core_dump,
    hostname,
    journal,
    kernel_module,
    package,
    security_upgrade,
    ssh_host_key,
    swap,
    sysctl,
    time_sync,
)
from unterbau.declaration import kernel_of
from unterbau.domain.reboot_window import slots
from unterbau.secrets.known_hosts import first_keys


@deploy("base")
def base() -> None:
    host_key()
    hostname.known(
        node=host.data.node.name,
        addresses=addresses("all"),
        domain=host.data.network.domain,
        services={"s3": str(host.data.node.address)} if host.data.get("object_storage") else {},
        name="names of all nodes",
    )
    package.installed(names=sorted(host.data.base_packages), name="packages")
    time()
    kernel()
    access.operators()
    access.ssh_server()
    access.firewall()
    core_dump.off(name="core dumps off")
    limits = host.data.journal
    journal.limited(
        max_use_mib=limits.max_use_mib,
        keep_free_mib=limits.keep_free_mib,
        max_retention_days=limits.max_retention_days,
        name="journal limits",
    )
    upgrades()


@deploy("host key")
def host_key() -> None:
    """Before anything secret goes to a server that a cloud made."""
    node = host.data.node
    ssh_host_key.own(
        node=node.name,
        address=str(node.address),
        known_hosts=str(node.known_hosts),
        first=first_keys(node.known_hosts, str(node.address)),
        name="made by the node",
    )


def addresses(group: str) -> dict[str, str]:
    """{name: address} of a group's nodes; "all" is every node of the inventory, also outside a --limit."""
    members = inventory if group == "all" else inventory.get_group(group)
    return {member.data.node.name: str(member.data.node.address) for member in members if member.data.get("node")}


@deploy("time")
def time() -> None:
    declared = host.data.time_sync
    time_sync.chrony(
        address=str(host.data.node.address),
        servers=[str(server) for server in declared.servers],
        island=sorted(addresses(declared.island).values()) if declared.island else [],
        network=str(host.data.network.cidr),
        control_clock=declared.control_clock,
        name="chrony",
    )


@deploy("kernel")
def kernel() -> None:
    swap.off(name="swap off")
    declared = kernel_of(host.data)
    kernel_module.loaded(names=list(declared.modules), name="modules")
    sysctl.values(parameters=dict(declared.sysctl), name="sysctl")


@deploy("security upgrades")
def upgrades() -> None:
    """Each node in a slot of its own, in the order of the inventory: a node at its end moves no other.

    Anywhere else it moves those after it by a slot. Until all of them are applied, a node with a new slot may share it
    with one that still has its old one, and both may reboot at once: after such a change apply to all nodes, without
    --limit and outside the window. A node alone cannot see this: it knows its own timer only.
    """
    declared = host.data.security_upgrades
    start = slot_start()
    security_upgrade.fetched(slot_start=start, name="fetch before every night")
    security_upgrade.nightly(slot_start=start, name="every night")
    security_upgrade.reboot_in_slot(
        slot_start=start, slot_minutes=declared.slot_minutes, name="reboot in the node's slot"
    )


def slot_start() -> str:
    """When this node's slot begins, HH:MM in UTC."""
    declared = host.data.security_upgrades
    window = declared.reboot_window_start, declared.reboot_window_minutes, declared.slot_minutes
    return slots(*window, list(addresses("all")))[host.data.node.name]
