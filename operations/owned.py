"""Objects of an API that are declared by name: which are ours, and what happens to what is not.

A mark says that an object is ours. It is made before the object and deleted after it, so an object of ours without a
mark does not come about. What a kind of object is, where its marks are kept and how it is deleted, its Kind says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand

from facts.endpoint import OWNER, Mark, Objects
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, AfterApply, Unknown
from unterbau.secrets.hidden import MASK

RULE = "deletions are allowed by name"
PLAIN = r"\w[\w.+-]*(/\w[\w.+-]*)*"  # a name is a part of a path: nothing in it may lead elsewhere

Marks = Mapping[str, Mark]


@dataclass(frozen=True)
class Thing:
    """One declared object. What cannot be read back is compared by its keyed hash, which the mark keeps."""

    name: str
    attributes: Mapping[str, str]  # as the plan shows them and as a fact finds them
    put: Sequence[StringCommand]  # creates it, or makes it so
    secret_hash: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of object: its name in marks, plans and the list of deletions, and what marks and deletes one."""

    name: str
    deletions: str  # the name of the data in which "<kind>/<name>" allows one to be deleted
    mark: Callable[[str, HiddenValue | None], StringCommand]  # (name, keyed hash of what cannot be read back)
    unmark: Callable[[str], StringCommand]
    delete: Callable[[str], Sequence[StringCommand]]
    goes: Callable[[str], str] = lambda _name: ""  # what is lost with one, for the arithmetic: "12 objects, 3.1 GiB"


@dataclass
class _Outcome:
    commands: list[StringCommand] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)


def names_of(declared: Iterable[str], marks: Marks | Unknown | AfterApply) -> list[str]:
    """The names to read: the declared ones, and those that are ours."""
    ours = () if isinstance(marks, Unknown | AfterApply) else marks
    return sorted({*declared, *ours})


def converge(
    kind: Kind,
    declared: Sequence[Thing],
    found: Objects | Unknown | AfterApply,
    marks: Marks | Unknown | AfterApply,
    deletions: Sequence[str],
) -> Commands:
    """Exactly these objects of the kind are ours: create, correct, adopt what is equal, delete what is allowed by name.

    Args:
        kind: of the objects.
        declared: all of that kind.
        found: {name: {attribute: value}} of objects that exist, at least of the declared and the marked ones.
        marks: of that kind.
        deletions: "<kind>/<name>" of those that may be deleted.
    """
    if isinstance(found, Unknown) or isinstance(marks, Unknown):
        yield from changes.refuse(f"cannot converge {kind.name}: {host.name} could not be read; see the error above")
        return
    if odd := [thing.name for thing in declared if not re.fullmatch(PLAIN, thing.name, re.ASCII)]:
        sentence = f"cannot make the {kind.name} {odd[0]!r}: found a name that is no path; use letters, digits, '._+-'"
        yield from changes.refuse(sentence)
        return
    if isinstance(found, AfterApply) or isinstance(marks, AfterApply):  # one without the other says nothing
        outcome = _decided(kind, declared, {}, {}, deletions, KNOWN_AFTER_APPLY)
    else:
        outcome = _decided(kind, declared, found, marks, deletions, None)
    yield from _rules(kind, outcome)
    for sentence in outcome.refusals:
        yield from changes.refuse(sentence)
    if outcome.forbidden or outcome.refusals:
        return
    if not outcome.commands:
        host.noop(f"{len(declared)} of the kind {kind.name} are as declared")
    yield from outcome.commands


def _rules(kind: Kind, outcome: _Outcome) -> Commands:
    if outcome.allowed:
        arithmetic = f"{', '.join(outcome.allowed)}: in {kind.deletions}"
        yield from changes.rule(RULE, passed=True, arithmetic=arithmetic)
    if outcome.forbidden:
        names = ", ".join(outcome.forbidden)
        say = f"ours and no longer declared: {names}; declare them, or name them in {kind.deletions}"
        yield from changes.rule(RULE, passed=False, arithmetic=say)


def _decided(  # noqa: PLR0913, PLR0917  # the two states, the declaration, the allowance
    kind: Kind,
    declared: Sequence[Thing],
    found: Objects,
    marks: Marks,
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
    outcome.commands.append(kind.mark(thing.name, None))


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
    before = [] if marked is not None else [kind.mark(thing.name, None)]
    after = [kind.mark(thing.name, _hidden(thing.secret_hash))] if known != thing.secret_hash else []
    return [*before, *thing.put, *after]  # the hash last: a killed run writes the value once more, and forgets none


def _hidden(text: str) -> HiddenValue:
    """What is computed from a value that this run makes: it differs from plan to plan, and a plan has one digest."""
    return HiddenValue(text, MASK)


def _say(subject: str, old: str | None, new: str) -> None:
    if "\n" in f"{old or ''}{new}" and old != KNOWN_AFTER_APPLY:
        changes.text(subject, old, new)
    else:
        changes.attribute(subject, old, f"{new.count(chr(10))} lines" if "\n" in new else new)


def _delete(kind: Kind, name: str, exists: bool, allowed: bool, outcome: _Outcome) -> None:
    if not exists:  # deleted by hand, or by a run that was killed before its last command
        changes.attribute(f"{kind.name} {name} mark", OWNER, None)
        outcome.commands.append(kind.unmark(name))
        return
    goes = kind.goes(name)
    said = f"{kind.name}/{name} ({goes})" if goes else f"{kind.name}/{name}"
    if not allowed:
        outcome.forbidden.append(said)
        return
    outcome.allowed.append(said)
    changes.attribute(f"{kind.name} {name}", f"present, {goes}" if goes else "present", None)
    outcome.commands += [*kind.delete(name), kind.unmark(name)]
