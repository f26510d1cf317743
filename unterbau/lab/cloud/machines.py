"""What stands behind a server of the lab's cloud: a `Machines` makes it real. `InMemoryMachines` only remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from unterbau.lab.cloud.answer import Record

How = Literal["on", "off", "shutdown", "reboot", "reset"]
Health = Literal["healthy", "unhealthy", "unknown"]


class MachineError(Exception):
    """A machine that could not be made to do it: the action fails with this sentence."""


@dataclass(frozen=True)
class Machine:
    """A server as its machine has to be. Everything in it is the API's: names, addresses in text, sizes in GB."""

    id: int
    name: str
    image: str
    cores: int
    memory_gb: float
    disk_gb: int
    public_keys: tuple[str, ...]
    user_data: str = field(repr=False)
    public_ipv4: str | None
    public_ipv6: str | None  # the /64
    private_net: tuple[Record, ...]  # network, ip, alias_ips, mac_address, ip_range of the network, its routes
    volumes: tuple[Record, ...]  # id, size, format
    floating_ips: tuple[str, ...]
    rules: tuple[Record, ...] | None  # of all its firewalls together; None without a firewall: everything is open


class Machines(Protocol):
    """What the cloud asks of them. After a restart in its middle a method is called again, to the same result.

    Each returns when it is done and raises MachineError when it cannot be; `health` answers at once, from what is
    known. Two of them may be called at once for one machine, as when a firewall changes while it boots.
    """

    def create(self, machine: Machine) -> None:
        """A disk with the image on it; does not boot."""

    def destroy(self, server: int) -> None:
        """The machine and its disk are gone; its volumes are not."""

    def power(self, server: int, how: How) -> None:
        """Boot it, switch it off, ask it to shut down or to reboot, or switch it off and on."""

    def rebuild(self, machine: Machine) -> None:
        """A new disk with the image on it, and boot."""

    def configure(self, machine: Machine) -> None:
        """Networks, addresses, volumes, firewall rules and size as they are now, whatever they were."""

    def balance(self, load_balancer: Record) -> None:
        """Serve as this load balancer of the API says, with the addresses of its targets in `backends`."""

    def unbalance(self, load_balancer: int) -> None:
        """That load balancer serves no more."""

    def health(self, server: int, port: int) -> Health:
        """What a health check of that port last found."""


class InMemoryMachines:
    """Machines that exist as words only. `healths` overrides what a port's check finds: {(server, port): health}."""

    def __init__(self) -> None:
        self.machines: dict[int, Machine] = {}
        self.running: set[int] = set()
        self.load_balancers: dict[int, Record] = {}
        self.healths: dict[tuple[int, int], Health] = {}
        self.calls: list[tuple[str, int]] = []

    def create(self, machine: Machine) -> None:
        """Remember it."""
        self.calls.append(("create", machine.id))
        self.machines[machine.id] = machine

    def destroy(self, server: int) -> None:
        """Forget it."""
        self.calls.append(("destroy", server))
        self.machines.pop(server, None)
        self.running.discard(server)

    def power(self, server: int, how: How) -> None:
        """Remember whether it runs."""
        self.calls.append((how, server))
        if server not in self.machines:
            raise MachineError(f"cannot switch machine {server} {how}: there is none")
        (self.running.discard if how in {"off", "shutdown"} else self.running.add)(server)

    def rebuild(self, machine: Machine) -> None:
        """Remember the new one."""
        self.calls.append(("rebuild", machine.id))
        self.machines[machine.id] = machine
        self.running.add(machine.id)

    def configure(self, machine: Machine) -> None:
        """Remember what it is now."""
        self.calls.append(("configure", machine.id))
        if machine.id in self.machines:
            self.machines[machine.id] = machine

    def balance(self, load_balancer: Record) -> None:
        """Remember it."""
        self.load_balancers[load_balancer["id"]] = load_balancer

    def unbalance(self, load_balancer: int) -> None:
        """Forget it."""
        self.load_balancers.pop(load_balancer, None)

    def health(self, server: int, port: int) -> Health:
        """A machine that runs is healthy."""
        return self.healths.get((server, port), "healthy" if server in self.running else "unhealthy")
