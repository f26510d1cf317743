"""Load balancers of a Hetzner Cloud project: services, health checks, and servers by their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hcloud import Networks
from facts.hcloud_load_balancer import LoadBalancers
from operations.config_file import Commands
from operations.hcloud_object import LOAD_BALANCER, Thing, act, by_name, present
from unterbau import changes
from unterbau.domain.unknown import Unknown

BY_LABELS = "label_selector"
# Defaults that a request must name all the same. Source: Hetzner Cloud API, LoadBalancerServiceHTTPConfig.
HTTP = {"cookie_name": "HCLBSTICKY", "cookie_lifetime": 300, "timeout_idle": 50, "sticky_sessions": False}


@dataclass(frozen=True)
class LoadBalancer:
    """One load balancer as it should be.

    Args:
        name: of it.
        type: as the API names it: "lb11".
        location: where it is.
        services: the API's own objects, each whole and for another listen_port.
        selectors: label selectors of its targets.
        network: name of the private network through which it reaches them; "" for their public addresses.
        algorithm: "round_robin" or "least_connections".
        public: whether it has public addresses itself.
        labels: besides our marks.
        protected: from deletion.
    """

    name: str
    type: str
    location: str
    services: Sequence[Mapping[str, Any]] = ()
    selectors: Sequence[str] = ()
    network: str = ""
    algorithm: str = "round_robin"
    public: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    protected: bool = True


@operation()
def declared(load_balancers: list[LoadBalancer], *, cluster: str) -> Commands:
    """Each of these load balancers is there, with exactly these services and label selectors.

    Args:
        load_balancers: as they should be.
        cluster: whose they are.
    """
    found, networks = host.get_fact(LoadBalancers), host.get_fact(Networks)
    if isinstance(networks, Unknown):
        yield from changes.refuse(f"cannot converge load_balancers: {host.name} could not be read; see the error above")
        return
    there, names = by_name(found), {one["id"]: name for name, one in by_name(networks).items()}
    things = [_thing(one, there.get(one.name), names) for one in load_balancers]
    yield from present(LOAD_BALANCER, things, found, cluster)


def _thing(one: LoadBalancer, found: Mapping[str, Any] | None, names: Mapping[int, str]) -> Thing:
    return Thing(
        one.name,
        attributes={
            "type": one.type,
            "location": one.location,
            "network": one.network,
            "algorithm": one.algorithm,
            "public addresses": _yes(one.public),
            "services": _services(one.services),
            "targets": _targets([_target(one, selector) for selector in one.selectors]),
        },
        now=_now(one, found, names) if found else {},
        create=_create(one),
        corrections=_corrections(one, found) if found else {},
        labels=one.labels,
        until={"algorithm": {"type": one.algorithm}, "services": [dict(service) for service in one.services]},
        protected=one.protected,
    )


def _create(one: LoadBalancer) -> dict[str, Any]:
    return {
        "load_balancer_type": one.type,
        "location": one.location,
        "algorithm": {"type": one.algorithm},
        "public_interface": one.public,
        "services": [_sent(service) for service in one.services],
        "targets": [_target(one, selector) for selector in one.selectors],
        **({"network": one.network} if one.network else {}),
    }


def _sent(service: Mapping[str, Any]) -> dict[str, Any]:
    """A service with what a request must name though nobody declares it; how the API answers that is not compared."""
    check = service["health_check"]
    asked = {"http": {"domain": None, **check["http"]}} if "http" in check else {}
    served = {"http": {**HTTP, **service.get("http", {})}} if service["protocol"] == "http" else {}
    return {**service, **served, "health_check": {**check, **asked}}


def _target(one: LoadBalancer, selector: str) -> dict[str, Any]:
    return {"type": BY_LABELS, "label_selector": {"selector": selector}, "use_private_ip": bool(one.network)}


def _now(one: LoadBalancer, found: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, str]:
    return {
        "type": found["load_balancer_type"],
        "location": found["location"],
        "network": ", ".join(
            names.get(place["network"], f"network {place['network']}") for place in found["private_net"]
        ),
        "algorithm": found["algorithm"],
        "public addresses": _yes(found["public_interface"]),
        "services": _services([_as_declared(service, one.services) for service in found["services"]]),
        "targets": _targets(_found_targets(found)),
    }


def _found_targets(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those by labels; servers and addresses that somebody added are left to them."""
    return [
        {"label_selector": {"selector": one["label_selector"]}, "use_private_ip": one["use_private_ip"]}
        for one in found["targets"]
        if one["type"] == BY_LABELS
    ]


def _corrections(one: LoadBalancer, found: Mapping[str, Any]) -> dict[str, list[StringCommand]]:
    """A network first: targets that are reached through it need it."""
    switch = "enable_public_interface" if one.public else "disable_public_interface"
    first = {"network": [_act(one, "attach_to_network", {"network": one.network})]} if not found["private_net"] else {}
    return {
        **(first if one.network else {}),
        "type": [_act(one, "change_type", {"load_balancer_type": one.type})],
        "algorithm": [_act(one, "change_algorithm", {"type": one.algorithm})],
        "public addresses": [_act(one, switch)],
        "services": _service_calls(one, found),
        "targets": _target_calls(one, found),
    }


def _act(one: LoadBalancer, action: str, body: Any = None) -> StringCommand:
    return act(LOAD_BALANCER, one.name, action, body)


def _service_calls(one: LoadBalancer, found: Mapping[str, Any]) -> list[StringCommand]:
    now = {service["listen_port"]: service for service in found["services"]}
    wanted = {service["listen_port"]: service for service in one.services}
    gone = [_act(one, "delete_service", {"listen_port": port}) for port in sorted(now.keys() - wanted.keys())]
    new = [_act(one, "add_service", _sent(wanted[port])) for port in sorted(wanted.keys() - now.keys())]
    other = [
        _act(one, "update_service", _sent(wanted[port]))
        for port in sorted(wanted.keys() & now.keys())
        if _part(now[port], wanted[port]) != wanted[port]
    ]
    return gone + other + new


def _target_calls(one: LoadBalancer, found: Mapping[str, Any]) -> list[StringCommand]:
    """How a target is reached cannot change: such a one goes and comes again."""
    now, wanted = _found_targets(found), [_target(one, selector) for selector in one.selectors]
    gone = [{"type": BY_LABELS, "label_selector": each["label_selector"]} for each in now if not _among(each, wanted)]
    new = [each for each in wanted if not _among(each, now)]
    removed = [_act(one, "remove_target", each) for each in gone]
    return removed + [_act(one, "add_target", each) for each in new]


def _among(one: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    return _targets([one]) in [_targets([other]) for other in others]


def _as_declared(found: Mapping[str, Any], declared: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of a service only what its declaration says too; one that is not declared as it is."""
    wanted = next((one for one in declared if one["listen_port"] == found["listen_port"]), None)
    return found if wanted is None else _part(found, wanted)


def _part(found: Any, wanted: Any) -> Any:
    """The part of `found` that has `wanted`'s shape."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return {key: _part(found.get(key), value) for key, value in wanted.items()}
    return found


def _services(services: Sequence[Mapping[str, Any]]) -> str:
    """One a line, in the order of their ports."""
    lines = [json.dumps(one, sort_keys=True) for one in sorted(services, key=lambda one: int(one["listen_port"]))]
    return "".join(f"{line}\n" for line in lines)


def _targets(targets: Sequence[Mapping[str, Any]]) -> str:
    through = {True: "private", False: "public"}
    return "; ".join(
        sorted(f"{one['label_selector']['selector']} ({through[one['use_private_ip']]} addresses)" for one in targets)
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
