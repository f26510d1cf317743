"""Who may log in to PostgreSQL, and the databases. A password goes there as a SCRAM verifier, never as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Final, cast

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from facts.postgresql import MARK, NOBODY, Database, DatabaseState, Login, Role, identifier, literal, psql
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain import scram
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, Unknown
from unterbau.secrets.errors import StoreError
from unterbau.secrets.hidden import Hidden

WORDS: Final = {
    "can_login": "LOGIN", "superuser": "SUPERUSER", "create_role": "CREATEROLE", "create_db": "CREATEDB",
    "replication": "REPLICATION", "bypass_rls": "BYPASSRLS", "inherit": "INHERIT",
}  # fmt: skip
NEW: Final = {**dict.fromkeys(WORDS, False), "inherit": True}  # what CREATE ROLE makes
FIXED: Final = {**NEW, "can_login": True}

# Neither logged nor shown to others: what is a role's password to PostgreSQL would be its verifier to the reader.
_SILENT = (
    "SET log_statement = 'none'", "SET log_min_error_statement = 'panic'", "SET log_min_duration_statement = -1",
    "SET log_min_duration_sample = -1", "SET log_transaction_sample_rate = 0", "SET track_activities = off",
    "SET pg_stat_statements.track_utility = off", "SET pgaudit.log = 'none'",
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A login as it should be. ValueError for what PostgreSQL could not be told."""

    role: str
    verifier: Hidden | None
    fingerprint: str | None
    attributes: Mapping[str, bool]
    member_of: Mapping[str, bool]
    databases: Sequence[str]

    @property
    def comment(self) -> str:
        """Our mark, and how the password is known again. The verifier's salt keeps its digest from being guessed at."""
        digest = hashlib.sha256(self.verifier.unmask().encode()).hexdigest() if self.verifier else None
        return f"{MARK} {json.dumps({'password': self.fingerprint, 'verifier': digest})}"


@operation()
def login(  # noqa: PLR0913  # plain values, so that the plan and the cases show them
    role: str,
    *,
    password: HiddenValue | None = None,
    fingerprint: str | None = None,
    create_role: bool = False,
    member_of: Sequence[str] = (),
    administers: Sequence[str] = (),
    databases: Sequence[str] = (),
    port: int = 5432,
) -> Commands:
    """The role `role` logs in with this password, and has these rights; it is no superuser.

    Args:
        password: None leaves it to somebody else, for example to OpenBao's static roles.
        fingerprint: keyed hash of the password, kept in the role's comment to know it again.
        create_role: it makes roles, as OpenBao's database engine does. Before PostgreSQL 16 such a role can get at all
            but superusers, so let it in from few addresses only.
        member_of: roles whose rights it has.
        administers: roles that it may change, OpenBao's static ones.
        databases: which it may connect to.
        port: where the server listens.
    """
    found = host.get_fact(Login, role=role)
    if sentence := _cannot(f"make the login {role!r}", found):
        yield from changes.refuse(sentence)
        return
    try:
        verifier = Hidden(scram.verifier(password.unmask(), token_bytes(scram.SALT_BYTES))) if password else None
        attributes = {**FIXED, "create_role": create_role}
        memberships = dict.fromkeys(member_of, False) | dict.fromkeys(administers, True)
        wanted = Wanted(role, verifier, fingerprint, attributes, memberships, databases)
        statements = _login(None if found == NOBODY else cast(Role | None, found), wanted, asked=found != NOBODY)
    except (ValueError, StoreError) as error:
        yield from changes.refuse(f"cannot make the login {role!r} on {host.name}: {error}")
        return
    if not statements:
        host.noop(f"the login {role} is as declared")
        return
    yield _sent(statements, port, secret=verifier is not None)


def _cannot(what: str, *found: object) -> str | None:
    """Why this cannot be done, as a sentence. A stopped server is started by an earlier step of the same plan."""
    stopped = NOBODY in found and host.state.is_executing
    if stopped or any(isinstance(answer, Unknown) for answer in found):
        reason = "it is stopped" if stopped else "its answer could not be read; see above"
        return f"cannot {what} on {host.name}: PostgreSQL could not be asked, {reason}"
    return None


def _login(found: Role | None, wanted: Wanted, *, asked: bool) -> list[str]:
    """Statements that make the login as wanted, each change said; ValueError if it is not ours to change."""
    name, subject = identifier(wanted.role), f"login {wanted.role}"
    if found is not None and _mark(found["comment"]) is None:
        raise ValueError(
            f"found a role without our mark; rename one of them, or give it over: COMMENT ON ROLE {name} IS '{MARK}'"
        )
    if found is None:
        changes.attribute(subject, None if asked else KNOWN_AFTER_APPLY, "present")
    return [
        *([f"CREATE ROLE {name}"] if found is None else []),
        *_attributes(name, subject, found, wanted),
        *_password(name, subject, found, wanted),
        *_memberships(name, subject, found, wanted),
        *_databases(name, subject, found, wanted),
    ]


def _attributes(name: str, subject: str, found: Role | None, wanted: Wanted) -> Iterator[str]:
    present: Mapping[str, Any] = found or NEW
    differing = {key: has for key, has in wanted.attributes.items() if present[key] != has}
    for key, has in differing.items():
        if found is not None or has != NEW[key]:
            changes.attribute(f"{subject} {key}", None if found is None else present[key], has)
    words = [("" if has else "NO") + WORDS[key] for key, has in differing.items()]
    if found is not None and found["valid_until"] not in (None, "infinity"):
        changes.attribute(f"{subject} valid until", found["valid_until"], "for ever")
        words.append("VALID UNTIL 'infinity'")
    if words:
        yield f"ALTER ROLE {name} {' '.join(words)}"


