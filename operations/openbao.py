"""OpenBao on nodes: its folders, its first start, and its members, of which one at a time is ever changed."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from facts import service as service_facts
from facts.openbao import CERTIFICATE, CONFIG, DATA_FOLDER, SEAL_FOLDER, UNIT, USER, State, serves
from facts.openbao import Server as Found
from operations import config_file, openbao_founding, openbao_gate, service
from operations.config_file import Commands, Wanted
from operations.openbao_config import (
    LOGROTATE,
    LOGROTATE_HOURLY,
    LOGROTATE_HOURLY_TEXT,
    Server,
    as_server,
    key_file,
    logrotate,
    server_hcl,
    unit_text,
)
from unterbau import changes
from unterbau.domain.unknown import Unknown
from unterbau.secrets.errors import StoreError
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.pki import PkiError, root_certificate

UNIT_FILE = f"{service.UNIT_FOLDER}{UNIT}"
AUDIT_NEEDS_BYTES = 64 * 1024  # less is full: one entry of a large request
RULE = "OpenBao keeps its quorum"
Turn = Literal["followers", "leader"]


@operation()
def folders(audit_paths: Sequence[str]) -> Commands:
    """The folders of the server are there: it may write its data and its audit logs, and read its configuration.

    Args:
        audit_paths: its audit logs; the folder of each is the server's alone.
    """
    wanted = {
        posixpath.dirname(CONFIG): ("750", "root", USER),
        SEAL_FOLDER: ("700", "root", "root"),
        DATA_FOLDER: ("700", USER, USER),
        **{posixpath.dirname(path): ("700", USER, USER) for path in audit_paths},
    }
    state = host.get_fact(service_facts.State, unit=UNIT, config_paths=list(wanted))
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot make the folders of OpenBao on {host.name}: could not read them; see above")
        return
    found = {path: state["files"][path] for path in wanted}
    foreign = [f"{path} ({one['kind']})" for path, one in found.items() if one["kind"] not in ("absent", "directory")]
    if foreign:
        sentence = f"cannot make the folders of OpenBao on {host.name}: found {', '.join(foreign)}; move it away"
        yield from changes.refuse(sentence)
        return
    differing = []
    for path, (mode, user, group) in wanted.items():
        one, declared = found[path], f"{mode} {user}:{group}"
        is_now = f"{one['mode']} {one['user']}:{one['group']}" if one["exists"] else None
        if is_now != declared:
            changes.attribute(f"folder {path}", is_now, declared)
            differing.append((path, mode, user, group))
    if not differing:
        host.noop("the folders of OpenBao are as they should be")
    for path, mode, user, group in differing:
        yield StringCommand(f"install -d -m {mode} -o {user} -g {group} -- {shlex.quote(path)}")


@operation()
def audit_rotation(audit_paths: Sequence[str]) -> Commands:
    """The audit logs are rotated every day, and sooner if they grow: looked at every hour.

    Args:
        audit_paths: the logs.
    """
    files = {LOGROTATE: logrotate(audit_paths), LOGROTATE_HOURLY: LOGROTATE_HOURLY_TEXT}
    yield from service.converge("logrotate.timer", files)


@operation()
def founded(server: Server, seal_keys: Mapping[str, HiddenValue], *, policy: str, deployers: Hidden) -> Commands:
    """The cluster is initialised: by its first member, once. On the others, and ever after, there is nothing to do.

    Args:
        server: this member, as it should be.
        seal_keys: {id: key as base64}, the current one first, then the one before.
        policy: the text of the policy `deploy`.
        deployers: key and certificate (PEM) of the authority that signs a run's login; the key stays here.
    """
    server = as_server(server)
    found = _found(server)
    if isinstance(found, Unknown):
        yield from _unread()
        return
    founds = openbao_founding.founds(server, found)
    if isinstance(founds, str):
        yield from changes.refuse(founds)
        return
    if not founds:
        host.noop("the cluster is initialised, or another member does it")
        return
    if sentence := _obstacle(server, found, seal_keys):
        yield from changes.refuse(sentence)
        return
    changes.attribute("OpenBao cluster", "initialised in part" if found["founding"] else None, "initialised")
    try:
        yield from _configured(server, found, seal_keys)[1]
        yield from openbao_founding.commands(server, policy, root_certificate(deployers))
    except (PkiError, StoreError) as error:
        yield from changes.refuse(f"cannot initialise OpenBao on {host.name}: {error}")
        return
    yield service.do_and_check("restart", UNIT)
    yield openbao_gate.after_start(server.node, server.members, server.port, alone=True)


@operation()
def member(
    server: Server, seal_keys: Mapping[str, HiddenValue], *, turn: Turn, certificate_changes: bool = False
) -> Commands:
    """The server runs as declared and is unsealed; if it has to restart, the others can do without it meanwhile.

    Called twice, one node at a time (`_serial=True`): for the followers and whoever is down, then for the leader.

    Args:
        server: this member, as it should be.
        seal_keys: {id: key as base64}, the current one first, then the one before.
        turn: whose turn it is: "followers" or "leader".
        certificate_changes: an earlier operation of this plan writes a new one. What a killed run left undone is seen
            without it, by what the listener shows.
    """
    server = as_server(server)
    found = _found(server)
    if isinstance(found, Unknown):
        yield from _unread()
        return
    leads = found["api"][server.node]["leads"] is True
    if leads != (turn == "leader"):
        host.noop(f"{server.node} {'leads' if leads else 'does not lead'}: not its turn")
        return
    sentence = _audit_full(found) or _obstacle(server, found, seal_keys)
    if sentence is not None:
        yield from changes.refuse(sentence)
        return
    if openbao_founding.founds(server, found) is not False:
        host.noop(f"{server.node} founds the cluster first")
        return
    try:
        yield from _converged(server, found, seal_keys, certificate_changes)
    except StoreError as error:
        yield from changes.refuse(f"cannot converge OpenBao on {host.name}: {error}")


def _converged(
    server: Server, found: Found, seal_keys: Mapping[str, HiddenValue], certificate_changes: bool
) -> Commands:
    changed, commands = _configured(server, found, seal_keys)
    running = found["active"] in ("active", "reloading")
    reason = _restart_reason(server, found, changed)
    if not commands and running and reason is None:
        if found["certificate"] == found["served_certificate"] and not certificate_changes:
            host.noop(f"{UNIT} runs as declared")
            return
        changes.attribute(f"{UNIT} certificate", "the one before", "reloaded")
        yield _reload(server)
        return
    if running:
        changes.attribute(f"{UNIT} process", "running", f"restarted, {reason}")
        verdict = openbao_gate.arithmetic(found["api"], server.node)
        yield from changes.rule(RULE, passed=verdict.passed, arithmetic=verdict.arithmetic)
        if not verdict.passed:
            return
        yield openbao_gate.before_restart(server.node, server.members, server.port)
    else:
        changes.attribute(f"{UNIT} active", found["active"], "active")
    if found["founding"]:
        yield StringCommand(openbao_founding.FORGET)
    yield from commands
    yield service.do_and_check("restart", UNIT)
    yield openbao_gate.after_start(server.node, server.members, server.port)


def _found(server: Server) -> Found | Unknown:
    return host.get_fact(
        State,
        node=server.node,
        members=dict(server.members),
        port=server.port,
        files=[CONFIG, UNIT_FILE],
        unread_files=[key_file(key) for key in server.seal_keys],
        audit_paths=list(server.audit_paths),
    )


def _obstacle(server: Server, found: Found, seal_keys: Mapping[str, HiddenValue]) -> str | None:
    return config_file.obstacle({path: found["files"][path] for path in _wanted(server, seal_keys)})


def _unread() -> Iterator[PyinfraCommand]:
    yield from changes.refuse(
        f"cannot converge OpenBao on {host.name}: its state could not be read; see the error above"
    )


def _wanted(server: Server, seal_keys: Mapping[str, HiddenValue]) -> dict[str, Wanted]:
    return {
        CONFIG: Wanted(server_hcl(server), "640", "root", USER),
        UNIT_FILE: Wanted(unit_text(server)),
        **{key_file(key): Wanted(value, "400", exact=True) for key, value in seal_keys.items()},
    }


def _configured(
    server: Server, found: Found, seal_keys: Mapping[str, HiddenValue]
) -> tuple[list[str], list[StringCommand]]:
    """(what changes, commands) for the server's files; a unit whose file changes is enabled in any case."""
    changed, commands = [], []
    for path, wanted in _wanted(server, seal_keys).items():
        new = config_file.converge(path, found["files"][path], wanted)
        commands += new
        changed += [path] if new else []
    for stale in sorted(set(found["seal_keys"]) - {posixpath.basename(key_file(key)) for key in seal_keys}):
        changes.attribute(f"seal key {stale}", "present", None)
        commands.append(StringCommand("rm -f --", shlex.quote(posixpath.join(SEAL_FOLDER, stale))))
    if UNIT_FILE in changed or found["needs_daemon_reload"]:
        commands.append(StringCommand("systemctl daemon-reload"))
    if UNIT_FILE in changed or found["enabled"] != "enabled":
        if found["enabled"] not in ("enabled", ""):
            changes.attribute(f"{UNIT} at boot", found["enabled"], "enabled")
        commands.append(StringCommand(f"systemctl unmask {UNIT}; systemctl enable {UNIT}"))
    return changed, commands


