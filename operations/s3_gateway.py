"""The S3 gateway of a node: HAProxy in front of the storage's members, and the members' farewell to all gateways."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import ctx_host

from facts.certificate import BUNDLE
from facts.config_file import FileState
from facts.minio import UNIT as MEMBER
from facts.s3_gateway import CONFIG, DROP_IN, LEAF, UNIT, USER, State, newest_worker
from facts.s3_gateway import Gateway as Found
from facts.service import State as Unit
from operations import config_file, s3_gateway_drain
from operations.config_file import Commands, Wanted
from operations.s3_gateway_config import Gateway, drop_in, haproxy_cfg, malformed
from unterbau import changes
from unterbau.domain.unknown import Unknown

# As the account that it will run as; HAProxy goes back to the folder that it was started in.
CHECK = f"env -C / runuser -u {USER} -- haproxy -c -f"


@operation()
def trusting(gateway: Gateway, *, roots_change: bool = False) -> Commands:
    """HAProxy knows the roots of the disk, before a member shows a certificate that a new one has signed.

    Args:
        gateway: this node's.
        roots_change: an earlier operation of this plan writes new ones. What a killed run left undone is seen without.
    """
    found = yield from _found(gateway, _files(gateway))
    if found is None:
        return
    unit, changed_s = found["unit"], found["read_s"].get(BUNDLE, 0)
    newer = (found["loaded_s"] or 0) < changed_s <= unit["now_s"]
    if unit["active"] not in ("active", "reloading") or not (newer or roots_change):
        host.noop("the S3 gateway knows the roots that are trusted, or will when it is started")
        return
    changes.attribute(
        f"{UNIT} process", "running", f"reads its files again, {BUNDLE} {'is newer' if newer else 'changes'}"
    )
    yield _step("reload", gateway)


@operation()
def running(gateway: Gateway, *, certificate_changes: bool = False) -> Commands:
    """HAProxy runs with exactly this; what it does not have to restart for, it reads without losing a connection.

    Args:
        gateway: this node's.
        certificate_changes: an earlier operation of this plan writes a new one. What a killed run left undone is seen
            without it.
    """
    files = _files(gateway)
    found = yield from _found(gateway, files)
    if found is None:
        return
    changed, commands = _converged(found["unit"]["files"], files)
    commands += _activation(found, changed, gateway, certificate_changes)
    if not commands:
        host.noop(f"the S3 gateway runs with what is on the disk, for {len(gateway.members)} members")
    yield from commands


@operation()
def drained(gateway: Gateway, node: str) -> Commands:
    """Whoever stops the member on this node, the gateways let go of it first.

    Args:
        gateway: this node's.
        node: the member's name.
    """
    files = {
        s3_gateway_drain.SCRIPT: Wanted(s3_gateway_drain.script(gateway, node), mode="755"),
        s3_gateway_drain.DROP_IN: Wanted(s3_gateway_drain.drop_in()),
    }
    if node not in gateway.members:
        yield from changes.refuse(
            f"cannot drain {node!r}: found members {', '.join(gateway.members)}; name one of them"
        )
        return
    if sentence := malformed(gateway):
        yield from changes.refuse(f"cannot configure the S3 gateway of {host.name}: {sentence}")
        return
    member = host.get_fact(Unit, unit=MEMBER, config_paths=list(files))
    if isinstance(member, Unknown):
        yield from changes.refuse(
            f"cannot see the farewell of {node}: the state of {MEMBER} could not be read; see above"
        )
        return
    if sentence := config_file.obstacle(member["files"]):
        yield from changes.refuse(sentence)
        return
    changed, commands = _converged(member["files"], files)
    if s3_gateway_drain.DROP_IN in changed or member["needs_daemon_reload"]:
        commands.append(StringCommand("systemctl daemon-reload"))
    if not commands:
        host.noop(f"{node} takes leave of the gateways before it stops")
    yield from commands


def _files(gateway: Gateway) -> dict[str, Wanted]:
    return {CONFIG: Wanted(haproxy_cfg(gateway), validate=CHECK), DROP_IN: Wanted(drop_in())}


def _found(gateway: Gateway, files: Mapping[str, Wanted]) -> Generator[PyinfraCommand, None, Found | None]:
    """The state, or None after the sentence that says why nothing can be done."""
    if sentence := malformed(gateway):
        yield from changes.refuse(f"cannot configure the S3 gateway of {host.name}: {sentence}")
        return None
    found = _state(list(files), gateway.port)
    if isinstance(found, Unknown):
        yield from changes.refuse(
            f"cannot converge the S3 gateway of {host.name}: its state could not be read; see above"
        )
        return None
    if sentence := config_file.obstacle({path: found["unit"]["files"][path] for path in files}):
        yield from changes.refuse(sentence)
        return None
    return found


_read: WeakKeyDictionary[object, Found | Unknown] = WeakKeyDictionary()


def _state(files: list[str], port: int) -> Found | Unknown:
    """Read once a host while the plan is made, where two operations ask; anew whenever one is carried out."""
    if getattr(host.state, "is_executing", False):
        return host.get_fact(State, files=files, port=port)
    here = ctx_host.get()
    if here not in _read:
        _read[here] = host.get_fact(State, files=files, port=port)
    return _read[here]


def _converged(states: Mapping[str, FileState], files: Mapping[str, Wanted]) -> tuple[list[str], list[StringCommand]]:
    """(paths that change, commands)."""
    steps = {path: config_file.converge(path, states[path], wanted) for path, wanted in files.items()}
    return [path for path, new in steps.items() if new], [command for new in steps.values() for command in new]


def _activation(
    found: Found, changed: Sequence[str], gateway: Gateway, certificate_changes: bool
) -> list[StringCommand]:
    """Enable, start, restart or reload, from state alone: a run may have been killed after it wrote the files."""
    unit, commands = found["unit"], []
    if DROP_IN in changed or unit["needs_daemon_reload"]:
        commands.append(StringCommand("systemctl daemon-reload"))
    if unit["enabled"] != "enabled" or DROP_IN in changed:
        if unit["enabled"] not in ("enabled", ""):
            changes.attribute(f"{UNIT} at boot", unit["enabled"], "enabled")
        commands.append(StringCommand(f"systemctl unmask {UNIT}; systemctl enable --quiet {UNIT}"))
    running_now = unit["active"] in ("active", "reloading")
    if not running_now:
        changes.attribute(f"{UNIT} active", unit["active"] if unit["enabled"] else None, "active")
        commands.append(_step("restart", gateway))
    elif reason := _restart_reason(found, changed):
        changes.attribute(f"{UNIT} process", "running", f"restarted, {reason}")
        commands.append(_step("restart", gateway))
    elif reason := _reload_reason(found, changed, certificate_changes):
        changes.attribute(f"{UNIT} process", "running", f"reads its files again, {reason}")
        commands.append(_step("reload", gateway))
    return commands


def _restart_reason(found: Found, changed: Sequence[str]) -> str | None:
    """Only what systemd applies when a process starts. A file from the future (the clock was set back) says nothing."""
    unit = found["unit"]
    if DROP_IN in changed:
        return f"{DROP_IN} changes"
    if unit["needs_daemon_reload"]:
        return "its unit file is newer"
    if (unit["started_s"] or 0) < (unit["files"][DROP_IN]["ctime_s"] or 0) <= unit["now_s"]:
        return f"{DROP_IN} is newer"
    return None


def _reload_reason(found: Found, changed: Sequence[str], certificate_changes: bool) -> str | None:
    if CONFIG in changed:
        return f"{CONFIG} changes"
    times = {CONFIG: found["unit"]["files"][CONFIG]["ctime_s"] or 0, LEAF: found["read_s"].get(LEAF, 0)}
    newer = [path for path, at in times.items() if (found["loaded_s"] or 0) < at <= found["unit"]["now_s"]]
    if newer:
        return f"{newer[0]} is newer"
    return "for its certificate" if certificate_changes or found["leaf"] != found["served"] else None


def _step(verb: str, gateway: Gateway) -> StringCommand:
    """What is on the disk loads; the step; a new worker shows the certificate of the disk, a moment after a reload."""
    show = "openssl x509 -noout -fingerprint -sha256 2>/dev/null"
    ask = f"timeout 4 openssl s_client -connect 127.0.0.1:{gateway.port} </dev/null 2>/dev/null"
    return StringCommand(
        f"{CHECK} {CONFIG} || exit 1; newest() {{ {newest_worker()}; }}; before=$(newest); "
        f"systemctl reset-failed {UNIT} 2>/dev/null; "
        f"systemctl {verb} {UNIT} || {{ systemctl status --no-pager --lines=20 {UNIT} >&2; exit 1; }}; "
        f"wanted=$({show} < {LEAF}) && for try in $(seq 50); do "
        f'[ "$(newest)" = "$before" ] || [ "$({ask} | {show})" != "$wanted" ] || exit 0; '
        f"sleep 0.2; done; echo 'cannot see that {UNIT} has read its files again, with the certificate of {LEAF};"
        f" see journalctl -u {UNIT}' >&2; exit 1"
    )
