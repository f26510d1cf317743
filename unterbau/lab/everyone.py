"""All machines that a lab has: the five, and those of its cloud."""

from __future__ import annotations

from unterbau.lab.cloud import kept
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, Machine


def machines(lab: Lab) -> tuple[Machine, ...]:
    """The five, unless there is a cloud and they were never made; then the cloud's, in the order of their making."""
    five = () if are_of_the_cloud(lab) else lab.machines
    return (*five, *(kept.host_machine(lab, server) for server in kept.all_of(lab)))


def are_of_the_cloud(lab: Lab) -> bool:
    """Whether the lab's machines come from its cloud: there is one, and the five were never made."""
    return lab.cloud.exists() and not any(one.complete.exists() for one in lab.machines)


def wanted(lab: Lab) -> tuple[Machine, ...]:
    """Those that should run: all, but for servers of the cloud that were switched off."""
    off = {server.name for server in kept.all_of(lab) if not server.on}
    return tuple(one for one in machines(lab) if one.name not in off)


def machine(lab: Lab, name: str) -> Machine:
    """The machine of that name. Raises LabError that names all."""
    everyone = machines(lab)
    for one in everyone:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in everyone) or "none"
    raise LabError(f"cannot find machine {name!r}: the lab has {known}; use one of these")
