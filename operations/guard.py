"""Changes that could lock us out: tried under a timer on the node, proven by a new connection, only then kept.

Three commands. *Try*: save what is there, arm a timer of the node's own systemd, put the new files in place, activate.
*Prove*: open a new SSH connection. *Keep*: forget what was saved, stop the timer. If no keep follows within
REVERT_AFTER_S, because the proof failed or because the controller or its network is gone, the node puts the saved state
back by itself; a node that restarts in between does so early in its boot. What was saved stays until a keep: a run that
finds it left over by an interrupted one (the facts say `guard left`) tries again and would still go back to the
last state that was proven.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.guard import GUARD_DIR

REVERT_AFTER_S = 20  # a proof takes at most 10 s; with the timer's accuracy and the work itself it ends within 30 s


@dataclass(frozen=True)
class Guarded:
    """One change that could lock us out.

    The shell texts run as root under `set -eu` and see `$new` (the staged files, by their number) and `$saved` (a
    directory that survives restarts). `check` refuses before anything is touched; `save` keeps what is no file;
    `activate` and `restore` make the files in place effective.
    """

    what: str  # names units and a directory: letters and "-"
    files: dict[str, tuple[str, str]]  # path -> (content, mode)
    check: str
    activate: str
    restore: str
    save: str = ":"
    also_saved: tuple[str, ...] = ()  # further paths that `activate` touches


def attempt(guarded: Guarded) -> Iterator[PyinfraCommand]:
    """Commands that make the change, prove that we can still get in, and keep it: `yield from guard.attempt(...)`."""
    new = f"{GUARD_DIR}/{guarded.what}/new"
    for number, (content, _mode) in enumerate(guarded.files.values()):
        text = content if content.endswith("\n") else f"{content}\n"
        staged = QuoteString(f"{new}/{number}")
        yield StringCommand("umask 077; mkdir -p", QuoteString(new), "&& cat >", staged, _stdin=text)
    yield StringCommand(try_script(guarded))
    yield FunctionCommand(prove_new_connection, (guarded.what,), {})
    yield StringCommand(keep_script(guarded.what))


def prove_new_connection(state: State, host: Host, what: str) -> bool:  # noqa: ARG001  # pyinfra wants both
    """True if a new connection gets in; False, with a sentence, if not: the node then reverts by itself."""
    found = proof_failure(host)
    if found is None:
        return True
    sentence = (
        f"cannot keep the new {what} on {host.name}: {found}; the node puts the old one back by itself"
        f" {REVERT_AFTER_S} s after the change; correct the declaration, then apply again"
    )
    host.log_styled(sentence, fg="red", log_func=logger.error)
    return False


def proof_failure(host: Host) -> str | None:
    """Why no new connection gets in; None if one does."""
    prove = getattr(host.connector, "prove_new_connection", None)
    if prove is None:
        return "its connector cannot open a second connection (declare it as @node/<name>)"
    try:
        prove()
    except ConnectionError as error:
        return str(error)
    return None


def try_script(guarded: Guarded) -> str:
    """The shell text that saves, arms, puts in place and activates; it undoes itself at once if a step of it fails."""
    return _TRY.format(
        **_names(guarded.what),
        check=guarded.check,
        revert=revert_script(guarded),
        save_files="\n".join(_save(number, path) for number, path in enumerate(_touched(guarded))),
        save=guarded.save,
        boot_text=_BOOT_UNIT.format(**_names(guarded.what)),
        after=REVERT_AFTER_S,
        put_files="\n".join(_put(number, path, mode) for number, (path, (_, mode)) in enumerate(guarded.files.items())),
        activate=guarded.activate,
    )


def revert_script(guarded: Guarded) -> str:
    """The shell text that the node runs by itself; it can be interrupted and run again."""
    put_back = "\n".join(_put_back(number, path) for number, path in enumerate(_touched(guarded)))
    return _REVERT.format(**_names(guarded.what), put_back=put_back, restore=guarded.restore)


def keep_script(what: str) -> str:
    """The shell text that makes the change lasting; it fails if the node has reverted meanwhile."""
    return _KEEP.format(**_names(what))


_TRY = """\
set -eu
guard={guard}; new=$guard/new; saved=$guard/saved
exec 9>"$guard/lock"; flock -w 30 9
{check}
if ! test -d "$saved"; then
rm -rf "$saved.part"; mkdir -m 700 "$saved.part"
{save_files}
(
saved=$saved.part
{save}
)
cat /proc/sys/kernel/random/boot_id >"$saved.part/boot_id"
cat >"$guard/revert" <<'END-OF-REVERT'
{revert}END-OF-REVERT
chmod 700 "$guard/revert"
cat >{boot_unit} <<'END-OF-UNIT'
{boot_text}END-OF-UNIT
mkdir -p {wants}; ln -sf {boot_unit} {wants}/
mv "$saved.part" "$saved"; sync
fi
systemctl stop {unit}.timer {unit}.service 2>/dev/null || true
systemctl reset-failed {unit}.timer {unit}.service 2>/dev/null || true
systemd-run --quiet --collect --unit={unit} --on-active={after} --timer-property=AccuracySec=1s \
--property=Restart=on-failure --property=RestartSec=2 "$guard/revert"
trap '' PIPE  # whoever reads our words may be gone: a failed echo must not end us before the trap below
trap '"$guard/revert" locked; echo "the change failed: what was there is put back" >&2' EXIT
{put_files}
sync
{activate}
trap - EXIT
"""

_REVERT = """\
#!/bin/sh
# Put back the {what} that was in force before a change that nobody has proven. Argument: none (the timer), "locked"
# (the change itself) or "boot" (the node was restarted meanwhile: the files are enough, nothing uses them yet).
set -eu
guard={guard}; saved=$guard/saved; why=${{1:-timer}}
test "$why" = locked || {{ exec 9>"$guard/lock"; flock 9; }}
if test "$why" = boot && cmp -s "$saved/boot_id" /proc/sys/kernel/random/boot_id; then exit 0; fi
if test -d "$saved"; then
{put_back}
sync
if test "$why" != boot; then
{restore}
fi
rm -rf "$saved.old"; mv "$saved" "$saved.old"
echo "unterbau: put back the {what} of before an unproven change ($why)"
fi
test "$why" != locked || systemctl stop {unit}.timer
rm -rf "$saved.old" "$guard/new"
rm -f {wants}/{boot_name} {boot_unit}
"""

_KEEP = """\
set -eu
guard={guard}; saved=$guard/saved
exec 9>"$guard/lock"; flock -w 30 9
if ! test -d "$saved"; then
echo "cannot keep the new {what}: the node has put the old one back meanwhile; apply again" >&2; exit 1
fi
rm -rf "$saved.old"; mv "$saved" "$saved.old"; sync
systemctl stop {unit}.timer {unit}.service 2>/dev/null || true  # should it fire nevertheless, it finds nothing saved
rm -rf "$saved.old" "$guard/new"
rm -f {wants}/{boot_name} {boot_unit}
"""

_BOOT_UNIT = """\
[Unit]
Description=Put back the {what} of before an unproven change
DefaultDependencies=no
RequiresMountsFor={guard}
After=local-fs.target
Before=network-pre.target unterbau-firewall.service ssh.service ssh.socket
[Service]
Type=oneshot
ExecStart={guard}/revert boot
"""


def _names(what: str) -> dict[str, str]:
    boot_name = f"unterbau-guard-{what}.service"
    return {
        "what": what,
        "guard": f"{GUARD_DIR}/{what}",
        "unit": f"unterbau-revert-{what}",
        "boot_name": boot_name,
        "boot_unit": f"/etc/systemd/system/{boot_name}",
        # not sysinit.target: systemd starts its wants again with every service that requires it
        "wants": "/etc/systemd/system/multi-user.target.wants",
    }


def _touched(guarded: Guarded) -> tuple[str, ...]:
    return (*guarded.files, *guarded.also_saved)


def _save(number: int, path: str) -> str:
    place = shlex.quote(path)
    return f'if test -e {place} || test -L {place}; then cp -a {place} "$saved.part/{number}"; fi'


def _put(number: int, path: str, mode: str) -> str:
    place, beside = shlex.quote(path), shlex.quote(_beside(path))
    return f'install -D -m {shlex.quote(mode)} "$new/{number}" {beside}; mv -f {beside} {place}'


def _put_back(number: int, path: str) -> str:
    place, beside = shlex.quote(path), shlex.quote(_beside(path))
    return (
        f'if test -e "$saved/{number}" || test -L "$saved/{number}"\n'
        f'then cp -a "$saved/{number}" {beside}; mv -fT {beside} {place}; else rm -f {place}; fi'
    )


def _beside(path: str) -> str:
    """A name in the same directory that sshd, systemd and sudo don't read: from there a rename is atomic."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.unterbau-new"
