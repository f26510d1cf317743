"""Swap is off: kubelet and etcd both count on memory being memory."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.swap import State, Swap
from operations import config_file
from operations.config_file import Commands, Wanted
from unterbau import changes
from unterbau.domain.unknown import Unknown

FSTAB = "/etc/fstab"


def without_swap(fstab: str) -> str:
    """The same fstab without its swap lines. Third field: type. Source: fstab(5)."""

    def is_swap(line: str) -> bool:
        fields = line.split()
        return len(fields) > 2 and not fields[0].startswith("#") and fields[2] == "swap"

    return "".join(line for line in fstab.splitlines(keepends=True) if not is_swap(line))


def swapoff(name: str) -> StringCommand:
    """Unless masking its unit has done it."""
    quoted = shlex.quote(name)
    return StringCommand(f"! cut -d' ' -f1 /proc/swaps | grep -qxF -e {quoted} || swapoff -- {quoted}")


@operation()
def off() -> Commands:
    """No swap is in use, and none comes back at boot: not from fstab, not from a unit, not from zram."""
    state = host.get_fact(State)
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot turn swap off on {host.name}: its state could not be read; see above")
        return
    if state["fstab"]["exists"] and state["fstab"]["content"] is None:
        found = state["fstab"]["kind"]
        yield from changes.refuse(
            f"cannot read {FSTAB} on {host.name}: found a {found} that is not UTF-8 text; repair it"
        )
        return
    commands = [*_fstab(state), *_units(state)]
    for name in state["in_use"]:
        changes.attribute(f"swap {name}", "in use", "off")
        commands.append(swapoff(name))
    if not commands:
        host.noop("swap is off, now and at boot")
    yield from commands


def _fstab(state: Swap) -> list[StringCommand]:
    present = state["fstab"]["content"]
    if present is None or without_swap(present) == present:
        return []
    mode, user, group = (state["fstab"][key] for key in ("mode", "user", "group"))
    wanted = Wanted(without_swap(present), mode or "644", user or "root", group or "root")
    return [*config_file.converge(FSTAB, state["fstab"], wanted), StringCommand("systemctl daemon-reload")]


def _units(state: Swap) -> list[StringCommand]:
    """Mask them; one that stands where the mask would stand is put aside."""
    commands = []
    for unit, path in state["units"].items():
        changes.attribute(unit, "brings swap", "masked")
        name, file = shlex.quote(unit), shlex.quote(path)
        if path.startswith("/etc/systemd/system/"):
            commands.append(StringCommand(f"systemctl disable --now -- {name}; mv -fT {file} {file}.off"))
        commands.append(StringCommand(f"systemctl mask --now -- {name}"))
    return commands
