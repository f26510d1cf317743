"""The Kubernetes auth method of a Vault cluster: which API vouches for pods, and what their service accounts get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import HiddenValue, operation

from facts.vault import Marks
from facts.vault_access import KubernetesConfig, KubernetesRoles
from operations.config_file import Commands
from operations.owned import Thing, converge, names_of
from operations.vault_object import call, vault_kind
from unterbau import changes
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, AfterApply, Unknown
from unterbau.secrets.hidden import MASK

KIND = vault_kind("kubernetes-role", lambda name: [call("DELETE", f"auth/kubernetes/role/{name}")])


@dataclass(frozen=True)
class Role:
    """Which service accounts of which namespaces get which policies."""

    name: str
    service_accounts: Sequence[str]
    namespaces: Sequence[str]
    policies: Sequence[str]
    token_ttl_s: int


@operation()
def configured(api: str, ca: str) -> Commands:
    """The auth method asks this Kubernetes API, with the token of the pod that logs in.

    Args:
        api: its URL, as the servers of the cluster reach it.
        ca: the certificate (PEM) that signed its own; not shown: one that this run makes differs from plan to plan.
    """
    found = host.get_fact(KubernetesConfig)
    if isinstance(found, Unknown):
        yield from changes.refuse(
            f"cannot configure the Kubernetes auth method: {host.name} could not be read; see above"
        )
        return
    declared = {"api": api, "ca": ca.strip()}
    if found == declared:
        host.noop(f"the Kubernetes auth method asks {api}")
        return
    if not isinstance(found, AfterApply) and found and (sentence := _foreign(found["api"])):
        yield from changes.refuse(sentence)
        return
    there = {} if isinstance(found, AfterApply) else found
    absent = KNOWN_AFTER_APPLY if isinstance(found, AfterApply) else None
    if there.get("api") != api:
        changes.attribute("kubernetes auth api", there.get("api", absent), api)
    if there.get("ca") != ca.strip():
        changes.attribute("kubernetes auth ca", "another one" if there else absent, "as declared")
    body = {"kubernetes_host": api, "kubernetes_ca_cert": HiddenValue(ca, MASK), "disable_local_ca_jwt": True}
    yield call("PUT", "auth/kubernetes/config", body)


def _foreign(api: str) -> str | None:
    """The method of somebody else is ours once it is marked, and marked by the run that finds it as declared."""
    marks = host.get_fact(Marks, kind="auth")
    if isinstance(marks, dict) and "kubernetes" in marks:
        return None
    return (
        f"cannot configure the Kubernetes auth method on {host.name}: found one that is not ours and asks {api}; "
        "disable it by hand, or declare it as it is: then it becomes ours"
    )


@operation()
def roles(roles: list[Role], *, deletions: Sequence[str] = ()) -> Commands:
    """These roles of the Kubernetes auth method, and of ours no others.

    Args:
        roles: all that are declared.
        deletions: "kubernetes-role/<name>" of those that may be deleted.
    """
    marks = host.get_fact(Marks, kind=KIND.name)
    found = host.get_fact(KubernetesRoles, names=names_of([role.name for role in roles], marks))
    yield from converge(KIND, [_thing(role) for role in roles], found, marks, deletions)


def _thing(role: Role) -> Thing:
    accounts, namespaces, policies = (sorted(v) for v in (role.service_accounts, role.namespaces, role.policies))
    shown = {
        "service_accounts": ", ".join(accounts),
        "namespaces": ", ".join(namespaces),
        "policies": ", ".join(policies),
        "token_ttl": f"{role.token_ttl_s} s",
    }
    body = {
        "bound_service_account_names": accounts,
        "bound_service_account_namespaces": namespaces,
        "token_policies": policies,
        "token_ttl": role.token_ttl_s,
    }
    return Thing(role.name, shown, [call("PUT", f"auth/kubernetes/role/{role.name}", body)])
