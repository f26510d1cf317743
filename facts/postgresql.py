"""A node's PostgreSQL: Debian's cluster `main`, its settings, logins and databases. No password or verifier is read."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterable
from typing import Any, Final, Literal, TypedDict, cast

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import override

from facts.certificate import HANDSHAKE_S, WITHOUT_AUTHORITIES, path_of
from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown

LEAF = path_of("postgresql")
NOBODY: Final = "stopped"  # who does not run cannot be asked
MARK = "unterbau"  # the comment of what is ours begins with this word


class Setting(TypedDict):
    """One parameter in force."""

    value: str
    source: str | None  # the file that it comes from; None for a default or a command line
    context: str  # postmaster, sighup, …: what it takes to change it


class Running(TypedDict):
    """What a running server says of itself."""

    settings: dict[str, Setting]
    loaded_s: float  # when it read its files last, seconds since 1970
    pending_restart: list[str]  # parameters whose new value waits for a restart
    errors: list[str]  # "FILE:LINE: what is wrong" in files that it would read
    public_databases: list[str]  # which anybody may connect to


class Cluster(TypedDict):
    """The cluster `main`. `running` is None, and `error` says why, if nobody answers."""

    versions: list[str]  # of all clusters called main; [] if PostgreSQL is not there
    active: str  # the unit's state, in systemd's words
    enabled: bool  # at boot
    files: dict[str, FileState]  # our drop-in and pg_hba.conf
    changed_s: dict[str, float]  # when the leaf changed last; {} if it is absent
    now_s: float  # the node's clock while this was read
    leaf: str | None  # sha256 of the certificate in the leaf's file
    served: str | None  # sha256 of the certificate that the server shows
    running: Running | None
    error: str | None


class Role(TypedDict):
    """One role. The digest is of the verifier, whose salt never leaves the node."""

    can_login: bool
    superuser: bool
    create_role: bool
    create_db: bool
    replication: bool
    bypass_rls: bool
    inherit: bool
    valid_until: str | None
    verifier_sha256: str | None  # None without a password
    comment: str | None
    member_of: dict[str, bool]  # role -> whether with ADMIN OPTION
    databases: list[str]  # which it was let into by name


class DatabaseState(TypedDict):
    """One database."""

    owner: str
    owner_comment: str | None
    public: bool  # whether everybody may connect


def literal(text: str) -> str:
    """An SQL literal, whatever the server's standard_conforming_strings. Source: libpq, PQescapeLiteral."""
    if "\0" in text:
        raise ValueError("found a text with a NUL; PostgreSQL takes none")
    doubled = text.replace("'", "''")
    return " E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else f"'{doubled}'"


def identifier(name: str) -> str:
    """A quoted SQL name. PostgreSQL would cut one of more than 63 bytes in silence."""
    if "\0" in name or not 1 <= len(name.encode()) <= 63:
        raise ValueError(f"found the name {name!r}; one of PostgreSQL has 1 to 63 bytes and no NUL")
    return '"' + name.replace('"', '""') + '"'


# Sets $versions, $active, $port. The port is the running server's own: its file may say another one by now.
CLUSTER = """\
set -e; cd /
versions=; active=inactive; port=
if command -v pg_lsclusters >/dev/null; then
rows=$(pg_lsclusters --no-header)
versions=$(printf '%s\\n' "$rows" | awk '$2 == "main" { print $1 }' | paste -s -d ' ' -)
fi
case $versions in
''|*' '*) ;;
*) active=$(systemctl show --value -p ActiveState "postgresql@$versions-main.service")
data=$(printf '%s\\n' "$rows" | awk '$2 == "main" { print $6 }')
if [ "$active" = active ]; then port=$(sed -n 4p "$data/postmaster.pid"); fi ;;
esac
"""


