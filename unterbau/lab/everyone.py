"""All machines that a lab has: the five, and those of its cloud."""

from __future__ import annotations

from unterbau.lab.cloud import kept
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, Machine


def machines(lab: Lab) -> tuple[Machine, ...]:
    """The five, unless there is a cloud and they were never made; then the cloud's, in the order of their making."""
    five = lab.machines if not lab.cloud.exists() or any(one.complete.exists() for one in lab.machines) else ()
    return (*five, *(kept.host_machine(lab, server) for server in kept.all_of(lab)))


def machine(lab: Lab, name: str) -> Machine:
    """The machine of that name. Raises LabError that names all."""
    everyone = machines(lab)
    for one in everyone:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in everyone) or "none"
    raise LabError(f"cannot find machine {name!r}: the lab has {known}; use one of these")
