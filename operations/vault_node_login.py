"""How nodes log in to Vault: with the certificate that their service shows anyway."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import HiddenValue, operation

from facts.endpoint import Objects
from facts.vault import AuthMethods, Marks
from facts.vault_access import NodeRoles
from operations.config_file import Commands
from operations.owned import Thing, converge, names_of
from operations.vault_cluster import certificates_of, names_in
from operations.vault_object import call, vault_kind
from unterbau.domain.unknown import AfterApply, Unknown

MOUNT = "nodes"
KIND = vault_kind("node-login", lambda name: [call("DELETE", f"auth/{MOUNT}/certs/{name}")])
ROLE = "snapshot"
TOKEN_TTL_S = 120  # for one request


@operation()
def snapshots(authorities: Mapping[str, HiddenValue], *, kept: Mapping[str, HiddenValue] | None = None) -> Commands:
    """The servers of OpenBao may take snapshots, and nothing else, with the certificate of these authorities.

    Args:
        authorities: {how the plan names it: certificate (PEM)}, newest first.
        kept: older ones that stay if they are there.
    """
    methods, marks = host.get_fact(AuthMethods), host.get_fact(Marks, kind=KIND.name)
    found = _found(methods, names_of([ROLE], marks))
    there = found.get(ROLE, {}).get("authorities", "") if isinstance(found, dict) else ""
    still = {name: one for name, one in (kept or {}).items() if certificates_of(one.unmask()) <= certificates_of(there)}
    trusted = {**authorities, **still}
    if isinstance(found, dict):
        found = {name: {**role, "trusts": names_in(role["authorities"], trusted)} for name, role in found.items()}
    yield from converge(KIND, [_thing(trusted)], found, marks, ())


def _found(methods: Objects | Unknown | AfterApply, names: list[str]) -> Objects | Unknown | AfterApply:
    """Roles of a method that is not there are not asked for: a cluster's older policy does not allow it yet."""
    if isinstance(methods, Unknown | AfterApply):
        return methods
    return host.get_fact(NodeRoles, names=names) if MOUNT in methods else {}


def _thing(trusted: Mapping[str, HiddenValue]) -> Thing:
    shown = {
        "names": "openbao",
        "policies": "snapshot",
        "token": "batch",
        "token_ttl": f"{TOKEN_TTL_S} s",
        "trusts": ", ".join(sorted(trusted)),
    }
    body = {
        "certificate": HiddenValue("\n".join(sorted(one.unmask().strip() for one in trusted.values()))),
        "allowed_common_names": ["openbao"],
        "token_policies": ["snapshot"],
        "token_no_default_policy": True,
        "token_type": "batch",
        "token_ttl": TOKEN_TTL_S,
    }
    return Thing(ROLE, shown, [call("PUT", f"auth/{MOUNT}/certs/{ROLE}", body)])
