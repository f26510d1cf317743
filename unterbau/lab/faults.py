"""Faults, and how each is taken back. What is on is written down, one file per machine and kind, before it is done."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unterbau.lab import drive, everyone, machine, ssh, wire
from unterbau.lab.command import run, succeeds
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, Machine

# In the order in which they are taken back: a machine has to run before its drive can be emptied.
KINDS = ("kill", "pause", "cut", "slow", "fill")
FILL_LIMIT_GIB = 4
_FILLER = ".unterbau-filler"
_WAIT_S = 240  # in order: its services take their leave first, MinIO in up to 150 s
# Takes space in ever smaller pieces without writing to it, then writes until there is none.
_FILL = """\
cd "$2"
exec 2> /dev/null
have=0 size=$(df --output=avail -B1 . | tail -1)
while [ "$size" -ge 4096 ]; do
  if fallocate --offset "$have" --length "$size" "$1"; then have=$((have + size)); else size=$((size / 2)); fi
done
cat /dev/zero >> "$1" || :
"""


@dataclass(frozen=True)
class Fault:
    """One fault that is on; options by kind: cut {direction}, slow {delay_ms, loss_percent}, fill {path}."""

    node: str
    kind: str
    options: dict[str, Any]
    since: str


def active(lab: Lab) -> list[Fault]:
    """Every fault that is on, in the order in which they are taken back."""
    found = []
    for path in sorted(_directory(lab).glob("*.json")):
        with suppress(FileNotFoundError):  # taken back meanwhile: who only looks holds no lock
            found.append(Fault(**json.loads(path.read_text())))
    return sorted((fault for fault in found if _is_real(lab, fault)), key=lambda fault: KINDS.index(fault.kind))


def _is_real(lab: Lab, fault: Fault) -> bool:
    one = next((one for one in everyone.machines(lab) if one.name == fault.node), None)
    if one is None:
        return False
    members = machine.group(lab, one)
    if fault.kind == "kill":
        return not members.populated()
    return fault.kind != "pause" or members.frozen()


def kill(lab: Lab, one: Machine) -> str:
    """Switch it off as if its power went; its disk stays. `up` or undo boots it again."""
    if not machine.group(lab, one).populated():
        return f"{one.name} is down already"
    _write(lab, one, "kill", {})
    machine.stop(lab, one)
    return f"{one.name} is off"


def pause(lab: Lab, one: Machine) -> str:
    """Freeze every process of it; its kernel still answers ping and accepts connections."""
    _require_running(lab, one, "pause")
    if machine.group(lab, one).frozen():
        return f"{one.name} is paused already"
    _write(lab, one, "pause", {})
    machine.group(lab, one).freeze(frozen=True)
    return f"{one.name} is paused"


def cut(lab: Lab, one: Machine, direction: str) -> str:
    """Drop what it sends (`out`), receives (`in`), or both, seen from the machine."""
    _require_running(lab, one, "cut")
    before = _current(lab, one, "cut")
    if before is not None and before.options["direction"] == direction:
        return f"{one.name} is cut ({direction}) already"
    _write(lab, one, "cut", {"direction": direction})
    _apply_drops(lab)
    return f"{one.name} is cut ({direction})"


def slow(lab: Lab, one: Machine, delay_ms: float, loss_percent: float) -> str:
    """Delay every packet that it sends, and lose some."""
    _require_running(lab, one, "slow")
    options = {"delay_ms": delay_ms, "loss_percent": loss_percent}
    before = _current(lab, one, "slow")
    if before is not None and before.options == options and wire.delayed(lab, one) == bool(delay_ms):
        return f"{one.name} is that slow already"
    _write(lab, one, "slow", options)
    _apply_slow(lab, one, options)
    return f"{one.name} is slow: {delay_ms:g} ms more for each packet it sends, {loss_percent:g}% of them lost"


def fill(lab: Lab, one: Machine, path: str) -> str:
    """Fill the file system of fixed size that holds `path` in the machine."""
    pid = _require_running(lab, one, "fill")
    before = _current(lab, one, "fill")
    if before is not None and before.options["path"] != path:
        raise LabError(f"cannot fill {path} on {one.name}: {before.options['path']} is filled; undo that first")
    if not succeeds(*_entering(pid), "test", "-d", path):
        raise LabError(f"cannot fill {path} on {one.name}: there is no such directory; name one of the drive's")
    block, blocks = map(int, _inside(pid, "stat", "--file-system", "--format=%S %b", path).split())
    if block * blocks > FILL_LIMIT_GIB * 2**30:
        raise LabError(
            f"cannot fill {path} on {one.name}: its file system has {block * blocks / 2**30:.0f} GiB, it is the host's "
            f"own disk; choose one of at most {FILL_LIMIT_GIB} GiB, as {drive.OBJECTS.path}"
        )
    _write(lab, one, "fill", {"path": path})
    _inside(pid, "sh", "-c", _FILL, "sh", _FILLER, path)
    return f"{path} on {one.name} is full"


def reboot(lab: Lab, one: Machine) -> str:
    """Reboot it in order, and wait until a login works again (until it runs again, if it is cut off)."""
    pid = _require_running(lab, one, "reboot")
    if machine.group(lab, one).frozen():
        raise LabError(f"cannot reboot {one.name}: it is paused; `unterbau lab fault undo {one.name} pause` first")
    started = time.monotonic()
    os.kill(pid, signal.SIGRTMIN + 5)  # what systemctl reboot comes down to; source: systemd(1)
    while machine.leader(lab, one) in (pid, None):
        if time.monotonic() > started + _WAIT_S:
            raise LabError(f"cannot reboot {one.name}: still the old boot after {_WAIT_S} s; `unterbau lab fault kill`")
        time.sleep(0.05)
    if _current(lab, one, "cut") is not None:
        return f"{one.name} boots again; it is still cut off"
    return f"{one.name} is back: SSH after {ssh.login_s(lab, one, started, _WAIT_S):.1f} s"


def undo(lab: Lab, fault: Fault, boot: Callable[[Machine], float]) -> str:
    """Take one fault back; boot(machine) boots one; seconds until a login worked, 0 if it is cut off."""
    one = everyone.machine(lab, fault.node)
    if fault.kind == "kill":
        after = boot(one)
        _forget(lab, fault)
        return f"{one.name} is up again" + (f": SSH after {after:.1f} s" if after else "; it is still cut off")
    if fault.kind == "pause":
        machine.group(lab, one).freeze(frozen=False)
        _forget(lab, fault)
        return f"{one.name} goes on"
    if fault.kind == "fill":
        _inside(_require_running(lab, one, "empty"), "rm", "-f", f"{fault.options['path']}/{_FILLER}")
        _forget(lab, fault)
        return f"{fault.options['path']} on {one.name} has space again"
    _forget(lab, fault)
    if fault.kind == "slow":
        wire.undelay(lab, one)
    _apply_drops(lab)
    return f"{one.name} is connected again" if fault.kind == "cut" else f"{one.name} is as fast as ever"


def restore(lab: Lab) -> None:
    """After a crash: forget faults that ended with it, and put those on the wire on again."""
    real = active(lab)
    for path in _directory(lab).glob("*.json"):
        fault = Fault(**json.loads(path.read_text()))
        if fault not in real:
            path.unlink()
        elif fault.kind == "slow":
            _apply_slow(lab, everyone.machine(lab, fault.node), fault.options)
    if any(fault.kind == "cut" for fault in real):
        _apply_drops(lab)


def clear(lab: Lab) -> None:
    """Take everything off the wire, for `down`."""
    for one in everyone.machines(lab):
        wire.undelay(lab, one)


def forget(lab: Lab, one: Machine) -> None:
    """Take all off a machine that is about to go; what it cannot be asked for goes with it."""
    on = {fault.kind for fault in active(lab) if fault.node == one.name}
    for kind in KINDS:
        _path(lab, one.name, kind).unlink(missing_ok=True)
    if "slow" in on:
        wire.undelay(lab, one)
    if on & {"cut", "slow"}:
        _apply_drops(lab)


def _apply_slow(lab: Lab, one: Machine, options: dict[str, Any]) -> None:
    if options["delay_ms"]:
        wire.delay(lab, one, options["delay_ms"])
    else:
        wire.undelay(lab, one)
    _apply_drops(lab)


def _apply_drops(lab: Lab) -> None:
    wanted: list[wire.Cut | wire.Loss] = []
    for fault in active(lab):
        for port in everyone.machine(lab, fault.node).ports:
            if fault.kind == "cut":
                wanted.append(wire.Cut(port, fault.options["direction"]))
            elif fault.kind == "slow" and fault.options["loss_percent"]:
                wanted.append(wire.Loss(port, fault.options["loss_percent"]))
    wire.drop(lab, wanted)


def _inside(pid: int, *command: str) -> str:
    return run(*_entering(pid), *command, timeout_s=120)


def _entering(pid: int) -> tuple[str, ...]:
    # Not over SSH: it has to work while the machine is cut off or paused.
    return ("nsenter", "--target", str(pid), "--mount", "--root", "--")


def _require_running(lab: Lab, one: Machine, verb: str) -> int:
    pid = machine.leader(lab, one)
    if pid is None:
        raise LabError(f"cannot {verb} {one.name}: it is down; run `unterbau lab up` first")
    return pid


def _directory(lab: Lab) -> Path:
    return lab.state / "faults"


def _path(lab: Lab, node: str, kind: str) -> Path:
    return _directory(lab) / f"{node}.{kind}.json"


def _current(lab: Lab, one: Machine, kind: str) -> Fault | None:
    return next((fault for fault in active(lab) if (fault.node, fault.kind) == (one.name, kind)), None)


def _write(lab: Lab, one: Machine, kind: str, options: dict[str, Any]) -> None:
    _directory(lab).mkdir(mode=0o700, exist_ok=True)
    fault = Fault(one.name, kind, options, datetime.now(UTC).isoformat(timespec="seconds"))
    path = _path(lab, one.name, kind)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(fault)))
    part.replace(path)


def _forget(lab: Lab, fault: Fault) -> None:
    _path(lab, fault.node, fault.kind).unlink(missing_ok=True)
