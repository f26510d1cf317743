"""Firewalls: rules, and the servers that they stand before. Source: Hetzner Cloud API, "Firewalls"."""

from __future__ import annotations

from collections.abc import Sequence

from unterbau.lab.cloud import bodies, limits, relations, shown, work
from unterbau.lab.cloud.answer import ApiError, Record
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Kind, Reply
from unterbau.lab.cloud.work import Effect


def effective(rules: list[Record]) -> int:
    """A rule counts once for each range that it names."""
    return sum(len(rule["source_ips"]) + len(rule["destination_ips"]) for rule in rules)


def _rules(rules: Sequence[bodies.Rule]) -> list[Record]:
    found = [rule.model_dump() for rule in rules]
    if effective(found) > limits.EFFECTIVE_RULES:
        raise ApiError("resource_limit_exceeded", f"{effective(found)} effective rules, of {limits.EFFECTIVE_RULES}")
    return found


def create(call: Call) -> Reply:
    """POST /firewalls."""
    body, project = call.read(bodies.Firewall), call.project
    project.check_new("firewalls", body.name)
    values: Record = {"name": body.name, "rules": _rules(body.rules), "labels": body.labels, "applied_to": []}
    entries = _entries(project, values, body.apply_to)
    record = project.add("firewalls", {**values, "created": project.now()})
    actions = [_applying(project, record, [one], []) for one in entries]
    return 201, {"firewall": shown.firewall(project, record), "actions": actions}


def _entries(project: Project, firewall: Record, resources: Sequence[bodies.FirewallResource]) -> list[Record]:
    entries = [one.model_dump(exclude_none=True) for one in resources]
    for entry in entries:
        if entry in firewall["applied_to"] or entries.count(entry) > 1:
            raise ApiError("firewall_already_applied", f"firewall {firewall['name']} is applied to that already")
        _check_servers(project, firewall, entry)
    return entries


def _check_servers(project: Project, firewall: Record, entry: Record) -> None:
    if entry["type"] == "server":
        number = entry["server"]["id"]
        if number not in project.tables["servers"]:
            raise ApiError("firewall_resource_not_found", f"there is no server {number}")
        if not relations.is_public(project, number):
            raise ApiError("incompatible_network_type", f"server {number} has no public interface")
    for server in relations.firewalled(project, entry):
        others = [one for one in relations.firewalls_of(project, server) if one["name"] != firewall["name"]]
        if len(others) >= limits.FIREWALLS_A_SERVER:
            raise ApiError("resource_limit_exceeded", f"server {server['name']} has {len(others)} firewalls already")


def _applying(project: Project, firewall: Record, applied: list[Record], removed: list[Record]) -> Record:
    command = "apply_firewall" if applied else "remove_firewall"
    effect = Effect("firewall", {"number": firewall["id"], "applied": applied, "removed": removed})
    servers = [("servers", one["server"]["id"]) for one in applied + removed if one["type"] == "server"]
    return work.start(project, command, effect, ("firewalls", firewall["id"]), *servers, after=_last(project, firewall))


def _last(project: Project, firewall: Record) -> Record | None:
    """What is at work on a firewall: one request may begin several actions, which follow each other."""
    waiting = [one["action"] for one in project.pending if one["key"] == ["firewalls", firewall["id"]]]
    return project.tables["actions"][waiting[-1]] if waiting else None


def set_rules(call: Call, firewall: Record) -> Reply:
    """set_rules: all of them, the old ones go."""
    project, number = call.project, firewall["id"]
    rules = _rules(call.read(bodies.FirewallRules).rules)
    servers = sorted(relations.servers_behind(project, firewall))
    values = {"kind": "firewalls", "number": number, "values": {"rules": rules}, "servers": servers}
    action = work.start(project, "set_firewall_rules", Effect("put", values), ("firewalls", number))
    return 201, {"actions": [action]}


def apply_to_resources(call: Call, firewall: Record) -> Reply:
    """apply_to_resources: servers, and label selectors."""
    work.check_free(call.project, "firewalls", firewall["id"])
    entries = _entries(call.project, firewall, call.read(bodies.FirewallApplied).apply_to)
    return 201, {"actions": [_applying(call.project, firewall, [one], []) for one in entries]}


def remove_from_resources(call: Call, firewall: Record) -> Reply:
    """remove_from_resources: of what it was applied to, word for word."""
    work.check_free(call.project, "firewalls", firewall["id"])
    entries = [one.model_dump(exclude_none=True) for one in call.read(bodies.FirewallRemoved).remove_from]
    for entry in entries:
        if entry not in firewall["applied_to"]:
            raise _not_applied(call.project, firewall, entry)
    return 201, {"actions": [_applying(call.project, firewall, [], [one]) for one in entries]}


def _not_applied(project: Project, firewall: Record, entry: Record) -> ApiError:
    if entry["type"] == "server" and entry["server"]["id"] in relations.servers_behind(project, firewall):
        return ApiError("firewall_managed_by_label_selector", "a label selector applies it; change the labels")
    return ApiError("firewall_resource_not_found", f"firewall {firewall['name']} is not applied to that")


def delete(call: Call, firewall: Record) -> Reply:
    """DELETE: refused while it is applied to anything."""
    work.check_free(call.project, "firewalls", firewall["id"])
    if firewall["applied_to"]:
        raise ApiError("resource_in_use", f"firewall {firewall['name']} is in use; remove it from its resources first")
    call.project.remove("firewalls", firewall["id"])
    return 204, None


FIREWALLS = Kind(
    "firewalls", "firewall", shown.firewall, create=create, changed=bodies.Changed, delete=delete,
    actions={
        "set_rules": set_rules, "apply_to_resources": apply_to_resources,
        "remove_from_resources": remove_from_resources,
    },
)  # fmt: skip
