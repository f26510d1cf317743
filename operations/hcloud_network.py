"""Private networks of a Hetzner Cloud project, with their subnets and routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hcloud import Networks
from operations.config_file import Commands
from operations.hcloud_object import DELETIONS, NETWORK, Thing, act, by_name, present
from operations.owned import RULE
from unterbau import changes
from unterbau.domain.cloud_labels import ours


@dataclass(frozen=True)
class Subnet:
    """A part of a network, of which servers and load balancers get their addresses."""

    cidr: str
    zone: str = "eu-central"
    type: str = "cloud"  # cloud, vswitch
    vswitch_id: int | None = None

    @property
    def api(self) -> dict[str, Any]:
        """As the API has it."""
        vswitch = {"vswitch_id": self.vswitch_id} if self.vswitch_id is not None else {}
        return {"type": self.type, "ip_range": self.cidr, "network_zone": self.zone, **vswitch}


@dataclass(frozen=True)
class Network:
    """One network as it should be. `routes` are (destination, gateway); `labels` those besides our marks."""

    name: str
    cidr: str
    subnets: list[Subnet] = field(default_factory=list)
    routes: Sequence[tuple[str, str]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    protected: bool = True


@operation()
def declared(networks: list[Network], *, cluster: str, deletions: Sequence[str] = ()) -> Commands:
    """Each of these networks is there, with exactly these subnets and routes.

    Args:
        networks: a range may grow; the API refuses to remove a subnet that is in use.
        cluster: whose they are.
        deletions: "subnet/<network>/<CIDR>" and "route/<network>/<CIDR>" of those that may be deleted.
    """
    found = host.get_fact(Networks)
    there = by_name(found)
    gone = [name for network in networks for name in _gone(network, there.get(network.name), cluster)]
    if forbidden := [name for name in gone if name not in deletions]:
        say = f"no longer declared: {', '.join(forbidden)}; declare them, or name them in {DELETIONS}"
        yield from changes.rule(RULE, passed=False, arithmetic=say)
        return
    if gone:
        yield from changes.rule(RULE, passed=True, arithmetic=f"{', '.join(gone)}: in {DELETIONS}")
    things = [_thing(network, there.get(network.name)) for network in networks]
    yield from present(NETWORK, things, found, cluster)


def _gone(network: Network, found: Mapping[str, Any] | None, cluster: str) -> list[str]:
    """What of a network of ours is not declared any more, as an allowance names it."""
    if found is None or not ours(found["labels"], cluster):
        return []
    subnets, routes = {subnet.cidr for subnet in network.subnets}, {tuple(route) for route in network.routes}
    return [
        *(f"subnet/{network.name}/{one['ip_range']}" for one in found["subnets"] if one["ip_range"] not in subnets),
        *(
            f"route/{network.name}/{one['destination']}"
            for one in found["routes"]
            if (one["destination"], one["gateway"]) not in routes
        ),
    ]


def _thing(network: Network, found: Mapping[str, Any] | None) -> Thing:
    subnets = [subnet.api for subnet in network.subnets]
    routes = [{"destination": destination, "gateway": gateway} for destination, gateway in network.routes]
    return Thing(
        network.name,
        attributes=_attributes(network.cidr, subnets, routes),
        now=_attributes(found["ip_range"], found["subnets"], found["routes"]) if found else {},
        create={"ip_range": network.cidr, "subnets": subnets, "routes": routes},
        corrections=_corrections(network, subnets, routes, found) if found else {},
        labels=network.labels,
        until={"ip_range": network.cidr, "subnets": subnets, "routes": routes},
        protected=network.protected,
    )


def _attributes(cidr: str, subnets: Sequence[Mapping[str, Any]], routes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        "range": cidr,
        "subnets": ", ".join(sorted(map(_subnet, subnets))),
        "routes": ", ".join(sorted(map(_route, routes))),
    }


def _subnet(subnet: Mapping[str, Any]) -> str:
    return f"{subnet['ip_range']} ({subnet['type']}, {subnet['network_zone']})"


def _route(route: Mapping[str, Any]) -> str:
    return f"{route['destination']} via {route['gateway']}"


def _corrections(
    network: Network,
    subnets: Sequence[Mapping[str, Any]],
    routes: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
) -> dict[str, list[StringCommand]]:
    """Ranges grow first; what goes, goes before what comes, for it may stand in the way."""
    return {
        "range": [act(NETWORK, network.name, "change_ip_range", {"ip_range": network.cidr})],
        "subnets": [
            *(
                act(NETWORK, network.name, "delete_subnet", {"ip_range": one["ip_range"]})
                for one in found["subnets"]
                if _subnet(one) not in map(_subnet, subnets)
            ),
            *(
                act(NETWORK, network.name, "add_subnet", one)
                for one in subnets
                if _subnet(one) not in map(_subnet, found["subnets"])
            ),
        ],
        "routes": [
            *(act(NETWORK, network.name, "delete_route", one) for one in found["routes"] if one not in routes),
            *(act(NETWORK, network.name, "add_route", one) for one in routes if one not in found["routes"]),
        ],
    }
