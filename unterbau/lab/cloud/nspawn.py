"""Servers of the lab's cloud as machines of systemd-nspawn, with the same drives, limits and settings as the five."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from unterbau.lab import drive, faults, inside
from unterbau.lab import machine as machines
from unterbau.lab.cloud import balancing, cloud_config, filtering, kept, wiring
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.balancing import Balancers
from unterbau.lab.cloud.kept import Kept
from unterbau.lab.cloud.machines import Health, How, Machine, MachineError
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab
from unterbau.lab.layout import Machine as HostMachine

_STOPS_WITHIN_S = 240  # in order: services take their leave first, as in a reboot
_BEGINS_WITHIN_S = 60


class NspawnMachines:
    """The `Machines` of one lab; `rootfs`: the root file system that all stand on."""

    def __init__(self, lab: Lab, rootfs: Path) -> None:
        self._lab = lab
        self._rootfs = rootfs
        self._locks: dict[int, threading.RLock] = defaultdict(threading.RLock)
        self._filter = threading.Lock()
        self._served = threading.Lock()
        self._balancers = Balancers(lab)

    def create(self, machine: Machine) -> None:
        """A disk with the image on it; does not boot."""
        with self._at_work(machine.id):
            if not machine.image.startswith("debian-"):
                raise MachineError(f"cannot create {machine.name} from {machine.image}: the lab has Debian only")
            server = kept.of(machine, on=False)
            check(self._lab, server)
            who = cloud_config.identity(machine.name, machine.public_keys, machine.user_data)
            inside.prepare(self._lab, kept.host_machine(self._lab, server), self._rootfs, who)
            self._keep(server)

    def destroy(self, server: int) -> None:
        """The machine, its disk, its ports and its faults are gone."""
        with self._at_work(server):
            remove(self._lab, server)
            self._apply_filter()

    def power(self, server: int, how: How) -> None:
        """Boot it, switch it off, ask it to shut down or to reboot, or switch it off and on."""
        with self._at_work(server):
            found = self._known(server, how)
            acts: dict[How, Callable[[Kept], None]] = {
                "on": self._on, "off": self._off, "shutdown": self._shut_down, "reboot": self._reboot,
                "reset": self._reset,
            }  # fmt: skip
            acts[how](found)

    def rebuild(self, machine: Machine) -> None:
        """A new disk with the image on it, and boot."""
        with self._at_work(machine.id):
            remove(self._lab, machine.id)
            self.create(machine)
            self.power(machine.id, "on")

    def configure(self, machine: Machine) -> None:
        """Networks, addresses and firewall rules as they are now, whatever they were."""
        with self._at_work(machine.id):
            before = kept.read(self._lab, machine.id)
            if before is None:
                return
            server = kept.of(machine, on=before.on)
            check(self._lab, server)
            self._keep(server)
            leader = machines.leader(self._lab, kept.host_machine(self._lab, server))
            if leader is not None:
                wiring.replug(self._lab, server, leader)

    def balance(self, load_balancer: Record) -> None:
        """Serve as this load balancer says."""
        with self._balancing():
            balancing.keep(self._lab, load_balancer)

    def unbalance(self, load_balancer: int) -> None:
        """That load balancer serves no more."""
        with self._balancing():
            (balancing.folder(self._lab) / f"{load_balancer}.json").unlink(missing_ok=True)

    def health(self, server: int, port: int) -> Health:
        """What a load balancer last found, at any address of the server."""
        found = kept.read(self._lab, server)
        places = [] if found is None else [*(net["ip"] for net in found.private_net), found.public_ipv4 or ""]
        healths: list[Health] = [self._balancers.health(place, port) for place in places]
        return next((one for one in healths if one != "unknown"), "unknown")

    @contextmanager
    def _balancing(self) -> Iterator[None]:
        with self._served:
            try:
                yield
                self._apply_filter()
                self._balancers.refresh()
            except LabError as error:
                raise MachineError(str(error)) from error

    def revive(self) -> list[str]:
        """Balance again, and boot those that should run and do not, as after a restart of this host; their names."""
        with self._balancing():
            pass
        dead = [server for server in kept.all_of(self._lab) if server.on and not runs(self._lab, server)]
        for server in dead:
            with self._at_work(server.id):
                self._on(server)
        return [server.name for server in dead]

    @contextmanager
    def _at_work(self, server: int) -> Iterator[None]:
        with self._locks[server]:
            try:
                yield
            except LabError as error:
                raise MachineError(str(error)) from error

    def _known(self, server: int, how: str) -> Kept:
        found = kept.read(self._lab, server)
        if found is None:
            raise MachineError(f"cannot switch machine {server} {how}: there is none")
        return found

    def _keep(self, server: Kept) -> None:
        kept.write(self._lab, server)
        kept.host_machine(self._lab, server).wiring.write_text(wiring.boot_script(self._lab, server))
        self._apply_filter()

    def _apply_filter(self) -> None:
        with self._filter:  # the last to write has read what all have kept
            filtering.apply(self._lab)

    def _on(self, server: Kept) -> None:
        self._keep(replace(server, on=True))
        if not runs(self._lab, server):
            one = kept.host_machine(self._lab, server)
            stop(self._lab, one)
            boot(self._lab, one)

    def _off(self, server: Kept) -> None:
        self._keep(replace(server, on=False))
        stop(self._lab, kept.host_machine(self._lab, server))

    def _reset(self, server: Kept) -> None:
        stop(self._lab, kept.host_machine(self._lab, server))
        self._on(server)

    def _shut_down(self, server: Kept) -> None:
        one = kept.host_machine(self._lab, server)
        self._keep(replace(server, on=False))
        self._signal(one, signal.SIGRTMIN + 4)  # what systemctl poweroff comes down to; source: systemd(1)
        members = machines.group(self._lab, one)
        self._await(lambda: not members.populated(), f"cannot shut {one.name} down: it still runs")
        stop(self._lab, one)

    def _reboot(self, server: Kept) -> None:
        one = kept.host_machine(self._lab, server)
        old = self._signal(one, signal.SIGRTMIN + 5)
        self._await(
            lambda: machines.leader(self._lab, one) not in (old, None), f"cannot reboot {one.name}: still the old boot"
        )

    def _signal(self, one: HostMachine, number: int) -> int | None:
        leader = machines.leader(self._lab, one)
        if leader is not None:
            os.kill(leader, number)
        return leader

    def _await(self, done: Callable[[], bool], cannot: str) -> None:
        deadline = time.monotonic() + _STOPS_WITHIN_S
        while not done():
            if time.monotonic() > deadline:
                raise LabError(f"{cannot} after {_STOPS_WITHIN_S} s; switch it off instead")
            time.sleep(0.05)


def check(lab: Lab, server: Kept) -> None:
    """A server is in the lab's network, and takes no name and no address of the five. LabError if it would."""
    five = [one for one in lab.machines if one.complete.exists()]
    if server.name in {one.name for one in five}:
        raise LabError(f"cannot make {server.name}: a machine of the lab is called so; choose another name")
    taken = {one.address: one.name for one in five}
    for net in server.private_net:
        address = IPv4Address(net["ip"])
        if address not in lab.subnet or address == lab.gateway:
            raise LabError(
                f"cannot give {server.name} the address {address}: the lab's private network is {lab.subnet}, "
                f"without {lab.gateway}; declare the network and its subnet so"
            )
        if address in taken:
            raise LabError(f"cannot give {server.name} the address {address}: {taken[address]} of the lab has it")


