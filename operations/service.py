"""systemd units: enabled, running, and running with the configuration that is on the disk."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.service import State, UnitState
from operations import config_file
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

UNIT_FOLDER = "/etc/systemd/system/"
PULLED_IN = ("static", "generated", "indirect", "alias")  # there is nothing to enable: something else pulls it in


def converge(
    unit: str,
    files: Mapping[str, str | None],
    config_paths: Sequence[str] = (),
    enabled: bool = True,
) -> Commands:
    """What `running` does, for the operations of tools that are a few files and a unit. One fact."""
    state = host.get_fact(State, unit=unit, config_paths=[*files, *config_paths])
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot converge {unit} on {host.name}: its state could not be read; see above")
        return
    if sentence := config_file.obstacle({path: state["files"][path] for path in files}):
        yield from changes.refuse(sentence)
        return
    changed, commands = config_file.converge_texts(state["files"], files)
    commands += _boot(unit, state, enabled, changed)
    commands += _process(unit, state, _restart_reason(state, changed))
    if not commands:
        host.noop(f"{unit} runs with the configuration on the disk")
    yield from commands


def _boot(unit: str, state: UnitState, enabled: bool, changed: Sequence[str]) -> list[StringCommand]:
    """Unmask, read the unit's files again, enable or disable: in this order.

    A unit whose files change is enabled in any case, so that the commands are the same whether its package, which an
    earlier operation of the run may install, has enabled it or not.
    """
    commands, name = [], shlex.quote(unit)
    if state["enabled"].startswith("masked"):
        runtime = "--runtime " if state["enabled"] == "masked-runtime" else ""
        commands.append(StringCommand(f"systemctl unmask {runtime}{name}"))
    if state["needs_daemon_reload"] or any(path.startswith(UNIT_FOLDER) for path in changed):
        commands.append(StringCommand("systemctl daemon-reload"))
    at_boot = state["enabled"] in ("enabled", *PULLED_IN)
    if enabled != at_boot and state["enabled"] not in PULLED_IN:
        changes.attribute(f"{unit} at boot", state["enabled"] or None, "enabled" if enabled else "disabled")
    elif not changed or state["enabled"] in PULLED_IN:
        return commands
    commands.append(StringCommand(f"systemctl {'enable' if enabled else 'disable'} {name}"))
    return commands


def _restart_reason(state: UnitState, changed: Sequence[str]) -> str | None:
    """Why a running unit must be restarted. From state alone: a run may have been killed before its restart.

    A unit whose files on disk differ from those systemd loaded runs with the old ones. A file from the future (the
    clock was set back since) says nothing: no restart could ever be newer than it.
    """
    if changed:
        return f"{changed[0]} changes"
    newer = [p for p, f in state["files"].items() if (state["started_s"] or 0) < (f["ctime_s"] or 0) <= state["now_s"]]
    if newer:
        return f"{newer[0]} is newer"
    if state["needs_daemon_reload"]:
        return "its unit file is newer"
    return None


def _process(unit: str, state: UnitState, reason: str | None) -> list[StringCommand]:
    running = state["active"] in ("active", "reloading")
    if running and reason is None:
        return []
    if running:
        changes.attribute(f"{unit} process", "running", f"restarted, {reason}")
    else:
        changes.attribute(f"{unit} active", state["active"], "active")
    failed = [StringCommand(f"systemctl reset-failed {shlex.quote(unit)}")] if state["active"] == "failed" else []
    return [*failed, do_and_check("restart" if reason or state["active"] == "activating" else "start", unit)]


def do_and_check(verb: str, unit: str) -> StringCommand:
    """`systemctl VERB UNIT`, then see that it is active: a unit whose condition fails starts without an error."""
    name = shlex.quote(unit)
    return StringCommand(
        f"systemctl {verb} {name} && systemctl is-active --quiet {name} || "
        f"{{ systemctl status --no-pager --lines=20 {name} >&2; exit 1; }}"
    )


@operation()
def running(
    unit: str,
    *,
    files: Mapping[str, str | None] | None = None,
    config_paths: Sequence[str] = (),
    enabled: bool = True,
) -> Commands:
    """`unit` is active, enabled, not masked, and started after its configuration changed last.

    Args:
        unit: name with its suffix.
        files: {path: text, None for absent} of root with mode 644, written before; drop-ins of the unit too.
        config_paths: further files that are somebody else's; the unit restarts if one is newer than its process.
        enabled: whether it starts at boot.
    """
    yield from converge(unit, files or {}, config_paths, enabled)
