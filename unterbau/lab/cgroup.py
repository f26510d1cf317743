"""Control groups: what the lab starts lives in groups of its own, so that each can be found, frozen and killed whole.

Works with cgroup v2 alone, and with v1 controllers beside an empty v2 hierarchy (a hybrid). Freezing, killing and
asking who lives there always use v2; memory is read wherever the controller is.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab.errors import LabError

_ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
# What a machine may open: null, zero, full, random, urandom, kmsg, tty, console, ptmx, pts, fuse, tun. Of all others it
# may make nodes that it cannot open: a container runtime hands just that on to containers, and only what it has itself.
_OPENED = ("1:3", "1:5", "1:7", "1:8", "1:9", "1:11", "5:0", "5:1", "5:2", "136:*", "10:229", "10:200")
_DEVICES = (*(f"c {number} rwm" for number in _OPENED), "c *:* m", "b *:* m")


def _unified() -> Path:
    for path in (_ROOT, _ROOT / "unified"):
        if (path / "cgroup.controllers").exists():
            return path
    raise LabError(f"cannot manage processes: no cgroup v2 hierarchy under {_ROOT}; mount one at {_ROOT / 'unified'}")


@dataclass(frozen=True)
class Group:
    """One control group, named by its path below the hierarchy's root: `ub-lab/srv-1`."""

    path: str

    @property
    def unified(self) -> Path:
        """Its directory in the v2 hierarchy."""
        return _unified() / self.path

    def _v1(self) -> list[Path]:
        return [_ROOT / name / self.path for name in _V1_CONTROLLERS if (_ROOT / name / "cgroup.procs").exists()]

    def create(self, *, controllers: bool) -> list[Path]:
        """Make it (no change if it is there); returns the directories a process must join, `devices` last."""
        self.unified.mkdir(parents=True, exist_ok=True)
        if not controllers:
            return [self.unified]
        for directory in self._v1():
            directory.mkdir(parents=True, exist_ok=True)
            _give_processors(directory)
        _delegate(self.unified)
        limits = _ROOT / "devices" / self.path
        if limits.exists():
            (limits / "devices.deny").write_text("a")
            for device in _DEVICES:
                (limits / "devices.allow").write_text(device)
        return sorted([self.unified, *self._v1()], key=lambda directory: directory.is_relative_to(_ROOT / "devices"))

    def populated(self) -> bool:
        """Whether any process lives in it or below."""
        return self._event("populated")

    def frozen(self) -> bool:
        """Whether all its processes are frozen."""
        return self._event("frozen")

    def _event(self, name: str) -> bool:
        return f"{name} 1" in _read(self.unified / "cgroup.events")

    def processes(self) -> list[int]:
        """Process ids in it and below."""
        found: list[int] = []
        for directory, _below, _files in os.walk(self.unified):  # which passes over what vanishes meanwhile
            found += map(int, _read(Path(directory, "cgroup.procs")).split())
        return found

    def freeze(self, *, frozen: bool, timeout_s: float = 30) -> None:
        """Freeze or thaw everything in it, and wait until it is so."""
        (self.unified / "cgroup.freeze").write_text("1" if frozen else "0")
        deadline = time.monotonic() + timeout_s
        while self.frozen() != frozen:
            if time.monotonic() > deadline:
                raise LabError(f"cannot {'freeze' if frozen else 'thaw'} {self.path}: no change after {timeout_s} s")
            time.sleep(0.01)

    def kill(self, timeout_s: float = 60) -> None:
        """Kill every process in it, at once and with no say in it; wait until they are gone."""
        if not self.unified.exists():
            return
        (self.unified / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + timeout_s
        while self.populated():
            if time.monotonic() > deadline:
                raise LabError(f"cannot kill {self.path}: processes {self.processes()} live on; look at `ps`")
            time.sleep(0.01)

    def remove(self) -> None:
        """Remove its directories in every hierarchy; nothing may live in it."""
        for top in (self.unified, *self._v1()):
            if top.exists():
                for directory in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                    directory.rmdir()
                top.rmdir()

    def memory_bytes(self) -> int | None:
        """Memory its processes hold, without file cache that can be dropped; None if the host doesn't count."""
        for directory, current, inactive in (
            (_ROOT / "memory" / self.path, "memory.usage_in_bytes", "total_inactive_file"),
            (self.unified, "memory.current", "inactive_file"),
        ):
            with suppress(OSError):
                statistics = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
                return max(0, int((directory / current).read_text()) - int(statistics[inactive]))
        return None


def _read(file: Path) -> str:
    """What a group's file says; "" once the group is gone, also if that was between opening and reading (ENODEV)."""
    try:
        return file.read_text()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ESRCH):
            return ""
        raise


def other_groups(own: str) -> list[str]:
    """Names of other labs' groups."""
    return sorted(path.name for path in _unified().glob("ub-*") if path.name != own)


def _give_processors(directory: Path) -> None:
    # A v1 cpuset starts empty, and an empty one takes no process.
    if (directory / "cpuset.cpus").exists():
        for parent in (directory.parent, directory):
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not (parent / name).read_text().strip():
                    (parent / name).write_text((parent.parent / name).read_text())


def _delegate(directory: Path) -> None:
    for parent in (_unified(), *reversed(directory.relative_to(_unified()).parents[:-1])):
        control = (_unified() / parent) / "cgroup.subtree_control"
        for controller in (control.parent / "cgroup.controllers").read_text().split():
            with suppress(OSError):  # some cannot be handed on; the machines do without
                control.write_text(f"+{controller}")
