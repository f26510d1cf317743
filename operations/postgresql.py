"""PostgreSQL as Debian packages it: the server of cluster `main`, with TLS and SCRAM only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.certificate import BUNDLE
from facts.config_file import ABSENT
from facts.postgresql import CLUSTER, FILE_ERRORS, LEAF, Cluster, Running, State, identifier, in_leaf, psql, served
from operations import config_file
from operations.config_file import Commands, Wanted
from unterbau import changes
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, Unknown

HEADER = "# Declared in group data (postgresql_server); changes made here are undone.\n"
CLOSED = ("postgres", "template1")  # anybody who may connect can leave large objects there, and then not be dropped


def parameters(address: str, port: int) -> dict[str, str]:
    """What the server is told, each as pg_settings shows it."""
    return {
        "listen_addresses": f"localhost,{address}",
        "port": str(port),
        "ssl": "on",
        "ssl_cert_file": LEAF,
        "ssl_key_file": LEAF,
        "ssl_ca_file": BUNDLE,
        "ssl_min_protocol_version": "TLSv1.3",
        "password_encryption": "scram-sha-256",
        "log_connections": "on",
        "log_disconnections": "on",
        "log_statement": "none",  # a role's verifier is part of its statement
    }


def drop_in(settings: Mapping[str, str]) -> str:
    """Our file in conf.d, which is read after postgresql.conf."""
    lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items())
    return HEADER + "".join(lines)


def pg_hba(network: str, restricted: Mapping[str, Sequence[str]]) -> str:
    """Who may connect from where: the first line that fits decides, and without one nobody may.

    ValueError for what is no address, or no plain name: the file has no quoting that would hold.
    """
    rows = [("local", "all", "postgres", "", "peer"), ("hostssl", "all", "postgres", "all", "reject")]
    for role, addresses in sorted(restricted.items()):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", role):
            raise ValueError(f"found the role {role!r}; use letters, digits, '_' and '-'")
        rows += [("hostssl", "all", f'"{role}"', str(ip_network(one)), "scram-sha-256") for one in addresses]
        rows += [("hostssl", "all", f'"{role}"', "all", "reject")]
    rows += [("hostssl", "all", "all", str(ip_network(network)), "scram-sha-256")]
    return HEADER + "".join(" ".join(filter(None, row)) + "\n" for row in rows)


@operation()
def server(
    address: str,
    network: str,
    *,
    port: int = 5432,
    restricted: Mapping[str, Sequence[str]] | None = None,
    certificate_changes: bool = False,
) -> Commands:
    """The cluster `main` runs with exactly these files, with TLS and SCRAM only; it restarts only if it must.

    Args:
        address: of this node.
        network: CIDR that logins come from.
        port: where it listens.
        restricted: {role: the only addresses that it comes from}.
        certificate_changes: an earlier step of the same plan writes the leaf or the roots.
    """
    try:
        settings = parameters(str(ip_address(address)), port)
        texts = {"conf.d/unterbau.conf": drop_in(settings), "pg_hba.conf": pg_hba(network, restricted or {})}
    except ValueError as error:
        yield from changes.refuse(f"cannot converge PostgreSQL on {host.name}: {error}")
        return
    state = host.get_fact(State, settings=sorted(settings))
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot converge PostgreSQL on {host.name}: its state could not be read; see above")
        return
    if sentence := _obstacle(state):
        yield from changes.refuse(sentence)
        return
    commands, changed = _files(state, texts)
    if not changed and (sentence := _foreign(state, settings)):
        yield from changes.refuse(sentence)
        return
    commands += _activation(state, settings, changed[:1], certificate_changes) + _closed(state)
    if not commands:
        host.noop(f"PostgreSQL {state['versions'][0]} runs with the files on the disk")
    yield from commands


def _obstacle(state: Cluster) -> str | None:
    if len(state["versions"]) > 1:
        return (
            f"cannot tell which PostgreSQL is meant on {host.name}: found clusters main of"
            f" {' and '.join(state['versions'])};"
            " move the data to one of them, remove the others with pg_dropcluster, then apply again"
        )
    return config_file.obstacle({f"{name} of PostgreSQL": file for name, file in state["files"].items()})


def _version(state: Cluster) -> str:
    return state["versions"][0] if state["versions"] else KNOWN_AFTER_APPLY


def _files(state: Cluster, texts: Mapping[str, str]) -> tuple[list[StringCommand], list[str]]:
    """(commands, names of those that change). Written as root's, so that the server cannot change its own rules."""
    commands, changed = [], []
    for name, text in texts.items():
        found = state["files"].get(name.rpartition("/")[2], ABSENT)
        wanted = Wanted(text, mode="640", group="postgres")
        steps = config_file.converge(f"/etc/postgresql/{_version(state)}/main/{name}", found, wanted)
        commands += steps
        changed += [name] if steps else []
    return commands, changed


def _newer(state: Cluster, running: Running) -> list[str]:
    """Files that changed after they were read. One from the future (the clock was set back) says nothing."""
    times = {path: file["ctime_s"] or 0 for path, file in state["files"].items()} | state["changed_s"]
    return [path for path, seconds in times.items() if running["loaded_s"] < seconds <= state["now_s"]]


