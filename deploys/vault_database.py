"""OpenBao's database engine: connections and roles, on the endpoint. Whom it logs in as is PostgreSQL's to make."""

from __future__ import annotations

from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploys.secrets import keyring
from operations import vault_database as engine
from unterbau.declaration.vault import VaultDatabase


@deploy("vault database")
def connections_and_roles() -> None:
    """On the endpoint's host."""
    deletions = _declared("vault_deletions")
    databases = {database.name: database for database in _declared("vault_databases")}
    engine.connections(
        connections={_path(one, one.name): _connection(one) for one in databases.values()},
        deletions=deletions,
        name="connections",
    )
    engine.roles(
        roles={
            _path(databases[role.connection], role.name): engine.Role(
                connection=role.connection,
                database=databases[role.connection].database,
                grants=role.grants,
                ttl_minutes=role.ttl_minutes,
                max_ttl_hours=role.max_ttl_hours,
            )
            for role in _declared("vault_database_roles")
        },
        deletions=deletions,
        name="roles",
    )
    engine.static_roles(
        static_roles={
            _path(databases[role.connection], role.name): engine.StaticRole(
                connection=role.connection,
                username=role.username,
                engine_username=databases[role.connection].username,
                rotate_after_days=role.rotate_after_days,
            )
            for role in _declared("vault_static_roles")
        },
        deletions=deletions,
        name="static roles",
    )


def _connection(one: VaultDatabase) -> engine.Connection:
    password = keyring().value(one.password.name)
    roles = [*_declared("vault_database_roles"), *_declared("vault_static_roles")]
    return engine.Connection(
        host=f"{one.host}.{host.data.network.domain}",
        port=one.port,
        database=one.database,
        username=one.username,
        password=password,
        fingerprint=keyring().keyed_hash(f"vault/{one.mount}/config/{one.name}", password.unmask()),
        roles=[role.name for role in roles if role.connection == one.name],
    )


def _path(database: VaultDatabase, name: str) -> str:
    return f"{database.mount}/{name}"


def _declared(name: str) -> Any:
    return host.data.get(name) or ()
