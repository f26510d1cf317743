"""Rules about endpoints, secrets, Vault and PostgreSQL: what is named exists, and nothing locks itself out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.endpoint import SecretStore, VaultEndpoint
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.postgresql import PostgresqlServer
from unterbau.declaration.problems import Inert, Problem
from unterbau.declaration.rules_cloud import cloud_secrets
from unterbau.declaration.rules_k3s import k3s_secrets
from unterbau.declaration.rules_kubernetes import kubernetes_secrets
from unterbau.declaration.rules_s3 import s3_secrets
from unterbau.declaration.secret import CertificateAuthority, Pki, Secret, SecretRef, secrets_of
from unterbau.declaration.storage import S3Endpoint
from unterbau.declaration.vault import (
    OURS,
    KubernetesAuth,
    KvEntry,
    VaultDatabase,
    VaultServer,
    VaultStaticRole,
)
from unterbau.declaration.view import View

POSTGRESQL = "postgresql"


def _of(view: View, kind: type[Any]) -> list[Any]:
    """Valid endpoints of a kind."""
    return [one for one in view.endpoints if isinstance(one, kind) and view.collector.valid(one)]


def _secrets(view: View) -> dict[str, Secret]:
    """By name, also those with a problem of their own: whoever names one of these has made no mistake."""
    every = (*view.data.values(), *view.endpoint_data.values())
    return {str(secret.name): secret for data in every for secret in _tuples_only(data)}


def _tuples_only(data: Any) -> tuple[Secret, ...]:
    whole = {name: value for name, value in data.items() if isinstance(value, tuple)}
    return tuple(secret for secret in secrets_of(whole) if isinstance(secret, Secret))


def endpoints_once(view: View) -> Iterator[Problem]:
    """An endpoint's name is nobody else's; there is one store at most, and one cluster of Vault."""
    taken: dict[str, Declaration] = {str(node.name): node for node in view.nodes}
    first: dict[type, Declaration] = {}
    for one in view.endpoints:
        if (other := taken.setdefault(one.name, one)) is not one:
            yield view.at(one, "name", f"{one.name!r} again", f"a name of its own ({view.where(other)} has it)")
        if one.name in view.groups:  # --limit would mean both
            yield view.at(one, "name", f"{one.name!r}, a group of nodes", "a name of its own")
        if not isinstance(one, S3Endpoint) and (other := first.setdefault(type(one), one)) is not one:
            yield view.at(one, "name", f"a second {type(one).__name__}", f"one ({view.where(other)})")


def vault_members(view: View) -> Iterator[Problem]:
    """Raft majority, n//2+1: an even member adds a vote to win and no loss to survive. Source: etcd FAQ."""
    for vault in _of(view, VaultEndpoint) if view.inventory.complete else ():
        members = view.groups.get(vault.members)
        if members is None:
            yield view.at(vault, "members", repr(vault.members), f"a group of nodes{near(vault.members, view.groups)}")
        elif members and len(members) % 2 == 0:  # a pool's are there after the cloud stage
            yield view.at(vault, "members", f"{len(members)} members", "an odd number of members")


def vault_needs(view: View) -> Iterator[Problem]:
    """The layers of an endpoint read these names; the store's secrets come first."""
    vaults, wanted = _of(view, VaultEndpoint), []
    if vaults and not _of(view, SecretStore) and view.inventory.complete:
        yield view.at(vaults[0], "name", "no SecretStore", "endpoints(SecretStore(…)) in a group of the inventory too")
    if vaults:
        wanted += ["vault_server", "pki"]
    if view.groups.get(POSTGRESQL):
        wanted += ["postgresql_server", "pki"]
        if not vaults and not _of(view, SecretStore) and view.inventory.complete:
            yield view.here(POSTGRESQL, "no SecretStore", "endpoints(SecretStore(…)) in a group of the inventory")
    for name in dict.fromkeys(wanted) if view.readable else ():
        if not view.anywhere(name):
            allowed = f"{name} in group_data/all.py or group_data/{view.inventory.path.stem}.py"
            yield view.here(name, "nothing for all nodes", allowed)


def secrets_once(view: View) -> Iterator[Problem]:
    """A secret is declared once: two generators would fight over one value."""
    first: dict[str, Secret] = {}
    for data in view.data.values():
        for secret in _tuples_only(data):
            other = first.setdefault(str(secret.name), secret)
            if other is not secret and view.collector.valid(secret):
                allowed = f"each secret once (it is at {view.where(other)})"
                yield view.at(secret, "name", f"{secret.name!r} again", allowed)


def secrets_there(view: View) -> Iterator[Problem]:
    """Every name of a secret is one that is declared."""
    known = _secrets(view)
    for thing, field, name in _names_of_secrets(view):
        if name not in known:
            yield view.at(thing, field, repr(name), f"a name under `secrets` or `secrets_…`{near(name, known)}")


def _names_of_secrets(view: View) -> Iterator[tuple[Declaration, str, str]]:
    for data in view.data.values():
        for one in data.values():
            if isinstance(one, Declaration) and view.collector.valid(one):
                yield from _named_by(one)
    for entry in view.each("vault_kv"):
        yield from ((entry, f"fields[{field}]", ref.name) for field, ref in entry.fields.items())
    yield from ((one, "password", one.password.name) for one in view.each("vault_databases"))
    yield from s3_secrets(view)
    yield from k3s_secrets(view)
    yield from kubernetes_secrets(view)
    yield from cloud_secrets(view)