def runs(lab: Lab, server: Kept) -> bool:
    """Whether a server's machine runs, with who boots it again after a reboot."""
    return machines.supervised(lab, kept.host_machine(lab, server))


def boot(lab: Lab, one: HostMachine) -> None:
    """Start it in the background, and see it begin."""
    machines.boot(lab, one)
    deadline = time.monotonic() + _BEGINS_WITHIN_S
    while machines.leader(lab, one) is None:
        if not machines.group(lab, one).populated() or time.monotonic() > deadline:
            said = (one.directory / "console.log").read_text(errors="replace").strip().splitlines()[-3:]
            raise LabError(f"cannot boot {one.name}: {' | '.join(said) or 'it said nothing'}")
        time.sleep(0.01)


def stop(lab: Lab, one: HostMachine) -> None:
    """Switch it off at once; its disk stays, and none of its ports does."""
    machines.group(lab, one).kill()
    machines.group(lab, one).remove()
    wiring.unplug(lab, one.number)
    drive.await_release(one)


def remove(lab: Lab, server: int) -> None:
    """Nothing of it is left, whatever there was."""
    found = kept.read(lab, server)
    one = HostMachine(f"server {server}", kept.NOWHERE, server, kept.folder(lab, server), f"cloud-{server}")
    if found is not None:
        faults.forget(lab, kept.host_machine(lab, found))
    stop(lab, one)
    kept.forget(lab, server)
    shutil.rmtree(one.directory, ignore_errors=True)
