"""AppRole roles of a Vault cluster: how machines log in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import operation

from facts.vault import Marks
from facts.vault_access import AppRoles
from operations.config_file import Commands
from operations.owned import Thing, converge, names_of
from operations.vault_object import call, vault_kind

KIND = vault_kind("approle", lambda name: [call("DELETE", f"auth/approle/role/{name}")])


@dataclass(frozen=True)
class Role:
    """What a login by role id and secret id gives."""

    name: str
    policies: Sequence[str]
    token_ttl_s: int
    secret_id_ttl_s: int
    bound_cidrs: Sequence[str] = ()


@operation()
def exactly(roles: list[Role], *, deletions: Sequence[str] = ()) -> Commands:
    """These AppRole roles, and of ours no others.

    Args:
        roles: all that are declared.
        deletions: "approle/<name>" of those that may be deleted.
    """
    marks = host.get_fact(Marks, kind=KIND.name)
    found = host.get_fact(AppRoles, names=names_of([role.name for role in roles], marks))
    yield from converge(KIND, [_thing(role) for role in roles], found, marks, deletions)


def _thing(role: Role) -> Thing:
    policies, cidrs = sorted(role.policies), sorted(role.bound_cidrs)
    shown = {
        "policies": ", ".join(policies),
        "token_ttl": f"{role.token_ttl_s} s",
        "secret_id_ttl": f"{role.secret_id_ttl_s} s",
        "secret_id_needed": "yes",
        "bound_cidrs": ", ".join(cidrs),
    }
    body = {
        "token_policies": policies,
        "token_ttl": role.token_ttl_s,
        "secret_id_ttl": role.secret_id_ttl_s,
        "bind_secret_id": True,
        "token_bound_cidrs": cidrs,
        "secret_id_bound_cidrs": cidrs,
    }
    return Thing(role.name, shown, [call("PUT", f"auth/approle/role/{role.name}", body)])
