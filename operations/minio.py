"""MinIO on nodes: what all servers must have in common, and the rest of each, one server at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from facts.minio import TRUST, UNIT
from operations import config_file, minio_gate
from operations.config_file import Commands
from operations.minio_config import Server
from operations.minio_ready import TOGETHER_RULE, UNIT_FILE, Ready, forbidden, interruption, ready_of
from unterbau import changes

RULE = "object storage keeps its quorum"
STOP_TRIES = 1000  # of 0.2 s: longer than its farewell and TimeoutStopSec together


@operation()
def founded(server: Server, root: HiddenValue, kms_key: HiddenValue, *, restart_together: bool = False) -> Commands:
    """Every server runs, with what all of them must have in common: the first start, and what cannot roll.

    All members at once: a server waits for others with the same layout, variables and root credential. Who is down is
    started here as well, without asking anybody: there is nothing to lose.

    Args:
        server: this member, as it should be.
        root: the root credential's secret.
        kms_key: 32 bytes, base64.
        restart_together: whether a change that all must make at once may interrupt everybody.
    """
    ready = ready_of(server, root, kms_key)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    for rule, sentence in forbidden(ready, restart_together).items():
        if sentence is not None:
            yield from changes.rule(rule, passed=False, arithmetic=sentence)
            return
    if (reason := ready.starts) is None and ready.cluster_serves:
        host.noop(f"{UNIT} runs, with what all members have in common")
        return
    if reason is None:  # everything is as declared: a restart would help nobody
        changes.attribute(f"{UNIT} answers", minio_gate.words(ready.member), "serves")
        yield minio_gate.serving(server)
        return
    if ready.apart and ready.cluster_serves:
        yield from changes.rule(TOGETHER_RULE, passed=True, arithmetic=f"{interruption(ready)}: restart_together=True")
    was = f"restarted, {reason}" if ready.runs else "active"
    changes.attribute(f"{UNIT} {'process' if ready.runs else 'active'}", ready.found["active"], was)
    yield from _configured(ready)
    yield _restart()
    yield minio_gate.serving(server)


@operation()
def trusting(
    server: Server,
    root: HiddenValue,
    kms_key: HiddenValue,
    *,
    restart_together: bool = False,
    roots_change: bool = False,
) -> Commands:
    """The server knows the roots of the disk; called for one node after the other (`_serial=True`).

    Before any server shows a certificate that a new root has signed: those that do not know it would take that one for
    a stranger, and lose its drives.

    Args:
        server: this member, as it should be.
        root: the root credential's secret.
        kms_key: 32 bytes, base64.
        restart_together: whether a restart may interrupt those whom the layout leaves too few drives without it.
        roots_change: an earlier operation of this plan writes new ones. What a killed run left undone is seen without.
    """
    ready = ready_of(server, root, kms_key)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    reason = ready.older_roots or (f"{TRUST} changes" if roots_change else None)
    if ready.starts is not None or reason is None:
        host.noop(f"{server.node} knows the roots that are trusted, or will when it is started")
        return
    yield from _restarted(ready, reason, [], restart_together)


@operation()
def member(
    server: Server,
    root: HiddenValue,
    kms_key: HiddenValue,
    *,
    restart_together: bool = False,
    certificate_changes: bool = False,
) -> Commands:
    """The server runs as declared, with all of its drives; called for one node after the other (`_serial=True`).

    Before it restarts, all others and all drives must be there and healed; afterwards again.

    Args:
        server: this member, as it should be.
        root: the root credential's secret.
        kms_key: 32 bytes, base64.
        restart_together: whether a restart may interrupt those whom the layout leaves too few drives without it.
        certificate_changes: an earlier operation of this plan writes a new one. What a killed run left undone is seen
            without it, by what the listener shows.
    """
    ready = ready_of(server, root, kms_key)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    if ready.starts is not None:
        host.noop(f"{server.node} is started with all others")
        return
    drives = list(_refilled(ready))
    files = list(_configured(ready))
    reason = ready.older or _silent(ready)
    if not (drives or files or reason):
        yield from _certificate(ready, certificate_changes)
        return
    yield from drives
    if reason is not None:
        yield from _restarted(ready, reason, files, restart_together)
        return
    yield from files
    if certificate_changes:
        yield minio_gate.reloaded(server)


def _restarted(
    ready: Ready, reason: str, files: Iterable[StringCommand], restart_together: bool
) -> Iterator[PyinfraCommand]:
    changes.attribute(f"{UNIT} process", ready.found["active"], f"restarted, {reason}")
    verdict = minio_gate.arithmetic(ready.server, ready.found["members"])
    passed = verdict.passed or restart_together
    allowed = "" if verdict.passed else f": restart_together={restart_together}"
    yield from changes.rule(RULE, passed=passed, arithmetic=verdict.arithmetic + allowed)
    if not passed:
        return
    yield minio_gate.before_restart(ready.server, interrupting=not verdict.passed)
    yield from files
    yield _restart()
    yield minio_gate.after_start(ready.server) if ready.member["answers"] else minio_gate.serving(ready.server)


def _silent(ready: Ready) -> str | None:
    """Why a server with the right configuration is restarted: others serve, and it does not."""
    return None if ready.member["answers"] or not ready.cluster_serves else f"it {minio_gate.words(ready.member)}"


def _refilled(ready: Ready) -> Iterator[PyinfraCommand]:
    """The wait until drives that were replaced under the running server are filled again; MinIO sees them by itself."""
    found = ready.found["drives"].items()
    waiting = {mount: said for mount, one in found if (said := minio_gate.unhealed(one)) is not None}
    for mount, said in waiting.items():
        changes.attribute(f"drive {mount}", said, "healed")
    if waiting:
        yield minio_gate.healed(list(waiting), ready.server.node)


def _certificate(ready: Ready, certificate_changes: bool) -> Iterator[PyinfraCommand]:
    if ready.found["certificate"] == ready.found["served_certificate"] and not certificate_changes:
        host.noop(f"{UNIT} runs as declared")
        return
    changes.attribute(f"{UNIT} certificate", "the one before", "reloaded")
    yield minio_gate.reloaded(ready.server)


def _configured(ready: Ready) -> Iterable[StringCommand]:
    """Commands for the server's files; a unit whose file changes is enabled in any case."""
    found, changed, commands = ready.found, False, []
    for path, wanted in ready.wanted.items():
        new = config_file.converge(path, found["files"][path], wanted)
        commands += new
        changed = changed or (path == UNIT_FILE and bool(new))
    if changed or found["needs_daemon_reload"]:
        commands.append(StringCommand("systemctl daemon-reload"))
    if changed or found["enabled"] != "enabled":
        if found["enabled"] not in ("enabled", ""):
            changes.attribute(f"{UNIT} at boot", found["enabled"], "enabled")
        commands.append(StringCommand(f"systemctl unmask {UNIT}; systemctl enable {UNIT}"))
    return commands


def _restart() -> StringCommand:
    """Until the former process is gone: it still answers while it takes its leave, and no gate may believe it.

    Not waited for by systemd, which would wait for ever for a server that is alone: gates have a limit.
    """
    pid = f"systemctl show --value -p MainPID {UNIT}"
    return StringCommand(
        f"before=$({pid}); systemctl reset-failed {UNIT} 2>/dev/null; systemctl restart --no-block {UNIT}; "
        f"for try in $(seq {STOP_TRIES}); do "
        f'[ "$before" != 0 ] && [ "$({pid})" = "$before" ] || exit 0; sleep 0.2; done; '
        f"echo 'cannot restart {UNIT}: its former process is still there; see systemctl status {UNIT}' >&2; exit 1"
    )
