"""Policies of a Vault cluster: what tokens may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pyinfra import host
from pyinfra.api import operation

from facts.endpoint import OWNER, Mark
from facts.vault import Marks
from facts.vault_access import Policies
from operations.config_file import Commands
from operations.owned import Thing, converge, names_of
from operations.vault_object import call, vault_kind
from unterbau.domain.unknown import AfterApply, Unknown
from unterbau.domain.vault_policy import PathRule, normalised, render

Marked = dict[str, Mark] | Unknown | AfterApply
DEPLOYERS = "deploy"

KIND = vault_kind("policy", lambda name: [call("DELETE", f"sys/policies/acl/{name}")])


@operation()
def exactly(
    policies: Mapping[str, Mapping[str, PathRule | Sequence[str]]], *, deletions: Sequence[str] = ()
) -> Commands:
    """These policies, and of ours no others.

    Args:
        policies: {name: {path: capabilities}}.
        deletions: "policy/<name>" of those that may be deleted.
    """
    marks = _with_ours(host.get_fact(Marks, kind=KIND.name), policies)
    found = host.get_fact(Policies, names=names_of(policies, marks))
    if isinstance(found, dict):
        found = {name: {"text": normalised(policy["text"])} for name, policy in found.items()}
    yield from converge(KIND, [_thing(name, paths) for name, paths in policies.items()], found, marks, deletions)


def _with_ours(marks: Marked, policies: Iterable[str]) -> Marked:
    """The first start made `deploy`, before there were marks. Nobody else could bring it back, were it not ours."""
    if not isinstance(marks, dict) or DEPLOYERS not in policies or DEPLOYERS in marks:
        return marks
    return {**marks, DEPLOYERS: {"owner": OWNER}}


def _thing(name: str, paths: Mapping[str, PathRule | Sequence[str]]) -> Thing:
    text = render(paths)
    return Thing(name, {"text": normalised(text)}, [call("PUT", f"sys/policies/acl/{name}", {"policy": text})])
