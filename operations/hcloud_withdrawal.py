"""What is ours in a Hetzner Cloud project and no longer declared: named by a rule, deleted where that is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hcloud import Firewalls, Networks, PlacementGroups, Servers, SshKeys
from facts.hcloud_asset import FloatingIps, PrimaryIps, Volumes
from facts.hcloud_catalogue import Pricing
from facts.hcloud_load_balancer import LoadBalancers
from operations import hcloud_object as kinds
from operations.config_file import Commands
from operations.hcloud_departure import LATER, has_left, nobody_failed, waiting
from operations.hcloud_firewall import by_server, given, resources, selectors
from operations.hcloud_object import DELETIONS, Kind, Listed, act, by_name, call, protect
from operations.owned import RULE
from unterbau import changes
from unterbau.domain.cloud_cost import cost, item_of
from unterbau.domain.cloud_labels import ours
from unterbau.domain.unknown import Unknown

# Each before what it stands on.
ORDER = (
    (kinds.LOAD_BALANCER, LoadBalancers),
    (kinds.FLOATING_IP, FloatingIps),
    (kinds.VOLUME, Volumes),
    (kinds.SERVER, Servers),
    (kinds.PRIMARY_IP, PrimaryIps),
    (kinds.FIREWALL, Firewalls),
    (kinds.PLACEMENT_GROUP, PlacementGroups),
    (kinds.NETWORK, Networks),
    (kinds.SSH_KEY, SshKeys),
)


def allowance(kind: Kind, name: str) -> str:
    """What allows an object to be deleted: "placement-group/prod-servers-1"."""
    return f"{kind.name.replace('_', '-')}/{name}"


@dataclass(frozen=True)
class _Left:
    """One object of ours that nobody declares."""

    kind: Kind
    found: Mapping[str, Any]
    goes: str  # what is lost with it
    servers: Sequence[str] = ()  # that a firewall was given to by name

    @property
    def name(self) -> str:
        """As an allowance names it."""
        return allowance(self.kind, str(self.found["name"]))

    def __str__(self) -> str:
        return f"{self.name} ({self.goes})" if self.goes else self.name


@operation()
def exactly(
    declared: Mapping[str, Sequence[str]],
    *,
    cluster: str,
    deletions: Sequence[str] = (),
    nodes: Mapping[str, bool] | None = None,
    whole: bool = True,
) -> Commands:
    """Nothing of ours is in the project but what is declared. After all that creates: it may stand on what goes.

    Args:
        declared: {kind as the API lists it: names}, "servers", "placement_groups" …
        cluster: whose objects are looked at; those without its labels are nobody's affair here.
        deletions: "<kind>/<name>" of those that may be deleted, with all that is on them.
        nodes: {a server that is a node and leaves: whether this run includes it}.
        whole: whether this run has all nodes of the inventory. As long as a server waits for such a one, nothing goes.
    """
    left = []
    pricing: Any = host.get_fact(Pricing)
    for kind, fact in ORDER:
        found = host.get_fact(fact)
        if isinstance(found, Unknown) or isinstance(pricing, Unknown):
            yield from changes.refuse(
                f"cannot see what of {kind.path} is left over: {host.name} could not be read; see the error above"
            )
            return
        left += [
            _Left(kind, one, _goes(kind, one, pricing), _given(kind, one, host.get_fact(Servers), cluster))
            for name, one in sorted(by_name(found).items())
            if ours(one["labels"], cluster) and name not in declared.get(kind.path, ())
        ]
    servers = _servers(left, deletions)
    if later := waiting(servers, nodes or {}, whole=whole):
        told = f"{', '.join(later)}: not in this run, which has not all nodes; nothing is deleted before a whole one"
        changes.remark(LATER, told)
        left = [one for one in left if one.name not in deletions]
    yield from _withdrawn(left, deletions, nodes or {})


def _withdrawn(left: Sequence[_Left], deletions: Sequence[str], nodes: Mapping[str, bool]) -> Commands:
    allowed = [one for one in left if one.name in deletions]
    if forbidden := [str(one) for one in left if one.name not in deletions]:
        say = f"ours and no longer declared: {', '.join(forbidden)}; declare them, or name them in {DELETIONS}"
        yield from changes.rule(RULE, passed=False, arithmetic=say)
        return
    if not allowed:
        host.noop("nothing of ours is left over")
        return
    yield from changes.rule(RULE, passed=True, arithmetic=f"{', '.join(map(str, allowed))}: in {DELETIONS}")
    for one in allowed:
        changes.attribute(
            f"{one.kind.name} {one.found['name']}", f"present, {one.goes}" if one.goes else "present", None
        )
    servers = _servers(allowed, deletions)
    for server in servers:
        yield has_left(server) if server in nodes else nobody_failed(server)
    for one in allowed:
        yield from _deleted(one, servers)


def _servers(left: Iterable[_Left], deletions: Sequence[str]) -> list[str]:
    """Those that will be deleted."""
    return [str(one.found["name"]) for one in left if one.kind is kinds.SERVER and one.name in deletions]


def _given(kind: Kind, found: Mapping[str, Any], servers: Listed, cluster: str) -> list[str]:
    return given(found, servers, cluster) if kind is kinds.FIREWALL else []


def _goes(kind: Kind, found: Mapping[str, Any], pricing: Mapping[str, Any]) -> str:
    item = item_of(kind.path, found)
    return ", ".join(filter(None, (_is(kind, found), str(cost(pricing, [item])) if item else "")))


def _is(kind: Kind, found: Mapping[str, Any]) -> str:
    if kind is kinds.SERVER:
        return f"{found['server_type']} in {found['location']}"
    if kind is kinds.VOLUME:
        return f"{found['size']} GB with all that is on it"
    return str(found["ip"]) if kind in (kinds.PRIMARY_IP, kinds.FLOATING_IP) else ""


def _deleted(one: _Left, gone: Sequence[str]) -> list[StringCommand]:
    name, kind = str(one.found["name"]), one.kind
    protected = any(one.found["protection"].values()) if kind.protection else False
    return [
        *(protect(kind, name, on=False) if protected else ()),
        *_released(one, gone),
        call("DELETE", (kind.path, name)),
    ]


def _released(one: _Left, gone: Sequence[str]) -> list[StringCommand]:
    """What has to let go of it, or it of what; the API deletes nothing that is in use."""
    name = str(one.found["name"])
    if one.kind is kinds.VOLUME and one.found["server"] is not None:
        return [act(one.kind, name, "detach")]
    if one.kind is not kinds.FIREWALL:
        return []
    applied = [*resources(selectors(one.found)), *by_server(name for name in one.servers if name not in gone)]
    return [act(one.kind, name, "remove_from_resources", {"remove_from": applied})] if applied else []
