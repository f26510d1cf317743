"""What a Kubernetes API has of declared objects, and what it would make of them. No fact reads a value of a Secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import answer
from unterbau.domain.kubernetes_object import Manifest, Ref
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class Held(TypedDict):
    """A field that another manager set. `by_hand`: it was a person, by kubectl; else something that needs it."""

    field: str
    manager: str
    by_hand: bool


class Added(TypedDict):
    """A field that a person set beside what is declared."""

    field: str
    manager: str


class Compared(TypedDict):
    """One declared object. Values of Secrets are keyed hashes; where a result has another one than live, it differs.

    `missing` is "kind" or "namespace" where it cannot be there yet; `refused` is the sentence of an API that would not
    take it. `result` is missing where a field of another manager's is in the way. `blocked` is the sentence of one that
    would not take it beside what people added; `result` is then only without that. `held`: it cannot go by itself.
    """

    live: NotRequired[dict[str, Any] | None]  # None: it is not there
    result: NotRequired[dict[str, Any]]  # after an apply, without what people added
    ours: NotRequired[bool]
    owner: NotRequired[str]  # the cluster in the mark
    deleting: NotRequired[bool]
    conflicts: NotRequired[list[Held]]
    by_hand: NotRequired[list[Added]]
    missing: NotRequired[str]
    refused: NotRequired[str]
    held: NotRequired[bool]
    blocked: NotRequired[str]


class Objects(FactBase[dict[str, Compared] | Unknown | AfterApply]):
    """{path: state} of these objects, each by the API's own dry run."""

    @override
    @staticmethod
    def default() -> dict[str, Compared] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, cluster: str, manifests: Sequence[Manifest]) -> str:
        return f"COMPARE {cluster} {json.dumps(list(manifests), sort_keys=True)}"

    @override
    def process(self, output: list[str]) -> dict[str, Compared] | Unknown | AfterApply:
        return answer(output, lambda value: {str(path): _compared(found) for path, found in value.items()})


def _compared(found: dict[str, Any]) -> Compared:
    if not {"live", "missing", "refused"} & found.keys():
        raise KeyError("live")
    state: Compared = {**found}  # type: ignore[typeddict-item]  # as the connector says it
    return state


class Ours(TypedDict):
    """One object with our mark, as it was seen."""

    path: str
    deletion: str  # as the list of allowed deletions names it
    uid: str
    resource_version: str
    deleting: bool  # somebody, or a run that was ended, has begun


class Marked(FactBase[list[Ours] | Unknown | AfterApply]):
    """Everything with the mark of a cluster, of every kind that can be declared; [] if there is nothing."""

    @override
    @staticmethod
    def default() -> list[Ours] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, cluster: str) -> str:
        return f"OURS {cluster}"

    @override
    def process(self, output: list[str]) -> list[Ours] | Unknown | AfterApply:
        return answer(output, lambda value: [_ours(found) for found in value])


def _ours(found: dict[str, Any]) -> Ours:
    ref = Ref(found["api_version"], found["kind"], found["namespace"], found["name"])
    return Ours(
        path=ref.path, deletion=ref.deletion, uid=found["uid"], resource_version=found["resource_version"],
        deleting=bool(found["deleting"]),
    )  # fmt: skip


class Content(TypedDict):
    """What is in a namespace, or of a kind: "Kind name"."""

    ours: list[str]
    others: list[str]


class Within(FactBase[Content | Unknown | AfterApply]):
    """What a namespace holds, without what the cluster puts into every one."""

    @override
    @staticmethod
    def default() -> Content | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, namespace: str, cluster: str) -> str:
        return f"WITHIN {namespace} {json.dumps({'cluster': cluster})}"

    @override
    def process(self, output: list[str]) -> Content | Unknown | AfterApply:
        return answer(output, _content)


class Instances(FactBase[Content | Unknown | AfterApply]):
    """The objects of a kind that a CustomResourceDefinition makes, in every namespace."""

    @override
    @staticmethod
    def default() -> Content | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, definition: str, cluster: str) -> str:
        return f"INSTANCES {definition} {json.dumps({'cluster': cluster})}"

    @override
    def process(self, output: list[str]) -> Content | Unknown | AfterApply:
        return answer(output, _content)


def _content(value: dict[str, list[str]]) -> Content:
    return Content(ours=list(value["ours"]), others=list(value["others"]))


class HealthState(TypedDict):
    """What the API says of itself."""

    version: str
    failing: list[str]  # checks of /readyz that did not pass


class Health(FactBase[HealthState | Unknown | AfterApply]):
    """Which version answers, and which of its checks fail."""

    @override
    @staticmethod
    def default() -> HealthState | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "HEALTH cluster"

    @override
    def process(self, output: list[str]) -> HealthState | Unknown | AfterApply:
        return answer(output, _health)


def _health(value: dict[str, Any]) -> HealthState:
    if not value["checks"]:
        raise KeyError("checks")
    return HealthState(
        version=value["version"], failing=sorted(n for n, passed in value["checks"].items() if not passed)
    )
