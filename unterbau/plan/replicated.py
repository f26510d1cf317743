"""Services whose servers are changed one at a time: what one run does to one of them counts on all others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyinfra.api.host import Host

from unterbau.connectors.nodes import LEAVING


def replicated(hosts: Iterable[Host]) -> dict[str, frozenset[str]]:
    """{service: names of the nodes that are its servers} of an inventory, as its data declare them.

    A machine that leaves a K3s cluster is one until it is out of the inventory.
    """
    everybody = list(hosts)
    nodes = [host for host in everybody if host.data.get("node")]
    vaults = [host.data.vault for host in everybody if host.data.get("vault")]
    found: dict[str, set[str]] = {}
    for host in nodes:
        for service in _services(host.data, set(host.groups), str(host.data.node.name), vaults):
            found.setdefault(service, set()).add(host.name)
    return {service: frozenset(names) for service, names in found.items()}


def _services(data: Any, groups: set[str], node: str, vaults: Iterable[Any]) -> Iterator[str]:
    k3s, storage = data.get("k3s"), data.get("object_storage")
    if k3s and (k3s.servers in groups or node in (data.get("k3s_removed") or ()) or data.get(LEAVING)):
        yield "K3s"
    if storage and any(pool.nodes in groups for pool in storage.pools):
        yield "object storage"
    yield from (f"Vault ({vault.name})" for vault in vaults if vault.members in groups)


def beyond(services: Mapping[str, frozenset[str]], limited: Iterable[str]) -> dict[str, str]:
    """{node outside of the limit: the service because of which a run over `limited` holds it as well}."""
    within = set(limited)
    return {
        name: service for service, servers in services.items() if servers & within for name in sorted(servers - within)
    }