def _password(name: str, subject: str, found: Role | None, wanted: Wanted) -> Iterator[str]:
    """Another password if the stored one is another, or if somebody changed it by hand."""
    mark = (_mark(found["comment"]) if found is not None else None) or {}
    if wanted.verifier is None:
        if mark.get("password", "") is not None:  # no mark of this kind yet
            if found is not None:
                changes.attribute(f"{subject} password", "the store's", "as OpenBao sets it")
            yield f"COMMENT ON ROLE {name} IS {literal(wanted.comment)}"
        return
    there = found["verifier_sha256"] if found is not None else None
    as_stored, as_set = mark.get("password") == wanted.fingerprint, there is not None and mark.get("verifier") == there
    if as_stored and as_set:
        return
    old = None if there is None else "an older one" if as_set else "another one, set by hand"
    changes.attribute(f"{subject} password", old, "the store's")
    yield f"ALTER ROLE {name} PASSWORD {literal(wanted.verifier.unmask())}"
    yield f"COMMENT ON ROLE {name} IS {literal(wanted.comment)}"


def _memberships(name: str, subject: str, found: Role | None, wanted: Wanted) -> Iterator[str]:
    """Those declared; more than these only if it is none of PostgreSQL's own, which reach beyond the databases."""
    present = found["member_of"] if found is not None else {}
    words = {None: None, False: "member", True: "administrator"}
    for role, admin in wanted.member_of.items():
        if present.get(role) in (None, not admin):
            changes.attribute(f"{subject} in {role}", words[present.get(role)], words[admin])
            yield f"GRANT {identifier(role)} TO {name}{' WITH ADMIN OPTION' if admin else ''}"
            if present.get(role) and not admin:
                yield f"REVOKE ADMIN OPTION FOR {identifier(role)} FROM {name}"
    for role in sorted(role for role in present if role.startswith("pg_") and role not in wanted.member_of):
        changes.attribute(f"{subject} in {role}", words[present[role]], None)
        yield f"REVOKE {identifier(role)} FROM {name}"


def _databases(name: str, subject: str, found: Role | None, wanted: Wanted) -> Iterator[str]:
    present = set(found["databases"] if found is not None else [])
    for database in sorted({*wanted.databases} - present):
        changes.attribute(f"{subject} on database {database}", None, "may connect")
        yield f"GRANT CONNECT ON DATABASE {identifier(database)} TO {name}"
    for database in sorted(present - {*wanted.databases}):
        changes.attribute(f"{subject} on database {database}", "may connect", None)
        yield f"REVOKE CONNECT ON DATABASE {identifier(database)} FROM {name}"


def _mark(comment: str | None) -> dict[str, Any] | None:
    """What our comment says; {} if it only marks, None if it is not ours."""
    word, _, rest = (comment or "").partition(" ")
    if word != MARK:
        return None
    try:
        said = json.loads(rest or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _sent(statements: Sequence[str], port: int, *, secret: bool) -> StringCommand:
    """All or nothing. What holds a verifier goes on stdin: if the connection breaks, nothing was committed."""
    if not secret:
        return StringCommand(f"cd /; {psql('; '.join(statements), str(int(port)))}")
    script = ";\n".join([*_SILENT, "BEGIN", *statements, "COMMIT"]) + ";\n"
    return StringCommand(f"cd /; {psql(port=str(int(port)))}", _stdin=script)


@operation()
def database(database: str, *, owner: str, port: int = 5432) -> Commands:
    """The database `database` is there and belongs to `owner`, a role of ours; nobody is let into it unnamed.

    It is never deleted here. The mark is its owner's.
    """
    found, role = host.get_fact(Database, database=database), host.get_fact(Login, role=owner)
    if sentence := _cannot(f"make the database {database!r}", found, role):
        yield from changes.refuse(sentence)
        return
    asked = NOBODY not in (found, role)
    try:
        statements = _database(
            cast(DatabaseState | None, found if asked else None), cast(Role | None, role if asked else None),
            database, owner, asked=asked,
        )  # fmt: skip
    except ValueError as error:
        yield from changes.refuse(f"cannot make the database {database!r} on {host.name}: {error}")
        return
    if not statements:
        host.noop(f"the database {database} belongs to {owner}")
    yield from (_sent([statement], port, secret=False) for statement in statements)


def _database(found: DatabaseState | None, role: Role | None, database: str, owner: str, *, asked: bool) -> list[str]:
    """Statements one by one: CREATE DATABASE stands alone. The owner comes first, in one step with its mark."""
    name, of = identifier(database), identifier(owner)
    if found is not None and _mark(found["owner_comment"]) is None:
        raise ValueError(f"found one of {found['owner']}, who has not our mark; rename one of them")
    if role is not None and _mark(role["comment"]) is None:
        raise ValueError(f"found a role {owner} without our mark; rename it, or COMMENT ON ROLE {of} IS '{MARK}'")
    statements, unknown = [], None if asked else KNOWN_AFTER_APPLY
    if role is None:
        changes.attribute(f"role {owner}", unknown, "present, owner, no login")
        statements.append(f"CREATE ROLE {of} NOLOGIN; COMMENT ON ROLE {of} IS {literal(MARK)}")
    if found is None:
        changes.attribute(f"database {database}", unknown, f"present, of {owner}")
        statements.append(f"CREATE DATABASE {name} OWNER {of} ENCODING 'UTF8' TEMPLATE template0")
    elif found["owner"] != owner:
        changes.attribute(f"database {database} owner", found["owner"], owner)
        statements.append(f"ALTER DATABASE {name} OWNER TO {of}")
    if found is None or found["public"]:
        changes.attribute(f"database {database} open to", None if found is None else "everybody", "named roles")
        statements.append(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    return statements
