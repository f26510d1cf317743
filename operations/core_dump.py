"""Core dumps are off: they would write the memory of Vault or PostgreSQL, secrets and all, to a disk.

The kernel's side (fs.suid_dumpable, kernel.core_pattern) is declared with the other kernel parameters.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.core_dump import State
from operations import config_file
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown

FILES = {
    "/etc/security/limits.d/unterbau.conf": "# No core dumps in sessions.\n* hard core 0\nroot hard core 0\n",
    "/etc/systemd/coredump.conf.d/unterbau.conf": "[Coredump]\nStorage=none\nProcessSizeMax=0\n",
    "/etc/systemd/system.conf.d/unterbau.conf": "# No core dumps of services.\n[Manager]\nDefaultLimitCORE=0\n",
}

# A reload does not read system.conf again. What another file there says later wins, and is not ours to change.
REEXEC = (
    'systemctl daemon-reexec && [ "$(systemctl show --property=DefaultLimitCORE --value)" = 0 ] || '
    "{ echo 'cannot turn core dumps of services off: another file sets DefaultLimitCORE; "
    "find it with systemd-analyze cat-config systemd/system.conf' >&2; exit 1; }"
)


@operation()
def off() -> Commands:
    """Neither sessions nor services may dump core. Services that run already keep their limit until they restart."""
    state = host.get_fact(State, paths=list(FILES))
    if isinstance(state, Unknown):
        yield from changes.refuse(
            f"cannot turn core dumps off on {host.name}: their state could not be read; see above"
        )
        return
    if sentence := config_file.obstacle(state["files"]):
        yield from changes.refuse(sentence)
        return
    _, commands = config_file.converge_texts(state["files"], FILES)
    if state["service_limit"] != "0":
        changes.attribute("systemd DefaultLimitCORE", state["service_limit"], "0")
        commands.append(StringCommand(REEXEC))
    if not commands:
        host.noop("core dumps are off in sessions and services")
    yield from commands
