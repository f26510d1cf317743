"""Policies of an S3 service: what users and groups that have them may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from facts.endpoint import Objects
from facts.s3_identity import Group, Groups, Marks, Policies, User, Users
from operations.config_file import Commands
from operations.owned import Thing, converge
from operations.s3_object import call, s3_kind, text
from unterbau import changes
from unterbau.domain.s3_policy import normalised
from unterbau.domain.unknown import AfterApply, Unknown

KIND = s3_kind("policy", lambda name: [call("delete_policy", name=name)])


@operation()
def exactly(policies: Mapping[str, Mapping[str, Any]], *, deletions: Sequence[str] = ()) -> Commands:
    """These policies, and of ours no others; those that may be deleted are still there until `withdrawn`.

    Args:
        policies: {name: document}.
        deletions: "policy/<name>" of those that may be deleted.
    """
    marks = host.get_fact(Marks, kind=KIND.name)
    if isinstance(marks, dict):
        marks = {name: mark for name, mark in marks.items() if name in policies or not _allowed(name, deletions)}
    things = [_thing(name, normalised(document)) for name, document in policies.items()]
    yield from converge(KIND, things, _found(), marks, deletions)


@operation()
def withdrawn(policies: Sequence[str], *, identities: Sequence[str], deletions: Sequence[str]) -> Commands:
    """What may be deleted and is declared no more is gone. After users and groups, which have given it up by then.

    Args:
        policies: names of those that are declared.
        identities: "user/<name>" and "group/<name>" of those that are declared; what others have is left to them.
        deletions: "policy/<name>" of those that may be deleted; users and groups among them give up theirs too.
    """
    marks = host.get_fact(Marks, kind=KIND.name)
    if isinstance(marks, dict):
        marks = {name: mark for name, mark in marks.items() if name not in policies and _allowed(name, deletions)}
        if not marks:
            host.noop("no policy is to be deleted")
            return
    if sentence := _held(marks, [*identities, *deletions]):
        yield from changes.refuse(sentence)
        return
    yield from converge(KIND, [], _found(), marks, deletions)


def _allowed(name: str, deletions: Sequence[str]) -> bool:
    return f"{KIND.name}/{name}" in deletions


def _found() -> Objects | Unknown | AfterApply:
    found = host.get_fact(Policies)
    return {name: {"text": text(one)} for name, one in found.items()} if isinstance(found, dict) else found


def _thing(name: str, document: Mapping[str, Any]) -> Thing:
    return Thing(name, {"text": text(document)}, [call("put_policy", name=name, document=document)])


def _held(marks: object, ours: Sequence[str]) -> str | None:
    """Why one of these policies cannot go: somebody has it who is not ours to change. None if all can."""
    going = set(marks) if isinstance(marks, dict) else set()
    users, groups = (host.get_fact(Users), host.get_fact(Groups)) if going else ({}, {})
    if isinstance(users, Unknown) or isinstance(groups, Unknown):
        return (
            f"cannot delete {KIND.name}/{min(going)}: who has it on {host.name} could not be read; see the error above"
        )
    for who, policies in _holders(users, groups):
        if who not in ours and (held := going & set(policies)):
            kind, _, name = who.partition("/")
            return (
                f"cannot delete the policy {min(held)} on {host.name}: found that the {kind} {name} has it, which is "
                "not declared; detach it by hand, or keep the policy declared"
            )
    return None


def _holders(
    users: Mapping[str, User] | AfterApply, groups: Mapping[str, Group] | AfterApply
) -> Iterator[tuple[str, Sequence[str]]]:
    """("user/<name>" or "group/<name>", its policies)."""
    if not isinstance(users, AfterApply):
        yield from ((f"user/{name}", user["policies"]) for name, user in users.items())
    if not isinstance(groups, AfterApply):
        yield from ((f"group/{name}", group["policies"]) for name, group in groups.items())
