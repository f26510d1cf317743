"""Objects of ours that are no longer declared: the plan deletes them, each allowed by name. It touches nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.kubernetes import Instances, Marked, Ours, Within
from operations import api_call
from operations.config_file import Commands
from operations.owned import RULE
from unterbau import changes
from unterbau.domain.kubernetes_object import Ref
from unterbau.domain.unknown import AfterApply, Unknown

DELETIONS = "kubernetes_deletions"
# What others of ours need goes after them; a budget, of which a controller writes what its pods do, before these.
ORDER = {"PodDisruptionBudget": -1, "ServiceAccount": 1, "CustomResourceDefinition": 2, "Namespace": 3}


@dataclass(frozen=True)
class _Going:
    """One that is no longer declared. `within`: its namespace goes too, and takes it along.

    One that is being deleted is allowed: there is nothing to decide any more.
    """

    seen: Ours
    ref: Ref
    allowed: bool
    within: bool


@operation()
def exactly(
    declared: list[Ref], *, cluster: str, deletions: Sequence[str] = (), problems: Sequence[str] = ()
) -> Commands:
    """Of ours there is nothing but these.

    Args:
        declared: all objects of every kind.
        cluster: the name in our mark.
        deletions: "Kind/namespace/name" (or "Kind/name") of those that may go; a namespace with all of ours in it.
        problems: why some that are declared are not known; then nothing is deleted.
    """
    if problems:
        yield from changes.refuse(f"cannot look for undeclared objects: not all declared ones are known: {problems[0]}")
        return
    found = host.get_fact(Marked, cluster=cluster)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot look for undeclared objects: {host.name} could not be read; see above")
        return
    going = [] if isinstance(found, AfterApply) else _undeclared(declared, found, deletions)
    if not going:
        host.noop("everything of ours is declared")
        return
    yield from _rules(going)
    if not all(one.allowed for one in going):
        return
    if sentence := _takes_others(going, cluster):
        yield from changes.refuse(sentence)
        return
    for one in going:
        state = "being deleted" if one.seen["deleting"] else "present"
        changes.attribute(str(one.ref), f"{state}, in a namespace that goes" if one.within else state, None)
    for one in going:
        if not one.within:
            yield _end(one)


def _end(one: _Going) -> StringCommand:
    """One that somebody else, or a run that was ended, deletes already is awaited."""
    if one.seen["deleting"]:
        return api_call.command(f"GONE {one.ref.path}", {"uid": one.seen["uid"]})
    exact = {"uid": one.seen["uid"], "resource_version": one.seen["resource_version"]}
    return api_call.command(f"DELETE {one.ref.path}", exact)


def _undeclared(declared: Sequence[Ref], found: Sequence[Ours], deletions: Sequence[str]) -> list[_Going]:
    known = {(ref.group_kind, ref.namespace, ref.name) for ref in declared}
    there = [(one, Ref.parse(one["path"])) for one in found]
    gone = [(one, ref) for one, ref in there if (ref.group_kind, ref.namespace, ref.name) not in known]
    named = {ref for one, ref in gone if one["deletion"] in deletions or one["deleting"]}
    leaving = {ref.name for ref in named if ref.kind == "Namespace"}
    going = [_Going(one, ref, ref in named or ref.namespace in leaving, ref.namespace in leaving) for one, ref in gone]
    return sorted(going, key=lambda one: (ORDER.get(one.ref.kind, 0), one.ref))


def _rules(going: Sequence[_Going]) -> Commands:
    if allowed := [one.ref.deletion for one in going if one.allowed and not one.seen["deleting"]]:
        yield from changes.rule(RULE, passed=True, arithmetic=f"{', '.join(allowed)}: in {DELETIONS}")
    if forbidden := [one.ref.deletion for one in going if not one.allowed]:
        names = ", ".join(forbidden)
        say = f"ours and no longer declared: {names}; declare them, or name them in {DELETIONS}"
        yield from changes.rule(RULE, passed=False, arithmetic=say)


def _takes_others(going: Sequence[_Going], cluster: str) -> str | None:
    """Why one cannot go: objects that are not ours would go with it."""
    for one in going:
        if one.seen["deleting"]:
            continue  # nothing holds that up any more
        if one.ref.kind == "Namespace":
            content = host.get_fact(Within, namespace=one.ref.name, cluster=cluster)
        elif one.ref.kind == "CustomResourceDefinition":
            content = host.get_fact(Instances, definition=one.ref.name, cluster=cluster)
        else:
            continue
        if isinstance(content, Unknown | AfterApply):
            return f"cannot delete {one.ref}: what goes with it could not be read; see the error above"
        if content["others"]:
            others = ", ".join(content["others"][:5])
            return (
                f"cannot delete {one.ref}: {len(content['others'])} objects that are not ours would go with it "
                f"({others}); move or delete them by hand first"
            )
    return None