def _named_by(one: Declaration) -> Iterator[tuple[Declaration, str, str]]:
    match one:
        case Pki():
            yield one, "root", one.root
        case VaultServer():
            yield from ((one, "seal_key", one.seal_key), (one, "deployers", one.deployers))
        case KubernetesAuth() if one.ca:
            yield one, "ca", one.ca
        case PostgresqlServer():
            yield from ((login, "password", login.password.name) for login in one.logins if _is_ref(login.password))


def _is_ref(value: object) -> bool:
    return isinstance(value, SecretRef)


def authorities_are_authorities(view: View) -> Iterator[Problem]:
    """What signs has to be an authority."""
    known = _secrets(view)
    for thing, field, name in _names_of_secrets(view):
        secret, signs = known.get(name), (type(thing), field) in {(Pki, "root"), (VaultServer, "deployers")}
        if signs and secret is not None and not isinstance(secret.kind, CertificateAuthority | Inert):
            yield view.at(thing, field, f"{name!r}, which is none", "a secret of the kind CertificateAuthority(…)")


def names_once(view: View) -> Iterator[Problem]:
    """Objects of Vault are known by name."""
    for data_name in (
        "vault_policies",
        "vault_approles",
        "vault_databases",
        "vault_database_roles",
        "vault_static_roles",
    ):
        for again in repeated(view.each(data_name), lambda one: one.name):
            yield view.at(again, "name", f"{again.name!r} again", "each name once")
    for again in repeated(view.each("vault_mounts"), lambda one: one.path):
        yield view.at(again, "path", f"{again.path!r} again", "each path once")
    for again in repeated(view.each("vault_kv"), lambda one: (one.mount, one.path)):
        yield view.at(again, "path", f"{again.mount}/{again.path} again", "each entry once")
    both = [*view.each("vault_database_roles"), *view.each("vault_static_roles")]
    for again in repeated(both, lambda one: one.name):
        if isinstance(again, VaultStaticRole):
            yield view.at(again, "name", f"{again.name!r} again", "a name that no VaultDatabaseRole has")


def ours_left_alone(view: View) -> Iterator[Problem]:
    """The platform's own policy and mounts are not the environment's to declare."""
    for policy in view.each("vault_policies"):
        if policy.name in (*OURS, "default", "root"):
            yield view.at(
                policy, "name", repr(policy.name), "another name: this one is the platform's or OpenBao's own"
            )
    for mount in view.each("vault_mounts"):
        if mount.path in (*OURS, "sys", "identity", "cubbyhole", "auth"):
            yield view.at(mount, "path", repr(mount.path), "another path: this one is the platform's or OpenBao's own")


def mounts_there(view: View) -> Iterator[Problem]:
    """Entries and connections are in a mount of their kind."""
    mounts = {mount.path: mount.kind for mount in view.each("vault_mounts")}
    wanted: list[tuple[KvEntry | VaultDatabase, str]] = [(entry, "kv") for entry in view.each("vault_kv")]
    wanted += [(connection, "database") for connection in view.each("vault_databases")]
    for thing, kind in wanted:
        if mounts.get(thing.mount) != kind:
            there = [path for path, of in mounts.items() if of == kind]
            allowed = f"a VaultMount of the kind {kind!r}: {', '.join(there) or 'none'}{near(thing.mount, there)}"
            yield view.at(thing, "mount", repr(thing.mount), allowed)


def policies_there(view: View) -> Iterator[Problem]:
    """A role's policies are declared: one that is missing gives nothing, silently."""
    known = ["default", *view.names("vault_policies")]
    kubernetes = [one for one, _ in view.values("vault_kubernetes")]
    roles = [*view.each("vault_approles"), *(role for one in kubernetes for role in one.roles)]
    for role in roles:
        for name in role.policies:
            if name not in known:
                yield view.at(role, "policies", repr(name), f"one of {', '.join(known)}{near(name, known)}")


def connections_there(view: View) -> Iterator[Problem]:
    """Database roles have a connection, and its own user is under no static role."""
    connections = {one.name: one for one in view.each("vault_databases")}
    for role in [*view.each("vault_database_roles"), *view.each("vault_static_roles")]:
        connection = connections.get(role.connection)
        if connection is None:
            allowed = f"a VaultDatabase: {', '.join(connections) or 'none'}{near(role.connection, connections)}"
            yield view.at(role, "connection", repr(role.connection), allowed)
        elif isinstance(role, VaultStaticRole) and role.username == connection.username:
            found = f"{role.username!r}, whom the engine logs in as"
            allowed = "another user: rotating this one would lock the engine out"
            yield view.at(role, "username", found, allowed)


def database_hosts_there(view: View) -> Iterator[Problem]:
    """PostgreSQL is ours to make on the nodes of its group."""
    nodes = view.groups.get(POSTGRESQL, ())
    for connection in view.each("vault_databases") if view.inventory.complete else ():
        if connection.host not in nodes:
            allowed = f"a node of the group {POSTGRESQL}: {_list(nodes)}{near(connection.host, nodes)}"
            yield view.at(connection, "host", repr(connection.host), allowed)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


vault_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    endpoints_once, vault_members, vault_needs, secrets_once, secrets_there, authorities_are_authorities, names_once,
    ours_left_alone, mounts_there, policies_there, connections_there, database_hosts_there,
)  # fmt: skip
