"""Kernel modules: loaded now and at boot."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.kernel_module import States
from operations import config_file
from operations.config_file import Commands, Wanted
from unterbau import changes
from unterbau.domain.unknown import Unknown

PATH = "/etc/modules-load.d/unterbau.conf"
HEADER = "# Declared in group data (kernel.modules); changes made here are undone."


@operation()
def loaded(names: Sequence[str], *, path: str = PATH) -> Commands:
    """These modules are loaded or built in, and loaded at boot. Modules that are not named stay as they are.

    Args:
        names: as modprobe takes them; with none, the file is absent.
        path: the file they are loaded from at boot; it is ours alone.
    """
    state = host.get_fact(States, names=list(names), path=path)
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot load kernel modules on {host.name}: they could not be read; see above")
        return
    if sentence := config_file.obstacle({path: state["file"]}):
        yield from changes.refuse(sentence)
        return
    wanted = Wanted("\n".join([HEADER, *sorted(names)])) if names else None
    commands = config_file.converge(path, state["file"], wanted)
    for name in names:
        if state["modules"][name] == "absent":
            changes.attribute(f"kernel module {name}", "absent", "loaded")
            commands.append(StringCommand(f"modprobe -- {shlex.quote(name)}"))
    if not commands:
        host.noop("kernel modules are loaded, now and at boot" if names else "no kernel modules are declared")
    yield from commands
