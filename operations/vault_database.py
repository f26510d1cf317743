"""OpenBao's database engine on PostgreSQL: connections, roles whose credentials end with their lease, static roles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypedDict
from urllib.parse import quote

from pyinfra import host
from pyinfra.api import HiddenValue, operation

from facts.certificate import BUNDLE
from facts.endpoint import Objects
from facts.postgresql import identifier
from facts.vault import Marks
from facts.vault_database import Connections, Roles, StaticRoles
from operations.config_file import Commands
from operations.owned import Kind, Thing, converge, names_of
from operations.vault_object import call, vault_kind
from unterbau import changes
from unterbau.domain.unknown import AfterApply, Unknown

PLUGIN = "postgresql-database-plugin"
AUTHENTICATION = "scram-sha-256"  # the plugin sends verifiers: PostgreSQL, and its log, never see a password
SESSION = "60s"  # a session of the engine that was opened with an earlier password is closed after this
PLAIN = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"  # the plugin cuts statements at every ';' and fills names in without quoting

CREATION = """\
CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'
GRANT "{{name}}" TO CURRENT_USER
GRANT CONNECT ON DATABASE %s TO "{{name}}\""""

# Drops the role whatever it left behind: sessions end, what it owns goes to the database's owner, then rights and role.
# A second time it finds nothing to do. The engine is a member of every role that it made, or it could not.
REVOCATION = """\
DO $$
DECLARE
  gone CONSTANT name := '{{name}}';
  heir CONSTANT name := (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database());
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = gone) THEN RETURN; END IF;
  EXECUTE format('ALTER ROLE %I NOLOGIN', gone);
  PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = gone;
  EXECUTE format('REASSIGN OWNED BY %I TO %I', gone, heir);
  EXECUTE format('DROP OWNED BY %I', gone);
  EXECUTE format('DROP ROLE %I', gone);
END $$"""


class Connection(TypedDict):
    """A database as the engine reaches it."""

    host: str  # the name that its certificate has
    port: int
    database: str
    username: str
    password: HiddenValue
    fingerprint: str  # keyed hash of the password
    roles: Sequence[str]  # dynamic and static ones, no others may use it


class Role(TypedDict):
    """Credentials made on request."""

    connection: str
    database: str
    grants: Sequence[str]  # SQL statements with "{{name}}"
    ttl_minutes: int
    max_ttl_hours: int


class StaticRole(TypedDict):
    """A user whose password the engine changes."""

    connection: str
    username: str
    engine_username: str  # whom the connection logs in as
    rotate_after_days: int


CONNECTION = vault_kind("database-connection", lambda name: [call("DELETE", _path(name, "config"))])
ROLE = vault_kind("database-role", lambda name: [call("DELETE", _path(name, "roles"))])
STATIC_ROLE = vault_kind("database-static-role", lambda name: [call("DELETE", _path(name, "static-roles"))])


def _path(name: str, folder: str) -> str:
    mount, _, own = name.rpartition("/")
    return f"{mount}/{folder}/{own}"


@operation()
def connections(connections: Mapping[str, Connection], *, deletions: Sequence[str] = ()) -> Commands:
    """These connections, and of ours no others. A password that PostgreSQL refuses is not taken over.

    Where its password changes, PostgreSQL's own step comes right before. Between the two, sessions that the engine has
    open go on working; requests that need a new one fail, and may be made again. If the run is killed there, the next
    one finds PostgreSQL as declared and writes the password here.

    Args:
        connections: {mount/name: connection}.
        deletions: "database-connection/<mount/name>" of those that may be deleted.
    """
    names = {name: (name, connection["username"]) for name, connection in connections.items()}
    if sentence := _not_plain(CONNECTION, names):
        yield from changes.refuse(sentence)
        return
    things = [_connection(name, one) for name, one in connections.items()]
    marks = host.get_fact(Marks, kind=CONNECTION.name)
    found = _by_mount(names_of(connections, marks), partial(host.get_fact, Connections))
    yield from converge(CONNECTION, things, found, marks, deletions)


def _connection(name: str, one: Connection) -> Thing:
    place = f"{one['host']}:{int(one['port'])}/{quote(one['database'], safe='')}"
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@{place}?sslmode=verify-full&sslrootcert={BUNDLE}"
    attributes = {
        "plugin": PLUGIN,
        "url": url,
        "username": one["username"],
        "roles": ", ".join(sorted(one["roles"])),
        "authentication": AUTHENTICATION,
        "session": SESSION,
    }
    body = {
        "plugin_name": PLUGIN,
        "connection_url": url,
        "username": one["username"],
        "password": one["password"],
        "allowed_roles": sorted(one["roles"]),
        "password_authentication": AUTHENTICATION,
        "max_connection_lifetime": SESSION,
    }
    return Thing(name, attributes, [call("PUT", _path(name, "config"), body)], one["fingerprint"])


