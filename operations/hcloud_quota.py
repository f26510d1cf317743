"""Whether a Hetzner Cloud project has room for what is declared: asked before the first thing is created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, operation

from facts.hcloud import Firewalls, Networks, PlacementGroups, Servers
from facts.hcloud_asset import FloatingIps, PrimaryIps, Volumes
from facts.hcloud_load_balancer import LoadBalancers
from operations.config_file import Commands
from operations.hcloud_object import by_name
from unterbau import changes
from unterbau.domain.cloud_quota import preflight
from unterbau.domain.unknown import Unknown

RULE = "a project's limits"
FACTS: Mapping[str, type[FactBase[Any]]] = {
    "servers": Servers,
    "primary_ips": PrimaryIps,
    "floating_ips": FloatingIps,
    "volumes": Volumes,
    "load_balancers": LoadBalancers,
    "networks": Networks,
    "placement_groups": PlacementGroups,
    "firewalls": Firewalls,
}


@operation()
def enough(
    declared: Mapping[str, Sequence[str]],
    *,
    limits: Mapping[str, int],
    addresses: Mapping[str, int] | None = None,
) -> Commands:
    """There is room for each object that is not there yet. What others have in the project counts too.

    Args:
        declared: {kind as the API lists it: names}, "servers", "volumes" …
        limits: {kind: how many the project may have}; one that is not in it is not known, and the rule says so.
        addresses: {server: how many public addresses it brings along}.
    """
    there: dict[str, set[str]] = {}
    for kind in {**dict.fromkeys(declared), "primary_ips": None}:
        found = host.get_fact(FACTS[kind])
        if isinstance(found, Unknown):
            yield from changes.refuse(
                f"cannot tell whether there is room for {kind}: {host.name} could not be read; see the error above"
            )
            return
        there[kind] = set(by_name(found))
    more = {kind: len(set(names) - there[kind]) for kind, names in declared.items()}
    new = set(declared.get("servers", ())) - there.get("servers", set())
    more["primary_ips"] = more.get("primary_ips", 0) + sum((addresses or {}).get(name, 0) for name in new)
    verdicts = preflight({kind: len(names) for kind, names in there.items()}, more, limits)
    if all(verdict.passed for verdict in verdicts):
        host.noop("there is room for all that is declared")
    for verdict in verdicts:
        yield from changes.rule(RULE, passed=verdict.passed, arithmetic=verdict.arithmetic)
