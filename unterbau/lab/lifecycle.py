"""Up and down: from whatever there is to five machines that answer, and to nothing at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unterbau.lab import everyone, faults, host_limits, inside, keys, machine, network, rootfs, secrets, ssh
from unterbau.lab.cgroup import Group, other_groups
from unterbau.lab.cloud import kept
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, Machine

_LOGIN_TIMEOUT_S = 120  # five boots at once on two cores that others use as well; who ended is told at once
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What `up` did: machines booted now, with the seconds until a login worked; what else it put in place; errors."""

    booted: dict[str, float]
    put_in_place: list[str]
    errors: dict[str, str]
    seconds: float


@contextmanager
def locked(lab: Lab, say: Say) -> Iterator[None]:
    """Hold the lab's lock; says who holds it while waiting. The kernel lets go of it when the process ends."""
    lab.cache.mkdir(parents=True, exist_ok=True)
    with lab.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"waiting for process {file.read().strip() or '(unknown)'}, which is working on the lab")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def healthy(lab: Lab) -> bool:
    """Whether everything is there and all machines accept connections; costs no process per machine."""
    if not lab.known_hosts.exists() or not secrets.there(lab) or not all(one.complete.exists() for one in lab.machines):
        return False
    groups = [machine.group(lab, one) for one in lab.machines]
    if (
        not host_limits.enough()
        or not all(group.populated() and not group.frozen() for group in groups)
        or not network.is_up(lab)
    ):
        return False
    return all(ssh.greet(list(lab.machines), timeout_s=1).values())


def up(lab: Lab, say: Say) -> Outcome:
    """Make all five machines answer SSH; leaves alone those that do. Disks and host keys that are there are kept.

    Of a lab whose machines come from its cloud, those that should run.
    """
    if everyone.are_of_the_cloud(lab):
        return _cloud_up(lab, say)
    with locked(lab, say):
        started = time.monotonic()
        if healthy(lab):
            return Outcome({}, [], {}, time.monotonic() - started)
        return _repair(lab, say)


def _cloud_up(lab: Lab, say: Say) -> Outcome:
    started = time.monotonic()
    dead = [one for one in everyone.wanted(lab) if not machine.supervised(lab, one)]
    parts = cloud_up(lab, say)
    return _outcome(lab, dead, parts, started) if parts else Outcome({}, [], {}, time.monotonic() - started)


def _repair(lab: Lab, say: Say) -> Outcome:
    rootfs.install_host_packages(say)
    recipe = rootfs.hosts_recipe()
    if not all(one.complete.exists() for one in lab.machines):
        check_free(lab)
        base = _keys_and_rootfs(lab, recipe, say)
        for one in lab.machines:
            inside.prepare(lab, one, base)
    started = time.monotonic()
    parts = _surroundings(lab, recipe)
    dead = [one for one in lab.machines if not _alive(lab, one)]
    for one in dead:
        say(f"booting {one.name}")
        machine.stop(lab, one)
        machine.boot(lab, one)
    faults.restore(lab)
    return _outcome(lab, dead, parts, started)


def _keys_and_rootfs(lab: Lab, recipe: rootfs.Recipe, say: Say) -> Path:
    base = rootfs.ensure(lab, recipe, say)
    _private_directory(lab.state)
    keys.ensure(lab)
    return base


def _surroundings(lab: Lab, recipe: rootfs.Recipe) -> list[str]:
    made = ["secrets"] if secrets.ensure(lab) else []
    limits = ["host limits"] if host_limits.lift(lab) else []
    return made + limits + network.up(lab, recipe)


def check_free(lab: Lab) -> None:
    """The five take no name and no address of a server of the lab's cloud. LabError if one has it."""
    taken = {net["ip"]: server.name for server in kept.all_of(lab) for net in server.private_net}
    names, hint = {server.name for server in kept.all_of(lab)}, "delete that server, or run `unterbau lab cloud down`"
    for one in lab.machines:
        if str(one.address) in taken:
            other = taken[str(one.address)]
            raise LabError(f"cannot make {one.name}: {other} of the lab's cloud has its address {one.address}; {hint}")
        if one.name in names:
            raise LabError(f"cannot make {one.name}: a server of the lab's cloud has its name; {hint}")