@operation()
def roles(roles: Mapping[str, Role], *, deletions: Sequence[str] = ()) -> Commands:
    """These roles, and of ours no others: each request makes a user of PostgreSQL that ends with its lease.

    Args:
        roles: {mount/name: role}.
        deletions: "database-role/<mount/name>" of those that may be deleted; credentials they gave are then dropped as
            far as the plugin's own statements can: revoke their leases first.
    """
    names = {name: (name, role["connection"], role["database"]) for name, role in roles.items()}
    if sentence := _not_plain(ROLE, names) or _several(roles):
        yield from changes.refuse(sentence)
        return
    marks = host.get_fact(Marks, kind=ROLE.name)
    found = _by_mount(names_of(roles, marks), partial(host.get_fact, Roles))
    yield from converge(ROLE, [_role(name, one) for name, one in roles.items()], found, marks, deletions)


def _several(roles: Mapping[str, Role]) -> str | None:
    for name, role in roles.items():
        for grant in role["grants"]:
            if ";" in grant:
                return (
                    f"cannot make the database role {name}: found {grant!r}; give each statement by itself, without ';'"
                )
    return None


def _role(name: str, one: Role) -> Thing:
    creation = [*(CREATION % identifier(one["database"])).splitlines(), *one["grants"]]
    ttl_s, max_ttl_s = int(one["ttl_minutes"]) * 60, int(one["max_ttl_hours"]) * 3600
    attributes = {
        "connection": one["connection"],
        "ttl": f"{ttl_s} s",
        "max_ttl": f"{max_ttl_s} s",
        "creation": "\n".join(creation),
        "revocation": REVOCATION,
    }
    body = {
        "db_name": one["connection"],
        "default_ttl": ttl_s,
        "max_ttl": max_ttl_s,
        "creation_statements": creation,
        "revocation_statements": [REVOCATION],
    }
    return Thing(name, attributes, [call("PUT", _path(name, "roles"), body)])


@operation()
def static_roles(static_roles: Mapping[str, StaticRole], *, deletions: Sequence[str] = ()) -> Commands:
    """These static roles, and of ours no others. The engine sets the user's password at once, and then every period.

    The engine's own user is refused: with its password changed under it, the engine locks itself out.

    Args:
        static_roles: {mount/name: static role}.
        deletions: "database-static-role/<mount/name>" of those that may be deleted; the password stays as it is.
    """
    names = {name: (name, one["connection"], one["username"]) for name, one in static_roles.items()}
    if sentence := _not_plain(STATIC_ROLE, names) or _own_user(static_roles):
        yield from changes.refuse(sentence)
        return
    marks = host.get_fact(Marks, kind=STATIC_ROLE.name)
    found = _by_mount(names_of(static_roles, marks), partial(host.get_fact, StaticRoles))
    things = [_static_role(name, one) for name, one in static_roles.items()]
    yield from converge(STATIC_ROLE, things, found, marks, deletions)


def _own_user(static_roles: Mapping[str, StaticRole]) -> str | None:
    for name, one in static_roles.items():
        if one["username"] == one["engine_username"]:
            return (
                f"cannot put {one['username']} under the static role {name}: found that the connection"
                f" {one['connection']} logs in as this user, and would be locked out; declare another username"
            )
    return None


def _static_role(name: str, one: StaticRole) -> Thing:
    period_s = int(one["rotate_after_days"]) * 86400
    rotation = f"ALTER ROLE {identifier(one['username'])} PASSWORD '{{{{password}}}}'"
    attributes = {
        "connection": one["connection"],
        "username": one["username"],
        "period": f"{period_s} s",
        "rotation": rotation,
    }
    body = {
        "db_name": one["connection"],
        "username": one["username"],
        "rotation_period": period_s,
        "rotation_statements": [rotation],
    }
    return Thing(name, attributes, [call("PUT", _path(name, "static-roles"), body)])


def _not_plain(kind: Kind, names: Mapping[str, Iterable[str]]) -> str | None:
    for name, parts in names.items():
        for part in parts:
            wrong = next((word for word in part.split("/") if not re.fullmatch(PLAIN, word)), None)
            if wrong is not None:
                return f"cannot make the {kind.name} {name!r}: found {wrong!r}; use letters, digits, '_' and '-' only"
    return None


def _by_mount(
    names: Sequence[str], read: Callable[..., Objects | Unknown | AfterApply]
) -> Objects | Unknown | AfterApply:
    """The objects of all mounts, each as mount/name; not known if those of one mount are not."""
    found: Objects = {}
    for mount in sorted({name.rpartition("/")[0] for name in names}):
        own = [name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == mount]
        answer = read(mount=mount, names=own)
        if isinstance(answer, Unknown | AfterApply):
            return answer
        found |= {f"{mount}/{name}": one for name, one in answer.items()}
    return found
