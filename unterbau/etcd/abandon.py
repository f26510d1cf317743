"""The way out of a restore that was begun and cannot end: each server goes back to what it had."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unterbau.etcd import restore_steps as steps
from unterbau.etcd.restore import HERE, Machine, RestoreError
from unterbau.etcd.restore_steps import Places


def abandon(
    servers: Sequence[Machine], agents: Sequence[Machine], tell: Callable[[str], None], places: Places = HERE
) -> str:
    """Take back what was begun; what happened, as a sentence. RestoreError; the same call goes on from there.

    Where the restore has ended on one server already its former data are gone: then it is ended on the others too,
    which all have joined by that time.
    """
    found = {machine.name: machine.run(steps.look(places)).split() for machine in servers}
    begun = [machine for machine in servers if "begun" in found[machine.name]]
    if not begun:
        raise RestoreError(f"cannot take a restore back: found none that was begun on {', '.join(found)}")
    moved = any({"before", "reset"} & set(words) for words in found.values())
    ended = [name for name, words in found.items() if "data" in words and "begun" not in words]
    if moved and ended:
        for machine in begun:
            machine.run(steps.end(places, machine.run(steps.under_way(places)).strip()))
        return f"the restore had ended on {', '.join(ended)}: nothing was left to take back but its traces"
    _back(begun, tell, places)
    for machine in agents:
        machine.run(steps.restart_agent())
    return f"{', '.join(machine.name for machine in begun)} run on what they had before the restore"


def _back(begun: Sequence[Machine], tell: Callable[[str], None], places: Places) -> None:
    """All are back before the first one starts: old and restored members must never meet."""
    for machine in begun:
        tell(f"{machine.name}: stopping")
        machine.run(steps.stop())
    for machine in begun:
        for line in machine.run(steps.put_back(places)).splitlines():
            tell(f"{machine.name}: {line}")
    for machine in begun:
        tell(f"{machine.name}: starting")
        machine.run(steps.started_again(places))
