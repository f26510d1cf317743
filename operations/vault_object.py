"""What all objects of a Vault cluster have in common: calls, marks of ownership, what happens to what is not ours.

A mark is an entry of the KV mount `unterbau` that has metadata only: `unterbau/metadata/<kind>/<name>`. It is made
before the object and deleted after it, so an object of ours without a mark does not come about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand
from typing_extensions import override

from facts.vault import MARKS, OWNER, Mark, Objects
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, AfterApply, Unknown
from unterbau.secrets.hidden import MASK

RULE = "deletions are allowed by name"
PLAIN = r"\w[\w.+-]*(/\w[\w.+-]*)*"  # a name is a part of a path: nothing in it may lead elsewhere


@dataclass(frozen=True)
class Thing:
    """One declared object. What cannot be read back is compared by its keyed hash, which the mark keeps."""

    name: str
    attributes: Mapping[str, str]  # as the plan shows them and as a fact finds them
    put: Sequence[StringCommand]  # creates it, or makes it so
    secret_hash: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of object: its name in marks, plans and `vault_deletions`, and how one is deleted."""

    name: str
    delete: Callable[[str], Sequence[StringCommand]]


@dataclass
class _Outcome:
    commands: list[StringCommand] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)


def call(verb: str, path: str, body: Any = None) -> StringCommand:
    """A command of the connector. `body` is JSON data; its leaves that are HiddenValue, and only these, are masked."""
    start = f"{verb} {quote(path, safe='/')}"
    bits = () if body is None else (" ", *_json_bits(body))
    return StringCommand(start, *bits, _separator="")


class _HiddenJson(HiddenValue):
    """A hidden text as JSON; unmasked no earlier than the command is sent."""

    def __init__(self, hidden: HiddenValue) -> None:
        super().__init__("", MASK)  # type: ignore[no-untyped-call]
        self._hidden = hidden

    @override
    def unmask(self) -> str:
        return json.dumps(self._hidden.unmask())


def _json_bits(value: Any) -> Iterator[str | HiddenValue]:
    match value:
        case HiddenValue():
            yield _HiddenJson(value)
        case Mapping():
            yield from _joined("{", (((f"{json.dumps(k)}: ",), value[k]) for k in sorted(value)), "}")
        case list() | tuple():
            yield from _joined("[", (((), item) for item in value), "]")
        case _:
            yield json.dumps(value)


def _joined(start: str, items: Iterator[tuple[tuple[str, ...], Any]], end: str) -> Iterator[str | HiddenValue]:
    yield start
    for number, (prefix, item) in enumerate(items):
        yield from (", ",) if number else ()
        yield from prefix
        yield from _json_bits(item)
    yield end


def names_of(declared: Iterable[str], marks: Mapping[str, Mark] | Unknown | AfterApply) -> list[str]:
    """The names to read: the declared ones, and those that are ours."""
    ours = () if isinstance(marks, Unknown | AfterApply) else marks
    return sorted({*declared, *ours})


def mark(kind: str, name: str, **more: str | HiddenValue) -> StringCommand:
    """Say that this object is ours."""
    return call("PUT", f"{MARKS}/metadata/{kind}/{name}", {"custom_metadata": {"owner": OWNER, **more}})


def unmark(kind: str, name: str) -> StringCommand:
    """Say no more that it is."""
    return call("DELETE", f"{MARKS}/metadata/{kind}/{name}")


def converge(
    kind: Kind,
    declared: Sequence[Thing],
    found: Objects | Unknown | AfterApply,
    marks: Mapping[str, Mark] | Unknown | AfterApply,
    deletions: Sequence[str],
) -> Commands:
    """Exactly these objects of the kind are ours: create, correct, adopt what is equal, delete what is allowed by name.

    Args:
        kind: of the objects.
        declared: all of that kind.
        found: {name: {attribute: value}} of objects that exist, at least of the declared and the marked ones.
        marks: of that kind, from the fact Marks.
        deletions: "<kind>/<name>" of those that may be deleted.
    """
    if isinstance(found, Unknown) or isinstance(marks, Unknown):
        yield from changes.refuse(f"cannot converge {kind.name}: {host.name} could not be read; see the error above")
        return
    if odd := [thing.name for thing in declared if not re.fullmatch(PLAIN, thing.name, re.ASCII)]:
        sentence = f"cannot make the {kind.name} {odd[0]!r}: found a name that is no path; use letters, digits, '._+-'"
        yield from changes.refuse(sentence)
        return
    absent = KNOWN_AFTER_APPLY if isinstance(found, AfterApply) or isinstance(marks, AfterApply) else None
    there = {} if isinstance(found, AfterApply) else found
    ours = {} if isinstance(marks, AfterApply) else marks
    outcome = _decided(kind, declared, there, ours, deletions, absent)
    if outcome.allowed:
        yield from changes.rule(RULE, passed=True, arithmetic=f"{', '.join(outcome.allowed)}: in vault_deletions")
    if outcome.forbidden:
        names = ", ".join(outcome.forbidden)
        say = f"ours and no longer declared: {names}; declare them, or name them in vault_deletions"
        yield from changes.rule(RULE, passed=False, arithmetic=say)
    for sentence in outcome.refusals:
        yield from changes.refuse(sentence)
    if outcome.forbidden or outcome.refusals:
        return
    if not outcome.commands:
        host.noop(f"{len(declared)} of the kind {kind.name} are as declared")
    yield from outcome.commands


