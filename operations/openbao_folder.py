"""The folders of OpenBao: it writes its data and its audit logs, and only reads its configuration."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.openbao import CONFIG, DATA_FOLDER, SEAL_FOLDER, UNIT, USER
from facts.service import State
from operations.config_file import Commands
from unterbau import changes
from unterbau.domain.unknown import Unknown


@operation()
def present(audit_paths: Sequence[str]) -> Commands:
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
    state = host.get_fact(State, unit=UNIT, config_paths=list(wanted))
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
