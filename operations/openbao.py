"""OpenBao on nodes: its folders, its first start, and its members, of which one at a time is ever changed."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import ctx_host

from facts.openbao import CERTIFICATE, CONFIG, SEAL_FOLDER, UNIT, USER, State, serves
from facts.openbao import Server as Found
from operations import config_file, openbao_config, openbao_founding, openbao_gate, service
from operations.config_file import Commands, Wanted
from operations.openbao_config import Server, key_file, malformed, server_hcl, unit_text
from unterbau import changes
from unterbau.domain.unknown import Unknown
from unterbau.secrets.errors import StoreError
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.pki import PkiError, root_certificate

UNIT_FILE = f"{service.UNIT_FOLDER}{UNIT}"
AUDIT_NEEDS_BYTES = 64 * 1024  # less is full: one entry of a large request
RULE = "OpenBao keeps its quorum"
KEYS_RULE = "OpenBao keeps the keys of its data"
Turn = Literal["followers", "leader"]


@operation()
def founded(server: Server, seal_keys: Mapping[str, HiddenValue], *, policy: str, deployers: Hidden) -> Commands:
    """The cluster is initialised: by its first member, once. On the others, and ever after, there is nothing to do.

    Args:
        server: this member, as it should be.
        seal_keys: {id: key as base64}, newest first; a server gets the newest and the one it was sealed with before.
        policy: the text of the policy `deploy`.
        deployers: key and certificate (PEM) of the authority that signs a run's login; the key stays here.
    """
    found = _found(server, seal_keys)
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
    ready = _ready(server, found, seal_keys)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    changes.attribute("OpenBao cluster", "initialised in part" if found["founding"] else None, "initialised")
    try:
        yield from _configured(ready, found, seal_keys)[1]
        yield from openbao_founding.commands(ready, policy, root_certificate(deployers))
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
        seal_keys: {id: key as base64}, newest first; a server gets the newest and the one it was sealed with before.
        turn: whose turn it is: "followers" or "leader".
        certificate_changes: an earlier operation of this plan writes a new one. What a killed run left undone is seen
            without it, by what the listener shows.
    """
    found = _found(server, seal_keys)
    if isinstance(found, Unknown):
        yield from _unread()
        return
    leads = found["api"][server.node]["leads"] is True
    if leads != (turn == "leader"):
        host.noop(f"{server.node} {'leads' if leads else 'does not lead'}: not its turn")
        return
    if openbao_founding.founds(server, found) is not False:
        host.noop(f"{server.node} founds the cluster first")
        return
    if lost := _keys_of_another_store(found, seal_keys):
        yield from changes.rule(KEYS_RULE, passed=False, arithmetic=lost)
        return
    ready = _audit_full(found) or _ready(server, found, seal_keys)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    try:
        yield from _converged(ready, found, seal_keys, certificate_changes)
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


_read: WeakKeyDictionary[object, Found | Unknown] = WeakKeyDictionary()


def _found(server: Server, seal_keys: Iterable[str]) -> Found | Unknown:
    """Read once a host while the plan is made, where three operations ask; anew whenever one is carried out."""
    if getattr(host.state, "is_executing", False):
        return _state(server, seal_keys)
    here = ctx_host.get()
    if here not in _read:
        _read[here] = _state(server, seal_keys)
    return _read[here]


def _state(server: Server, seal_keys: Iterable[str]) -> Found | Unknown:
    return host.get_fact(
        State,
        node=server.node,
        members=dict(server.members),
        port=server.port,
        files=[CONFIG, UNIT_FILE],
        unread_files=[key_file(key) for key in seal_keys],
        audit_paths=list(server.audit_paths),
    )


def _ready(server: Server, found: Found, seal_keys: Mapping[str, HiddenValue]) -> Server | str:
    """The server with the seal's keys that it needs; a sentence if one of them is lost, or a file cannot be written."""
    if sentence := malformed([*server.audit_paths, server.binary]):
        return f"cannot configure OpenBao on {server.node}: {sentence}"
    keys = openbao_config.seal_keys_of(list(seal_keys), found["files"][CONFIG]["content"])
    if isinstance(keys, str):
        return f"cannot change the seal's key of OpenBao on {server.node}: {keys}; restore the store that has it"
    ready = replace(server, seal_keys=tuple(keys))
    return config_file.obstacle({path: found["files"][path] for path in _wanted(ready, seal_keys)}) or ready


def _keys_of_another_store(found: Found, seal_keys: Mapping[str, HiddenValue]) -> str | None:
    """The server's data open only with its own keys: one that another store has under the same name is not that key."""
    if not found["has_data"]:
        return None
    for name, key in seal_keys.items():
        there, wanted = found["files"].get(key_file(name)), Wanted(key, "400", exact=True)
        if there and there["kind"] == "file" and there["sha256"] != wanted.sha256:
            return (
                f"{key_file(name)} is another key than the store's {name}; if this is not the store that the cluster "
                "was made with, put that one back: nothing else opens the data. If the file was changed, remove it"
            )
    return None


def _unread() -> Iterator[PyinfraCommand]:
    yield from changes.refuse(
        f"cannot converge OpenBao on {host.name}: its state could not be read; see the error above"
    )


def _wanted(server: Server, seal_keys: Mapping[str, HiddenValue]) -> dict[str, Wanted]:
    return {
        CONFIG: Wanted(server_hcl(server), "640", "root", USER),
        UNIT_FILE: Wanted(unit_text(server)),
        **{key_file(key): Wanted(seal_keys[key], "400", exact=True) for key in server.seal_keys},
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
    for stale in sorted(set(found["seal_keys"]) - {posixpath.basename(key_file(key)) for key in server.seal_keys}):
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