def psql(sql: str | None = None, port: str = '"$port"') -> str:
    """Shell text that runs SQL (None: standard input) as the server's superuser, over its socket.

    `port` is shell text; after CLUSTER it is the running server's.

    Errors are terse: in their long form they repeat the statement.
    """
    what = "-f -" if sql is None else f"-c {shlex.quote(sql)}"
    return f"runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -v VERBOSITY=terse -p {port} -d postgres {what}"


# What is wrong in the files on the disk, whether they were read or not; what waits for a restart is no error.
FILE_ERRORS = """\
SELECT sourcefile || ':' || sourceline || ': ' || error AS said FROM pg_file_settings WHERE error IS NOT NULL
AND error <> 'setting could not be applied'
UNION ALL SELECT 'pg_hba.conf:' || line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL"""

_SERVER = """\
SELECT json_build_object(
'settings', (SELECT coalesce(json_object_agg(name, json_build_object('value', setting, 'source', sourcefile,
'context', context) ORDER BY name), '{}') FROM pg_settings WHERE name IN (%s)),
'loaded_s', extract(epoch FROM pg_conf_load_time()),
'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart),
'errors', (SELECT coalesce(json_agg(said), '[]') FROM (ERRORS) e),
'public_databases', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database d WHERE datallowconn
AND EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0
AND privilege_type = 'CONNECT')))""".replace("ERRORS", FILE_ERRORS)


# the certificate only: the key, in the same file, stays where it is
_DIGEST = f"{WITHOUT_AUTHORITIES} openssl x509 -noout -fingerprint -sha256 2>/dev/null"


def served(port: str = '"$port"') -> str:
    """Shell text that prints the digest of the certificate that the server shows; it fails if there is none."""
    ask = f"{WITHOUT_AUTHORITIES} timeout {HANDSHAKE_S} openssl s_client -connect localhost:{port} -starttls postgres"
    return f"{ask} </dev/null 2>/dev/null | {_DIGEST}"


def in_leaf() -> str:
    """Shell text that prints the digest of the certificate in the leaf's file; it fails if there is none."""
    return f"{_DIGEST} -in {LEAF}"


class State(FactBase[Cluster | Unknown]):
    """The cluster `main`, its files, and these `settings` in force."""

    @override
    @staticmethod
    def default() -> Cluster | Unknown:
        return UNKNOWN

    @override
    def command(self, settings: Iterable[str]) -> str:
        sql = _SERVER % ", ".join(literal(name) for name in sorted(settings))
        files = reading(["FOLDER/conf.d/unterbau.conf", "FOLDER/pg_hba.conf"]).replace("FOLDER", '"$folder"')
        return (
            f"{CLUSTER}"
            'echo "cluster $active $versions"; date +"now %s.%N"\n'
            'echo "enabled $(systemctl show --value -p UnitFileState postgresql.service)"\n'
            f"! test -e {LEAF} || find {LEAF} -maxdepth 0 -printf 'changed %p %C@\\n'\n"
            "case $versions in ''|*' '*) exit 0;; esac\n"
            f"folder=/etc/postgresql/$versions/main; {files}\n"
            f'if said=$({in_leaf()}); then echo "leaf $said"; fi\n'
            'if [ "$active" != active ]; then exit 0; fi\n'
            f'if said=$({served()}); then echo "served $said"; fi\n'
            f'if said=$({psql(sql)} 2>&1); then echo "running $said"; else echo "$said" | sed "s/^/error /"; fi'
        )

    @override
    def process(self, output: list[str]) -> Cluster | Unknown:
        said: dict[str, list[str]] = {}
        for line in output:
            subject, _, rest = line.partition(" ")
            subject, rest = ("file", line) if line.startswith("/") else (subject, rest)
            said.setdefault(subject, []).append(rest)
        try:
            return _cluster(said)
        except (KeyError, IndexError, ValueError) as error:
            raise FactProcessError(f"cannot read the state of PostgreSQL: {error!r}") from error