def cloud_up(lab: Lab, say: Say) -> list[str]:
    """Have the lab's cloud answer, with what it needs of the lab but the five machines; what was put in place."""
    from unterbau.lab.cloud import service  # noqa: PLC0415  # a lab without a cloud pays for none of it

    with locked(lab, say):
        if service.is_up(lab) and network.is_up(lab) and host_limits.enough():
            return []
        rootfs.install_host_packages(say)
        recipe = rootfs.hosts_recipe()
        base = _keys_and_rootfs(lab, recipe, say)
        return _surroundings(lab, recipe) + service.up(lab, base)


def cloud_down(lab: Lab, say: Say) -> bool:
    """Take the lab's cloud away, with all its servers; whether there was one."""
    from unterbau.lab.cloud import service  # noqa: PLC0415

    with locked(lab, say):
        return service.down(lab)


def _outcome(lab: Lab, dead: list[Machine], parts: list[str], started: float) -> Outcome:
    errors = {fault.node: _unreachable(fault) for fault in faults.active(lab) if fault.kind in ("pause", "cut")}
    reachable = [one for one in everyone.wanted(lab) if one.name not in errors]
    reached = ssh.logins_s(lab, reachable, started, _LOGIN_TIMEOUT_S)
    names = {one.name for one in dead}
    booted = {name: round(took, 2) for name, took in reached.items() if isinstance(took, float) and name in names}
    errors |= {name: str(took) for name, took in reached.items() if isinstance(took, LabError)}
    return Outcome(booted, parts, errors, time.monotonic() - started)


def _unreachable(fault: faults.Fault) -> str:
    undo = f"unterbau lab fault undo {fault.node} {fault.kind}"
    return f"cannot reach {fault.node}: the fault `{fault.kind}` is on since {fault.since}; `{undo}` first"


def _alive(lab: Lab, one: Machine) -> bool:
    # A machine whose supervisor was killed has no one to boot it again after a reboot: not alive either.
    return machine.supervised(lab, one) and network.plugged_in(lab, one)


def _private_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)


def down(lab: Lab, say: Say, *, purge_cache: bool) -> bool:
    """Take everything away but the caches (with purge_cache, these too). Whether there was anything."""
    from unterbau.lab.cloud import service  # noqa: PLC0415

    with locked(lab, say):
        was_there = lab.state.exists() or Group(lab.group).unified.exists()
        Group(lab.group).kill()
        faults.clear(lab)
        service.down(lab)
        rootfs.discard(lab)
        for one in lab.machines:
            machine.stop(lab, one)
        network.down(lab)
        Group(lab.group).remove()
        if not other_groups(lab.group):
            host_limits.put_back(lab)
        if lab.state.exists():
            shutil.rmtree(lab.state)
        if purge_cache:
            rootfs.purge(lab, say)
        return was_there


def status(lab: Lab) -> list[dict[str, Any]]:
    """One dictionary per machine, the cloud's as well.

    It has name, address, state (running, paused, down), memory_mib, uptime_s, faults.
    """
    on = faults.active(lab)
    rows = [asdict(machine.facts(lab, one)) for one in everyone.machines(lab)]
    return [{**row, "faults": [asdict(fault) for fault in on if fault.node == row["name"]]} for row in rows]


def undo(lab: Lab, node: str | None, kind: str | None, say: Say) -> int:
    """Take back the faults of a machine (of all), of a kind (of all); how many there were."""
    on = [fault for fault in faults.active(lab) if node in (None, fault.node) and kind in (None, fault.kind)]
    for fault in on:
        say(faults.undo(lab, fault, lambda one: _boot_one(lab, one)))
    return len(on)


def _boot_one(lab: Lab, one: Machine) -> float:
    started = time.monotonic()
    machine.boot(lab, one)
    if any((fault.node, fault.kind) == (one.name, "cut") for fault in faults.active(lab)):
        return 0.0
    return ssh.login_s(lab, one, started, _LOGIN_TIMEOUT_S)
