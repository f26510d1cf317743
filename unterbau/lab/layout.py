"""What a lab is made of: names, addresses and paths. Pure; nothing here touches the machine it runs on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from unterbau.lab.errors import LabError

DEFAULT_NAME = "lab"
DEFAULT_SUBNET = IPv4Network("10.77.0.0/24")
PROXY_PORT = 3142
SSH_PORT = 22
# Host part of each address; a subnet is a /24.
_HOST_PARTS = {"srv-1": 11, "srv-2": 12, "srv-3": 13, "wrk-1": 21, "wrk-2": 22}
CLOUD_PORT = 8080
CLOUD_FAULTS_PORT = 8081
METADATA_PORT = 8082
# Public addresses of cloud servers: a /24 a lab of what is for benchmarks, so nobody's. Source: RFC 2544.
_PUBLIC = IPv4Network("198.18.0.0/15")


@dataclass(frozen=True)
class Machine:
    """One machine: its name (unique on this host), address and number within the lab.

    A server of the lab's cloud has a name that is its project's own: `unit` is what this host calls it, and `plugs` are
    its ports, the one in the private network first.
    """

    name: str
    address: IPv4Address
    number: int
    directory: Path
    unit: str = ""
    plugs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What this host calls it."""
        return self.unit or self.name

    @property
    def port(self) -> str:
        """The machine's port on the bridge, as systemd-nspawn names it."""
        return self.ports[0]

    @property
    def ports(self) -> tuple[str, ...]:
        """All its ports on this host."""
        return self.plugs or (f"vb-{self.name}",)

    @property
    def wiring(self) -> Path:
        """A cloud server's script that makes its interfaces, for its boot."""
        return self.directory / "wiring.sh"

    @property
    def upper(self) -> Path:
        """What the machine wrote over the shared root file system."""
        return self.directory / "upper"

    @property
    def complete(self) -> Path:
        """Exists once every file of the machine is in place."""
        return self.directory / "complete"


@dataclass(frozen=True)
class Lab:
    """One lab; a second one beside it needs another name and another subnet."""

    name: str
    subnet: IPv4Network
    state: Path
    cache: Path

    @property
    def gateway(self) -> IPv4Address:
        """The controller's address on the bridge."""
        return self.subnet.network_address + 1

    @property
    def bridge(self) -> str:
        """The bridge's interface name."""
        return f"ub-{self.name}0"

    @property
    def table(self) -> str:
        """Name of the nft tables (one `inet`, one `bridge`) that the lab owns."""
        return f"unterbau_{self.name}"

    @property
    def group(self) -> str:
        """Name of the cgroup that holds everything the lab started."""
        return f"ub-{self.name}"

    @property
    def key(self) -> Path:
        """The operator's private key."""
        return self.state / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Pinned host keys, by address and by name."""
        return self.state / "ssh" / "known_hosts"

    @property
    def store(self) -> Path:
        """The bootstrap store."""
        return self.state / "secrets" / "store.age"

    @property
    def identity(self) -> Path:
        """The age identity that opens it."""
        return self.state / "secrets" / "identity.txt"

    @property
    def cloud(self) -> Path:
        """Everything that the lab's cloud keeps."""
        return self.state / "cloud"

    @property
    def cloud_address(self) -> str:
        """Where the lab's cloud answers this machine, and nobody else: an address of its own on loopback."""
        _, second, third, _ = self.subnet.network_address.packed
        return f"127.{second}.{third}.1"

    @property
    def cloud_endpoint(self) -> str:
        """The URL of the lab's cloud, for a project's `endpoint`."""
        return f"http://{self.cloud_address}:{CLOUD_PORT}/v1"

    @property
    def public(self) -> IPv4Network:
        """The public addresses of the lab's cloud; the same for labs whose subnets' middle bytes have the same sum."""
        _, second, third, _ = self.subnet.network_address.packed
        return list(_PUBLIC.subnets(new_prefix=24))[second + third]

    @property
    def lock(self) -> Path:
        """One command at a time works on a lab."""
        return self.cache / f"{self.name}.lock"

    @property
    def machines(self) -> tuple[Machine, ...]:
        """The five machines, in their usual order."""
        prefix = "" if self.name == DEFAULT_NAME else f"{self.name}-"
        return tuple(
            Machine(prefix + name, self.subnet.network_address + part, number, self.state / "machines" / name)
            for number, (name, part) in enumerate(_HOST_PARTS.items(), start=1)
        )

    def machine(self, name: str) -> Machine:
        """The machine of that name. Raises LabError that names the five."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise LabError(f"cannot find machine {name!r}: the lab has {known}; use one of these")


def lab_from(environ: Mapping[str, str] = os.environ) -> Lab:
    """The lab that UNTERBAU_LAB_NAME, _LAB_SUBNET, _LAB_DIR and _CACHE_DIR describe; the usual one without them."""
    name = environ.get("UNTERBAU_LAB_NAME", DEFAULT_NAME)
    if not re.fullmatch(r"[a-z][a-z0-9]{0,4}", name):
        raise LabError(f"cannot use lab name {name!r}: interface names are short; use a letter and up to 4 more a-z0-9")
    return Lab(
        name=name,
        subnet=_subnet(name, environ.get("UNTERBAU_LAB_SUBNET")),
        state=_state(name, environ),
        cache=_directory("UNTERBAU_CACHE_DIR", environ.get("UNTERBAU_CACHE_DIR", "/var/cache/unterbau")),
    )


def _state(name: str, environ: Mapping[str, str]) -> Path:
    # A folder of our own in the one that was named: `down` removes it whole, and /srv is not ours.
    parent = environ.get("UNTERBAU_LAB_DIR")
    if parent is None:
        return Path("/var/lib/unterbau") / name
    return _directory("UNTERBAU_LAB_DIR", parent) / f"unterbau-{name}"


def _directory(variable: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise LabError(f"cannot use {variable} {text!r}: not a place of its own; use an absolute path")
    return path


def _subnet(name: str, text: str | None) -> IPv4Network:
    if text is None:
        if name != DEFAULT_NAME:
            raise LabError(f"cannot place lab {name!r}: no subnet; set UNTERBAU_LAB_SUBNET to a private /24")
        return DEFAULT_SUBNET
    try:
        subnet = IPv4Network(text)
    except ValueError as error:
        raise LabError(f"cannot read UNTERBAU_LAB_SUBNET {text!r}: {error}; use a private /24") from error
    if subnet.prefixlen != 24 or not subnet.is_private:
        raise LabError(f"cannot use UNTERBAU_LAB_SUBNET {subnet}: not a private /24; use one, like {DEFAULT_SUBNET}")
    if name != DEFAULT_NAME and subnet == DEFAULT_SUBNET:
        raise LabError(f"cannot place lab {name!r} on {subnet}: the usual lab lives there; use another private /24")
    return subnet
