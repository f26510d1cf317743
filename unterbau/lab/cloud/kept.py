"""What this host keeps of a server of the lab's cloud: enough to boot it again, and to tell who it is. No user data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.machines import Machine
from unterbau.lab.layout import Lab
from unterbau.lab.layout import Machine as HostMachine

NOWHERE = IPv4Address("0.0.0.0")  # noqa: S104  # the address of a server that has none
_FILE = "server.json"


@dataclass(frozen=True)
class Kept:
    """A server; `private_net` and `rules` as in `Machine`, on: whether it should run."""

    id: int
    name: str
    public_ipv4: str | None
    floating_ips: tuple[str, ...]
    private_net: tuple[Record, ...]
    volumes: tuple[Record, ...]
    rules: tuple[Record, ...] | None
    on: bool


def of(machine: Machine, *, on: bool) -> Kept:
    """What is kept of a machine that the API describes."""
    return Kept(
        machine.id, machine.name, machine.public_ipv4, machine.floating_ips, machine.private_net, machine.volumes,
        machine.rules, on,
    )  # fmt: skip


def folder(lab: Lab, server: int) -> Path:
    """Where everything of a server lies."""
    return lab.cloud / "machines" / str(server)


def public_port(lab: Lab, server: int) -> str:
    """This host's end of a server's public interface; `*` for the server makes it the pattern of all."""
    return f"p{lab.name}-{server}"


def private_port(lab: Lab, server: int, number: int) -> str:
    """This host's end of a server's private interface, which is on the lab's bridge."""
    return f"n{lab.name}-{server}.{number}"


def ports(lab: Lab, server: int) -> list[str]:
    """The ports of a server that are there."""
    names = (path.name for path in Path("/sys/class/net").iterdir())
    private = private_port(lab, server, 0).removesuffix("0")
    return [name for name in names if name == public_port(lab, server) or name.startswith(private)]


def host_machine(lab: Lab, server: Kept) -> HostMachine:
    """The server as the lab's own commands know machines."""
    nets = [private_port(lab, server.id, number) for number, _ in enumerate(server.private_net)]
    plugs = (*nets, *([public_port(lab, server.id)] if server.public_ipv4 else []))
    address = next((net["ip"] for net in server.private_net), server.public_ipv4)
    return HostMachine(
        server.name, IPv4Address(address) if address else NOWHERE, server.id, folder(lab, server.id),
        f"cloud-{server.id}", plugs or (private_port(lab, server.id, 0),),
    )  # fmt: skip


def write(lab: Lab, server: Kept) -> None:
    """Replace what is kept: whoever reads sees the old or the new."""
    file = folder(lab, server.id) / _FILE
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(server)))
    part.replace(file)


def read(lab: Lab, server: int) -> Kept | None:
    """What is kept of a server; None if there is no such, or not yet."""
    try:
        found = json.loads((folder(lab, server) / _FILE).read_text())
    except FileNotFoundError:
        return None
    for name in ("floating_ips", "private_net", "volumes", "rules"):
        found[name] = found[name] if found[name] is None else tuple(found[name])
    return Kept(**found)


def all_of(lab: Lab) -> Iterator[Kept]:
    """Every server that this host keeps, in the order in which they were made."""
    with suppress(FileNotFoundError):
        for number in sorted(int(path.name) for path in (lab.cloud / "machines").iterdir()):
            server = read(lab, number)
            if server is not None:
                yield server


def forget(lab: Lab, server: int) -> None:
    """Nothing of it is left."""
    (folder(lab, server) / _FILE).unlink(missing_ok=True)  # first: what is half gone is no server
    shutil.rmtree(folder(lab, server), ignore_errors=True)