def _restart_reason(server: Server, found: Found, changed: Sequence[str]) -> str | None:
    """Why a running server must be restarted. From state alone: a run may have been killed before its restart."""
    if changed:
        return f"{changed[0]} changes"
    for path, one in found["files"].items():
        if (found["started_s"] or 0) < (one["ctime_s"] or 0) <= found["now_s"]:
            return f"{path} is newer"
    if found["needs_daemon_reload"]:
        return "its unit file is newer"
    api = found["api"][server.node]
    return None if serves(api) else f"it {openbao_gate.words(api)}"


def _audit_full(found: Found) -> str | None:
    """OpenBao answers no request that it cannot write down: with every log blocked it stands still."""
    free = found["audit_free_bytes"]
    if not free or any(room is None or room >= AUDIT_NEEDS_BYTES for room in free.values()):
        return None
    rooms = ", ".join(f"{path} ({room} bytes free)" for path, room in free.items())
    return (
        f"cannot rely on OpenBao on {host.name}: none of its audit logs can be written: {rooms};"
        " it answers no request until one can: make room on one of these file systems"
    )


def _reload(server: Server) -> StringCommand:
    """SIGHUP, then wait until the listener shows the certificate of the disk."""
    show = "openssl x509 -noout -fingerprint -sha256"
    endpoint = shlex.quote(f"{server.address}:{server.port}")
    served = f"$(timeout 4 openssl s_client -connect {endpoint} < /dev/null 2>/dev/null | {show})"
    return StringCommand(
        f"systemctl reload {UNIT} && wanted=$({show} < {CERTIFICATE}) && for try in $(seq 50); do "
        f'[ "{served}" != "$wanted" ] || exit 0; '
        f"sleep 0.2; done; echo 'cannot see the new certificate on {endpoint}; see journalctl -u {UNIT}' >&2; exit 1"
    )
