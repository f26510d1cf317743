"""PostgreSQL on the nodes of the group `postgresql`: the server, its databases, who may log in."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from deploys import pki
from deploys.secrets import keyring
from operations import package, postgresql_role
from operations import postgresql as server
from unterbau.declaration.postgresql import PostgresqlLogin, PostgresqlServer

USER = "postgres"  # Debian's


@deploy("postgresql")
def postgresql() -> None:
    """After the roots. The engine's logins come later, with `engine_logins`."""
    declared: PostgresqlServer = host.data.postgresql_server
    package.installed(names=["openssl", "postgresql"], name="packages")
    leaf = pki.leaf(service="postgresql", user=USER, group=USER)
    server.server(
        address=str(host.data.node.address),
        network=str(host.data.network.cidr),
        port=declared.port,
        restricted={login.name: vault_addresses() for login in declared.logins if login.create_roles},
        certificate_changes=leaf.will_change,
        name="server",
        _serial=True,
    )
    for name in declared.databases:
        postgresql_role.database(database=name, owner=name, port=declared.port, name=f"database {name}")
    for name in declared.static_users:
        postgresql_role.login(role=name, databases=declared.databases, port=declared.port, name=f"login {name}")
    for login in declared.logins:
        if not login.create_roles:
            _login(login, declared)


@deploy("postgresql engine")
def engine_logins() -> None:
    """Right before OpenBao's connections: what it logs in with changes at both ends within one step."""
    declared: PostgresqlServer = host.data.postgresql_server
    for login in declared.logins:
        if login.create_roles:
            _login(login, declared)


def _login(login: PostgresqlLogin, declared: PostgresqlServer) -> None:
    """An engine's user has the rights of the databases' owners, to pass on, and changes the static users."""
    password = keyring().value(login.password.name)
    postgresql_role.login(
        role=login.name,
        password=password,
        fingerprint=keyring().keyed_hash(f"postgresql/{host.data.node.name}/{login.name}", password.unmask()),
        create_role=login.create_roles,
        member_of=declared.databases if login.create_roles else (),
        administers=declared.static_users if login.create_roles else (),
        databases=declared.databases,
        port=declared.port,
        name=f"login {login.name}",
    )


def vault_addresses() -> list[str]:
    """Addresses of the members of every Vault endpoint, also outside a --limit."""
    groups = {str(one.data.vault.members) for one in inventory if one.data.get("vault")}
    return sorted({str(one.data.node.address) for group in groups for one in inventory.get_group(group)})