def _foreign(state: Cluster, settings: Mapping[str, str]) -> str | None:
    """What is wrong although our files are right and read, as a sentence; None if nothing is."""
    running = state["running"]
    if running is None or _newer(state, running) or running["pending_restart"]:
        return None
    if running["errors"]:
        return f"cannot converge PostgreSQL on {host.name}: found {running['errors'][0]}; correct it, then apply again"
    for name, wanted in settings.items():
        found = running["settings"][name]
        if found["value"] != wanted:
            return (
                f"cannot keep PostgreSQL's {name} at {wanted} on {host.name}: found {found['value']} from"
                f" {found['source'] or 'its command line'}; remove it there (ALTER SYSTEM RESET), then apply again"
            )
    return None


def _activation(
    state: Cluster, settings: Mapping[str, str], changed: Sequence[str], certificate_changes: bool
) -> list[StringCommand]:
    """Start, restart or reload, from state alone: a run may have been killed after it wrote the files."""
    subject, port = f"PostgreSQL {_version(state)}", settings["port"]
    commands = []
    if not state["enabled"]:
        changes.attribute(f"{subject} at boot", "disabled" if state["versions"] else None, "enabled")
        commands.append(StringCommand("systemctl enable --quiet postgresql.service"))
    if state["active"] != "active":
        changes.attribute(f"{subject} active", state["active"] if state["versions"] else None, "active")
        commands.append(_step(_RESTART, port))
    elif reason := _restart_reason(state, settings):
        changes.attribute(f"{subject} process", "running", f"restarted, {reason}")
        commands.append(_step(_RESTART, port))
    elif reason := _reload_reason(state, changed, certificate_changes):
        changes.attribute(f"{subject} process", "running", f"reads its files again, {reason}")
        commands.append(_step(_RELOAD, port))
    return commands


def _restart_reason(state: Cluster, settings: Mapping[str, str]) -> str | None:
    running = state["running"]
    if running is None:
        return None
    found = running["settings"]
    fixed = [
        name
        for name, value in settings.items()
        if found[name]["context"] == "postmaster" and found[name]["value"] != value
    ]
    waiting = sorted({*fixed, *running["pending_restart"]})
    return f"for {', '.join(waiting)}" if waiting else None


def _reload_reason(state: Cluster, changed: Sequence[str], certificate_changes: bool) -> str | None:
    if changed:
        return f"{changed[0]} changes"
    if state["running"] is None:
        return "it answers nobody"
    if newer := _newer(state, state["running"]):
        return f"{newer[0]} is newer"
    if certificate_changes or state["leaf"] != state["served"]:
        return "for its certificate"
    return None


# before anything is stopped: files that it could not start with
_WHOLE = f"""\
{in_leaf()} >/dev/null || {{
echo 'cannot give PostgreSQL its TLS: found no certificate in {LEAF}; apply the layer pki' >&2; exit 1; }}
if [ "$active" = active ] && bad=$({psql(FILE_ERRORS)} 2>/dev/null) && [ -n "$bad" ]; then
echo "cannot use PostgreSQL's files: found $bad; correct it, then apply again" >&2; exit 1; fi
"""

_RESTART = """\
unit=postgresql@$versions-main.service
systemctl reset-failed "$unit" 2>/dev/null || true
systemctl restart "$unit" || { systemctl status --no-pager --lines=20 "$unit" >&2; exit 1; }
"""

# the signal returns before the files are read: what was loaded when says when they are
_RELOAD = f"""\
before=$({psql("SELECT pg_conf_load_time()")} 2>/dev/null || true)
systemctl reload "postgresql@$versions-main.service"
tries=0
until now=$({psql("SELECT pg_conf_load_time()")} 2>/dev/null) && [ "$now" != "$before" ]; do
tries=$((tries + 1)); [ $tries -lt 100 ] || {{
echo "cannot make PostgreSQL read its files: it did not within 10 s; see its log in /var/log/postgresql" >&2; exit 1; }}
sleep 0.1
done
"""


def _step(step: str, port: str) -> StringCommand:
    """The files are whole; the step; the server answers on its port with the certificate of the file."""
    return StringCommand(
        f"{CLUSTER}{_WHOLE}{step}"
        f'if [ "$({served(port)})" != "$({in_leaf()})" ]; then\n'
        f'echo "cannot make PostgreSQL show the certificate in {LEAF} on port {port};'
        f' see its log in /var/log/postgresql" >&2; exit 1; fi'
    )


def _closed(state: Cluster) -> list[StringCommand]:
    """Debian's own databases are the superuser's."""
    running = state["running"]
    if running is not None and not (open_to_all := set(CLOSED) & set(running["public_databases"])):
        return []
    for name in CLOSED if running is None else sorted(open_to_all):
        changes.attribute(
            f"database {name} open to", KNOWN_AFTER_APPLY if running is None else "everybody", "superusers"
        )
    statements = ";".join(f"REVOKE CONNECT ON DATABASE {identifier(name)} FROM PUBLIC" for name in CLOSED)
    return [StringCommand(f"{CLUSTER}{psql(statements)}")]
