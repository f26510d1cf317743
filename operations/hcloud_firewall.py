"""Firewalls of a Hetzner Cloud project. They filter public interfaces only, and no load balancers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hcloud import Firewalls, Servers
from operations.config_file import Commands
from operations.hcloud_object import FIREWALL, Listed, Thing, act, by_name, present
from unterbau import changes
from unterbau.domain.cloud_labels import ours
from unterbau.domain.unknown import Unknown

BY_LABELS = "label_selector"
OTHERS = "servers of other pools"


@dataclass(frozen=True)
class Rule:
    """What is let through. Sources are for "in", destinations for "out"; one rule "out" closes all else that leaves."""

    direction: str
    protocol: str
    port: str = ""  # "443", "30000-32767"; none for icmp, esp, gre
    sources: Sequence[str] = ()
    destinations: Sequence[str] = ()
    description: str = ""

    @property
    def api(self) -> dict[str, Any]:
        """As the API has it."""
        wanted = {
            "direction": self.direction,
            "protocol": self.protocol,
            "port": self.port,
            "source_ips": sorted(self.sources),
            "destination_ips": sorted(self.destinations),
            "description": self.description,
        }
        return {key: value for key, value in wanted.items() if value}


@dataclass(frozen=True)
class Firewall:
    """One firewall as it should be. `labels` are those besides our marks.

    Args:
        selectors: of servers that it filters.
        servers: names of those servers: each also got it by name, as it was made. No other of ours has it so.
    """

    name: str
    rules: list[Rule] = field(default_factory=list)
    selectors: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    servers: Sequence[str] = ()


@operation()
def declared(firewalls: list[Firewall], *, cluster: str) -> Commands:
    """Each of these firewalls is there, with exactly these rules, label selectors, and no other servers of ours.

    Args:
        firewalls: that also filter a server of somebody else, who gave it to that by name, go on to do so.
        cluster: whose they are.
    """
    found = host.get_fact(Firewalls)
    there = by_name(found)
    named = host.get_fact(Servers) if any(map(_by_name, there.values())) else []
    if isinstance(named, Unknown):
        yield from changes.refuse(f"cannot converge firewalls: servers of {host.name} could not be read; see above")
        return
    things = [
        _thing(one, there.get(one.name), set(given(there.get(one.name), named, cluster)) - {*one.servers})
        for one in firewalls
    ]
    yield from present(FIREWALL, things, found, cluster)


def selectors(found: Mapping[str, Any]) -> list[str]:
    """The label selectors of a firewall that is there, sorted."""
    return sorted(one["label_selector"] for one in found["applied_to"] if one["type"] == BY_LABELS)


def given(found: Mapping[str, Any] | None, servers: Listed, cluster: str) -> list[str]:
    """Names of our servers that got a firewall by name, sorted."""
    mine = {one["id"]: name for name, one in by_name(servers).items() if ours(one["labels"], cluster)}
    return sorted(mine[number] for number in _by_name(found) if number in mine) if found else []


def _by_name(found: Mapping[str, Any]) -> list[int]:
    return [one["server"] for one in found["applied_to"] if one["server"] is not None]


def by_server(names: Iterable[str]) -> list[dict[str, Any]]:
    """Servers as the API has them."""
    return [{"type": "server", "server": {"id": name}} for name in names]


def resources(wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Label selectors as the API has them."""
    return [{"type": BY_LABELS, "label_selector": {"selector": one}} for one in wanted]


def _thing(firewall: Firewall, found: Mapping[str, Any] | None, too_many: Collection[str]) -> Thing:
    rules, wanted = [rule.api for rule in firewall.rules], sorted(firewall.selectors)
    others = by_server(sorted(too_many))
    return Thing(
        firewall.name,
        attributes={"rules": _rules(rules), "servers": "; ".join(wanted), OTHERS: ""},
        now=_now(found, too_many) if found else {},
        create={"rules": rules, "apply_to": resources(wanted)},
        corrections=_corrections(firewall.name, rules, wanted, selectors(found)) | _taken(firewall.name, others)
        if found
        else {},
        labels=firewall.labels,
        until={"rules": rules},
    )


def _now(found: Mapping[str, Any], too_many: Collection[str]) -> dict[str, str]:
    by_labels = "; ".join(selectors(found))
    return {"rules": _rules(found["rules"]), "servers": by_labels, OTHERS: ", ".join(sorted(too_many))}


def _taken(name: str, servers: Sequence[Mapping[str, Any]]) -> dict[str, list[StringCommand]]:
    """From servers that got it by name as they were made, and are in none of its pools any more."""
    return {OTHERS: [act(FIREWALL, name, "remove_from_resources", {"remove_from": servers})]} if servers else {}


def _corrections(
    name: str, rules: Sequence[Mapping[str, Any]], wanted: Sequence[str], now: Sequence[str]
) -> dict[str, list[StringCommand]]:
    more, less = [one for one in wanted if one not in now], [one for one in now if one not in wanted]
    applied = [act(FIREWALL, name, "apply_to_resources", {"apply_to": resources(more)})] if more else []
    removed = [act(FIREWALL, name, "remove_from_resources", {"remove_from": resources(less)})] if less else []
    return {"rules": [act(FIREWALL, name, "set_rules", {"rules": rules})], "servers": applied + removed}


def _rules(rules: Sequence[Mapping[str, Any]]) -> str:
    """One a line, in one order; the last one ends too, so that a diff shows whole lines."""
    return "".join(f"{line}\n" for line in sorted(map(_rule, rules)))


def _rule(rule: Mapping[str, Any]) -> str:
    sources, destinations = (", ".join(sorted(rule.get(key) or ())) for key in ("source_ips", "destination_ips"))
    words = [rule["direction"], rule["protocol"], rule.get("port") or ""]
    words += [f"from {sources}" if sources else "", f"to {destinations}" if destinations else ""]
    words += [f"({rule['description']})" if rule.get("description") else ""]
    return " ".join(filter(None, words))