def _cluster(said: dict[str, list[str]]) -> Cluster:
    active, *versions = said["cluster"][0].split()
    changed = dict(line.split() for line in said.get("changed", []))
    return {
        "versions": versions,
        "active": active,
        "enabled": said["enabled"][0] == "enabled",
        "files": {posixpath.basename(path): state for path, state in map(parsed, said.get("file", []))},
        "changed_s": {path: float(seconds) for path, seconds in changed.items()},
        "now_s": float(said["now"][0]),
        "leaf": _digest(said, "leaf"),
        "served": _digest(said, "served"),
        "running": json.loads(said["running"][0]) if "running" in said else None,
        "error": "\n".join(said["error"]) if "error" in said else None,
    }


def _digest(said: dict[str, list[str]], subject: str) -> str | None:
    """Of `sha256 Fingerprint=AB:CD…`: abcd…"""
    return said[subject][0].rpartition("=")[2].replace(":", "").lower() if subject in said else None


_LOGIN = """\
SELECT coalesce((SELECT json_build_object('can_login', rolcanlogin, 'superuser', rolsuper, 'create_role', rolcreaterole,
'create_db', rolcreatedb, 'replication', rolreplication, 'bypass_rls', rolbypassrls, 'inherit', rolinherit,
'valid_until', rolvaliduntil, 'verifier_sha256', encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex'),
'comment', shobj_description(oid, 'pg_authid'), 'member_of', (SELECT coalesce(json_object_agg(name, admin), '{}') FROM (
SELECT pg_get_userbyid(roleid) AS name, bool_or(admin_option) AS admin FROM pg_auth_members WHERE member = r.oid
GROUP BY roleid ORDER BY 1) m), 'databases', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]')
FROM pg_database, aclexplode(datacl) WHERE grantee = r.oid AND privilege_type = 'CONNECT'))
FROM pg_authid r WHERE rolname = %s), 'null')"""

_DATABASE = """\
SELECT coalesce((SELECT json_build_object('owner', pg_get_userbyid(datdba),
'owner_comment', shobj_description(datdba, 'pg_authid'),
'public', EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0
AND privilege_type = 'CONNECT'))
FROM pg_database WHERE datname = %s), 'null')"""


def _asking(sql: str) -> str:
    """Shell text that prints `running` and an answer in JSON, or `stopped`, `absent`, `several`."""
    return (
        f"{CLUSTER}case $versions in '') echo absent; exit 0;; *' '*) echo several; exit 0;; esac\n"
        f'if [ "$active" != active ]; then echo stopped; exit 0; fi\nsaid=$({psql(sql)})\n'
        "echo running; printf '%s\\n' \"$said\""
    )


def _answer(output: list[str]) -> Any:
    """The answer, None if there is no such thing, NOBODY if the server is stopped."""
    state, *answer = output
    if state in ("stopped", "absent"):
        return NOBODY if state == "stopped" else None
    try:
        return json.loads("".join(answer) if state == "running" else state)
    except ValueError as error:
        raise FactProcessError(f"cannot read what PostgreSQL said: {error}; found {output[:3]}") from error


class Login(FactBase[Role | Literal["stopped"] | Unknown | None]):
    """The role `role`; None if there is none, NOBODY if the server is stopped."""

    @override
    @staticmethod
    def default() -> Role | Literal["stopped"] | Unknown | None:
        return UNKNOWN

    @override
    def command(self, role: str) -> str:
        return _asking(_LOGIN % literal(role))

    @override
    def process(self, output: list[str]) -> Role | Literal["stopped"] | Unknown | None:
        return cast(Role | Literal["stopped"] | None, _answer(output))


class Database(FactBase[DatabaseState | Literal["stopped"] | Unknown | None]):
    """The database `database`; None if there is none, NOBODY if the server is stopped."""

    @override
    @staticmethod
    def default() -> DatabaseState | Literal["stopped"] | Unknown | None:
        return UNKNOWN

    @override
    def command(self, database: str) -> str:
        return _asking(_DATABASE % literal(database))

    @override
    def process(self, output: list[str]) -> DatabaseState | Literal["stopped"] | Unknown | None:
        return cast(DatabaseState | Literal["stopped"] | None, _answer(output))
