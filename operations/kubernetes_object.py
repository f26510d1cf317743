"""Objects of a Kubernetes cluster, applied by the server: what it would make of them is the plan.

Ours is what has our mark (a label, and the cluster's name in an annotation). What people changed by hand of it comes
back; what others declare or control is left to them, and the plan says who. See docs/adr/0017-kubernetes-objects.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from facts.endpoint import OWNER
from facts.kubernetes import Compared, Objects
from operations import api_call
from operations.config_file import Commands
from operations.kubernetes_shown import say_changes, say_new
from unterbau import changes
from unterbau.domain.kubernetes_fields import is_below
from unterbau.domain.kubernetes_object import HASHED, Difference, Manifest, Ref, differences, marked, without_mark
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, AfterApply, Unknown

CRD = "CustomResourceDefinition"


@dataclass(frozen=True)
class Object:
    """One declared object. The values of a Secret are hidden; beside them stand keyed hashes, by the keyring."""

    manifest: Manifest
    hashes: Mapping[str, str] = field(default_factory=dict)  # field of a Secret -> keyed hash

    @cached_property
    def ref(self) -> Ref:
        """Which object; ValueError."""
        return Ref.of(self.manifest)

    @property
    def comparable(self) -> Manifest:
        """As a fact may ask about it: hashes for values."""
        if not self.hashes:
            return self.manifest
        return {**self.manifest, "data": {name: HASHED + value for name, value in self.hashes.items()}}


@dataclass
class _Outcome:
    commands: list[StringCommand] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


@operation()
def applied(
    objects: list[Object], *, cluster: str, namespaces: Sequence[str] = (), problems: Sequence[str] = ()
) -> Commands:
    """These objects are as declared: create, correct, adopt what is equal.

    Args:
        objects: those that are declared, in the order in which they need each other.
        cluster: the name in our mark.
        namespaces: declared ones, which the same plan makes if they are not there.
        problems: why some that are declared are no objects; then none is applied.
    """
    if sentence := "; ".join(problems) or _unusable(objects):
        yield from changes.refuse(sentence)
        return
    ours = [Object(marked(one.manifest, cluster), one.hashes) for one in objects]
    found = host.get_fact(Objects, cluster=cluster, manifests=[one.comparable for one in ours]) if ours else {}
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot apply objects: {host.name} could not be read; see the error above")
        return
    outcome = _Outcome()
    for one in ours:
        state = found if isinstance(found, AfterApply) else found[one.ref.path]
        _decide(one, state, cluster, _coming(ours, namespaces), outcome)
    for sentence in outcome.refusals:
        yield from changes.refuse(sentence)
    if outcome.refusals:
        return
    if not outcome.commands:
        host.noop(f"{len(objects)} objects are as declared")
    yield from outcome.commands


def _unusable(objects: Sequence[Object]) -> str | None:
    """Why these are no objects; None if they are."""
    refs = []
    for one in objects:
        try:
            refs.append(one.ref)
        except ValueError as error:
            return f"cannot apply an object: found {error}; correct its declaration"
        values = [*(one.manifest.get("data") or {}).values(), *(one.manifest.get("stringData") or {}).values()]
        if one.ref.kind == "Secret" and not (one.hashes and all(isinstance(value, HiddenValue) for value in values)):
            return f"cannot apply {one.ref}: found values in a manifest; declare a KubernetesSecret with SecretRefs"
    return next(iter(twice(refs)), None)


def twice(refs: Sequence[Ref]) -> list[str]:
    """A sentence for each object that is declared more than once: each step would undo the other's."""
    first = {(ref.group_kind, ref.namespace, ref.name): ref for ref in refs}
    counted = Counter((ref.group_kind, ref.namespace, ref.name) for ref in refs)
    again = [first[identity] for identity, count in counted.items() if count > 1]
    return [f"cannot apply {ref}: found it declared twice; declare it once" for ref in again]


@dataclass(frozen=True)
class _Coming:
    """What the same plan makes before."""

    namespaces: frozenset[str]
    kinds: frozenset[str]


def _coming(objects: Sequence[Object], namespaces: Sequence[str]) -> _Coming:
    own = [one.ref.name for one in objects if one.ref.kind == "Namespace"]
    specs = [one.manifest.get("spec") or {} for one in objects if one.ref.kind == CRD]
    kinds = [f"{spec.get('group')}/{(spec.get('names') or {}).get('kind')}" for spec in specs]
    return _Coming(frozenset([*namespaces, *own]), frozenset(kinds))