def _decided(  # noqa: PLR0913, PLR0917  # the two states, the declaration, the allowance
    kind: Kind,
    declared: Sequence[Thing],
    found: Objects,
    marks: Mapping[str, Mark],
    deletions: Sequence[str],
    absent: str | None,
) -> _Outcome:
    outcome = _Outcome()
    for thing in sorted(declared, key=lambda thing: thing.name):
        if thing.name in found and thing.name not in marks:
            _adopt(kind, thing, found[thing.name], outcome)
        else:
            outcome.commands += _put(kind, thing, found.get(thing.name), marks.get(thing.name), absent)
    for name in sorted(set(marks) - {thing.name for thing in declared}):
        _delete(kind, name, name in found, f"{kind.name}/{name}" in deletions, outcome)
    return outcome


def _adopt(kind: Kind, thing: Thing, found: Mapping[str, str], outcome: _Outcome) -> None:
    differing = sorted(name for name, value in thing.attributes.items() if found.get(name) != value)
    if thing.secret_hash:
        differing.append("a value that cannot be read back")
    if differing:
        outcome.refusals.append(
            f"cannot change {kind.name} {thing.name} on {host.name}: found one that is not ours and differs in "
            f"{', '.join(differing)}; delete it by hand, or declare it as it is: then it becomes ours"
        )
        return
    changes.attribute(f"{kind.name} {thing.name} owner", None, OWNER)
    outcome.commands.append(mark(kind.name, thing.name))


def _put(
    kind: Kind, thing: Thing, found: Mapping[str, str] | None, marked: Mark | None, absent: str | None
) -> list[StringCommand]:
    known = (marked or {}).get("hash", "")
    differs = [name for name, value in thing.attributes.items() if found is None or found.get(name) != value]
    if found is not None and not differs and known == thing.secret_hash:
        return []
    for name in differs:
        if found is None and not thing.attributes[name]:
            continue  # an empty one of something new
        _say(f"{kind.name} {thing.name} {name}", absent if found is None else found.get(name), thing.attributes[name])
    if found is not None and known != thing.secret_hash:
        changes.attribute(f"{kind.name} {thing.name} secret", changes.HIDDEN, f"{changes.HIDDEN}, another one")
    before = [] if marked is not None else [mark(kind.name, thing.name)]
    after = [mark(kind.name, thing.name, hash=_hidden(thing.secret_hash))] if known != thing.secret_hash else []
    return [*before, *thing.put, *after]  # the hash last: a killed run writes the value once more, and forgets none


def _hidden(text: str) -> HiddenValue:
    """What is computed from a value that this run makes: it differs from plan to plan, and a plan has one digest."""
    return HiddenValue(text, MASK)


def _say(subject: str, old: str | None, new: str) -> None:
    if "\n" in new and old != KNOWN_AFTER_APPLY:
        changes.text(subject, old, new)
    else:
        changes.attribute(subject, old, f"{new.count(chr(10))} lines" if "\n" in new else new)


def _delete(kind: Kind, name: str, exists: bool, allowed: bool, outcome: _Outcome) -> None:
    if not exists:  # deleted by hand, or by a run that was killed before its last command
        changes.attribute(f"{kind.name} {name} mark", OWNER, None)
        outcome.commands.append(unmark(kind.name, name))
    elif allowed:
        outcome.allowed.append(f"{kind.name}/{name}")
        changes.attribute(f"{kind.name} {name}", "present", None)
        outcome.commands += [*kind.delete(name), unmark(kind.name, name)]
    else:
        outcome.forbidden.append(f"{kind.name}/{name}")
