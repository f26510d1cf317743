"""Objects of a Hetzner Cloud project that are declared by name: made, and made so.

Their labels say which are ours, from the call on that creates them, so a killed run leaves nothing that is nobody's.
What has no such labels is left alone, even if it is just as declared: who labels it by hand gives it to us. What is no
longer declared is the affair of `hcloud_withdrawal`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pyinfra import host
from pyinfra.api import StringCommand

from operations import api_call
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.cloud_labels import FIRST_KEY, labels, ours
from unterbau.domain.unknown import AfterApply, Unknown

NAME = r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?"
SEEN_WITHIN_S = 60  # after its last action; the API's own lists lag a little behind
DELETIONS = "cloud_deletions"
ONLY_DELETE = {"delete": True}

Listed = Sequence[Mapping[str, Any]] | Unknown | AfterApply


@dataclass(frozen=True)
class Kind:
    """One kind of object. `protection` is what the API can protect it from."""

    name: str
    path: str
    protection: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Thing:
    """One declared object, and what is there of it.

    Args:
        name: of it.
        attributes: as it should be, as plans show them; "" for none.
        now: the same of the one that is there.
        create: what the API wants to create it, besides name and labels.
        corrections: {attribute: what makes it so}; one that is not in it cannot change.
        labels: besides our marks.
        until: fields of the API's object that are read back.
        after: what is done once it was created.
        protected: from deletion.
    """

    name: str
    attributes: Mapping[str, str]
    now: Mapping[str, str]
    create: Mapping[str, Any]
    corrections: Mapping[str, Sequence[StringCommand]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    until: Mapping[str, Any] = field(default_factory=dict)
    after: Sequence[StringCommand] = ()
    protected: bool = True


SSH_KEY = Kind("ssh_key", "ssh_keys")
NETWORK = Kind("network", "networks", ONLY_DELETE)
PLACEMENT_GROUP = Kind("placement_group", "placement_groups")
FIREWALL = Kind("firewall", "firewalls")
SERVER = Kind("server", "servers", {"delete": True, "rebuild": True})  # the API takes both or none
LOAD_BALANCER = Kind("load_balancer", "load_balancers", ONLY_DELETE)
VOLUME = Kind("volume", "volumes", ONLY_DELETE)
PRIMARY_IP = Kind("primary_ip", "primary_ips", ONLY_DELETE)
FLOATING_IP = Kind("floating_ip", "floating_ips", ONLY_DELETE)


def call(verb: str, path: Sequence[str], body: Any = None) -> StringCommand:
    """A command of the connector; `path` in its parts."""
    return api_call.command(f"{verb} {'/'.join(quote(part, safe='@') for part in path)}", body)


def act(kind: Kind, name: str, action: str, body: Any = None) -> StringCommand:
    """An action of one object."""
    return call("POST", (kind.path, name, "actions", action), body if body is not None else {})


def protect(kind: Kind, name: str, *, on: bool) -> list[StringCommand]:
    """What protects one from all that its kind can be protected from, or no longer; nothing where there is nothing."""
    body = dict.fromkeys(kind.protection, on)
    return [act(kind, name, "change_protection", body)] if body else []


def by_name(found: Listed) -> dict[str, Mapping[str, Any]]:
    """{name: object}; {} if they could not be read, of which `present` tells."""
    return {} if isinstance(found, Unknown | AfterApply) else {one["name"]: one for one in found}


def present(kind: Kind, things: Sequence[Thing], found: Listed, cluster: str) -> Commands:
    """Each of these is there, ours, and as declared.

    Args:
        kind: of all of them.
        things: with their values as found, in the order in which they are made.
        found: all objects of the kind, ours and others'.
        cluster: whose labels say that it is ours.
    """
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot converge {kind.path}: {host.name} could not be read; see the error above")
        return
    there = by_name(found)
    if refusals := [said for thing in things for said in _refusals(kind, thing, there.get(thing.name), cluster)]:
        for sentence in refusals:
            yield from changes.refuse(sentence)
        return
    commands = [command for thing in things for command in _made(kind, thing, there.get(thing.name), cluster)]
    if not commands:
        host.noop(f"{len(things)} of the kind {kind.name} are as declared")
    yield from commands


def _refusals(kind: Kind, thing: Thing, found: Mapping[str, Any] | None, cluster: str) -> list[str]:
    if not re.fullmatch(NAME, thing.name, re.ASCII):
        return [
            f"cannot make the {kind.name} {thing.name!r}: found another name than 1 to 63 letters, digits and '._@-'; "
            "correct its declaration"
        ]
    if found is None:
        return []
    if not ours(found["labels"], cluster):
        mine = ", ".join(f"{key}={value}" for key, value in labels(cluster).items())
        return [
            f"cannot make the {kind.name} {thing.name} on {host.name}: found one that is not ours; rename what is "
            f"declared, or label that one {mine}: then it becomes ours"
        ]
    return [
        f"cannot change {attribute} of the {kind.name} {thing.name} from {thing.now.get(attribute) or 'none'} to "
        f"{thing.attributes[attribute] or 'none'}: the API has no such change; declare it as it is, or replace it"
        for attribute in _differing(thing)
        if attribute not in thing.corrections
    ]


def _differing(thing: Thing) -> list[str]:
    return [name for name, value in thing.attributes.items() if thing.now.get(name, "") != value]


def _made(kind: Kind, thing: Thing, found: Mapping[str, Any] | None, cluster: str) -> list[StringCommand]:
    marked = labels(cluster, others=thing.labels)
    if found is None:
        return _created(kind, thing, marked)
    marked |= {key: value for key, value in found["labels"].items() if key == FIRST_KEY}  # the connector's, for good
    differing = _differing(thing)
    for name in differing:
        _say(f"{kind.name} {thing.name} {name}", thing.now.get(name), thing.attributes[name])
    commands = [command for name in differing for command in thing.corrections[name]]
    commands = _relabelled(kind, thing, found, marked) + commands + _reprotected(kind, thing, found)
    return [*commands, _read_back(kind, thing, marked)] if commands or differing else []


def _created(kind: Kind, thing: Thing, marked: Mapping[str, str]) -> list[StringCommand]:
    for name, value in thing.attributes.items():
        if value:
            _say(f"{kind.name} {thing.name} {name}", None, value)
    changes.attribute(f"{kind.name} {thing.name} labels", None, _shown(marked))
    return [
        call("POST", (kind.path,), {"name": thing.name, "labels": marked, **thing.create}),
        *thing.after,
        *(protect(kind, thing.name, on=True) if thing.protected else ()),
        _read_back(kind, thing, marked),
    ]


def _relabelled(kind: Kind, thing: Thing, found: Mapping[str, Any], marked: Mapping[str, str]) -> list[StringCommand]:
    if found["labels"] == marked:
        return []
    changes.attribute(f"{kind.name} {thing.name} labels", _shown(found["labels"]), _shown(marked))
    return [call("PUT", (kind.path, thing.name), {"labels": marked})]


def _reprotected(kind: Kind, thing: Thing, found: Mapping[str, Any]) -> list[StringCommand]:
    wanted = dict.fromkeys(kind.protection, thing.protected)
    now = {what: bool(found["protection"].get(what)) for what in wanted}
    if now == wanted:
        return []
    changes.attribute(f"{kind.name} {thing.name} protection", _protection(now), _protection(wanted))
    return protect(kind, thing.name, on=thing.protected)


def _read_back(kind: Kind, thing: Thing, marked: Mapping[str, str]) -> StringCommand:
    protection = {"protection": dict.fromkeys(kind.protection, thing.protected)} if kind.protection else {}
    until = {"labels": marked, **protection, **thing.until}
    return call("AWAIT", (kind.path, thing.name), {"until": until, "within_s": SEEN_WITHIN_S})


def _say(subject: str, old: str | None, new: str) -> None:
    if "\n" in f"{old or ''}{new}":
        changes.text(subject, old or None, new or None)
    else:
        changes.attribute(subject, old or None, new or None)


def _shown(marked: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(marked.items()))


def _protection(now: Mapping[str, bool]) -> str:
    return ", ".join(what for what, on in now.items() if on) or "none"