def _decide(one: Object, state: Compared | AfterApply, cluster: str, coming: _Coming, outcome: _Outcome) -> None:
    if isinstance(state, AfterApply):
        changes.attribute(str(one.ref), KNOWN_AFTER_APPLY, "as declared")
        outcome.commands.append(_apply(one, cluster))
        return
    if sentence := _obstacle(one.ref, state, coming) or _kept_headless(one, state):
        outcome.refusals.append(sentence)
        return
    if state.get("live") is None:
        say_new(one.ref, one.manifest)
        outcome.commands.append(_apply(one, cluster))
        return
    live, result = state["live"] or {}, state["result"]
    if state["ours"]:
        outcome.commands += _correct(one, state, list(differences(live, result)), cluster)
        return
    if differing := _foreign(state, list(differences(without_mark(live), without_mark(result)))):
        whose = f"one of the cluster {state['owner']}" if state["owner"] else "one that is not ours"
        outcome.refusals.append(
            f"cannot change {one.ref}: found {whose}, which differs in {', '.join(differing)}; delete it by hand, or "
            "declare it as it is: then it becomes ours"
        )
        return
    changes.attribute(f"{one.ref} owner", state["owner"] or None, OWNER)
    outcome.commands.append(_apply(one, cluster, adopt=True))


def _foreign(state: Compared, found: Sequence[Difference]) -> list[str]:
    """In what an object of somebody else's differs; one with another cluster's mark is never ours."""
    return sorted({*(one.path for one in found), *(["the mark"] if state["owner"] else [])})


def _obstacle(ref: Ref, state: Compared, coming: _Coming) -> str | None:
    """Why an object cannot be made so; None if it can."""
    if "refused" in state:
        step = "take them off by hand" if state.get("held") else _next_step(state["refused"])
        return f"cannot apply {ref}: {state['refused']}; {step}"
    missing = state.get("missing")
    if missing == "namespace" and ref.namespace not in coming.namespaces:
        return f"cannot apply {ref}: found no namespace {ref.namespace}; declare a KubernetesNamespace"
    if missing == "kind" and "/".join(ref.group_kind) not in coming.kinds:
        return f"cannot apply {ref}: the API has no kind {ref.api_version}/{ref.kind}; declare its {CRD}, or correct it"
    if state.get("deleting"):
        return f"cannot apply {ref}: it is being deleted; apply again once it is gone"
    if held := [one for one in state.get("conflicts", ()) if not one["by_hand"]]:
        fields = ", ".join(f"{one['field']} (set by {one['manager']})" for one in held)
        return f"cannot change {ref}: found fields of another manager: {fields}; do not declare them, or end its part"
    return None


def _kept_headless(one: Object, state: Compared) -> str | None:
    """A service that has no address of its own never gets one: the API leaves it so, and says nothing."""
    live, spec = state.get("live") or {}, one.manifest.get("spec") or {}
    if one.ref.kind != "Service" or "clusterIP" in spec or (live.get("spec") or {}).get("clusterIP") != "None":
        return None
    return f"cannot change {one.ref}: found one that is headless; {_next_step('immutable')}"


def _next_step(sentence: str) -> str:
    if "immutable" in sentence or "may not change" in sentence or "updates to" in sentence:
        return (
            "this field never changes: declare the object under another name; or take it out of the declaration, name "
            "it in kubernetes_deletions, and declare it again after that"
        )
    return "correct what is declared"


def _correct(one: Object, state: Compared, found: Sequence[Difference], cluster: str) -> list[StringCommand]:
    """What differs of an object of ours, people's changes among it."""
    added, taken = state.get("by_hand", []), state.get("conflicts", [])
    if not found and not taken:
        return []
    say_changes(one.ref, found, {each["field"]: each["manager"] for each in (*taken, *added)})
    gone = {each["field"] for each in added}
    apply = taken or any(not any(is_below(each.path, name) for name in gone) for each in found)
    force = [f"{each['manager']} {each['field']}" for each in taken]
    strip = [api_call.command(f"STRIP {one.ref.path}", {"fields": sorted(gone)})] if gone else []
    if "blocked" in state:  # beside what people added the API takes nothing: what it makes without is not known yet
        changes.attribute(str(one.ref), KNOWN_AFTER_APPLY, "as declared")
        return [*strip, _apply(one, cluster)]
    return [*([_apply(one, cluster, force=force)] if apply else []), *strip]


def _apply(one: Object, cluster: str, *, force: Sequence[str] = (), adopt: bool = False) -> StringCommand:
    more: dict[str, Any] = {"force": list(force)} if force else {}
    more |= {"adopt": True} if adopt else {}
    return api_call.command(f"APPLY {one.ref.path}", {"object": one.manifest, "cluster": cluster, **more})
