"""A cloud server's interfaces: one in public, routed as at Hetzner, and one in the private network on the lab's bridge.

Each is plugged by a few commands, at boot or while the server runs. The host's end carries a digest of them, as its
alias and written last: what is plugged already is seen there, whoever was killed meanwhile.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab.cloud import kept
from unterbau.lab.cloud.addresses import RESERVED
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.kept import Kept
from unterbau.lab.cloud.metadata import ADDRESS as METADATA
from unterbau.lab.command import run
from unterbau.lab.layout import Lab
from unterbau.lab.network import remove_port

MTU = 1450  # Source: Hetzner Cloud, "Networks": of private interfaces
_EVERYTHING = "0.0.0.0/0"


@dataclass(frozen=True)
class Plug:
    """One interface: its port on this host, and the shell commands that plug it into the network namespace $ns."""

    port: str
    commands: str

    @property
    def digest(self) -> str:
        """What the port's alias says once it is plugged like this."""
        return hashlib.sha256(self.commands.encode()).hexdigest()[:16]

    @property
    def script(self) -> str:
        """The commands, and the mark that they are done."""
        return f"{self.commands}ip link set dev {self.port} alias {self.digest}\n"


def plugs(lab: Lab, server: Kept) -> tuple[Plug, ...]:
    """All interfaces that a server has."""
    private = [_private(lab, server, number, net) for number, net in enumerate(server.private_net)]
    return (*([_public(lab, server)] if server.public_ipv4 else []), *private)


def _public(lab: Lab, server: Kept) -> Plug:
    port, address = kept.public_port(lab, server.id), server.public_ipv4
    # The gateway is no neighbour: a server reaches even the one beside it through the router. Packets go on from these
    # ports only, not from any other of this host's.
    inside = [f"address add {address}/32 dev eth0", "link set eth0 up", f"route add {RESERVED} dev eth0",
              f"route add default via {RESERVED} dev eth0"]  # fmt: skip
    leading = [address, *(ip for ip in server.floating_ips if ":" not in ip)]
    routes = "".join(f"ip route replace {ip}/32 dev {port} src {RESERVED}\n" for ip in leading)
    return Plug(
        port,
        f"""\
ip link add {port} type veth peer name eth0 netns "$ns"
echo 1 > /proc/sys/net/ipv6/conf/{port}/disable_ipv6
echo 1 > /proc/sys/net/ipv4/conf/{port}/forwarding
echo 0 > /proc/sys/net/ipv4/conf/{port}/send_redirects
ip address add {RESERVED}/32 dev {port}
ip link set {port} up
{routes}{_inside(inside)}""",
    )


def _private(lab: Lab, server: Kept, number: int, net: Record) -> Plug:
    port, name = kept.private_port(lab, server.id, number), f"enp{7 + number}s0"
    addresses = [f"address add {ip}/{lab.subnet.prefixlen} dev {name}" for ip in (net["ip"], *net["alias_ips"])]
    inside = [*addresses, f"link set {name} mtu {MTU} up", *_routes(lab, server, number, net)]
    return Plug(
        port,
        f"""\
ip link add {port} type veth peer name {name} address {net["mac_address"]} netns "$ns"
ip link set {port} master {lab.bridge} up
{_inside(inside)}""",
    )


def _routes(lab: Lab, server: Kept, number: int, net: Record) -> list[str]:
    found = [f"route replace {route['destination']} via {route['gateway']}" for route in net["routes"]
             if route["destination"] != _EVERYTHING]  # fmt: skip
    if server.public_ipv4 or number:
        return found
    # Without a public interface: as the network's route says, else where it is refused at once.
    way = next((route["gateway"] for route in net["routes"] if route["destination"] == _EVERYTHING), lab.gateway)
    return [*found, f"route add {METADATA} via {lab.gateway}", f"route add default via {way}"]


def _inside(commands: list[str]) -> str:
    lines = "".join(f"{one}\n" for one in commands)
    return f"nsenter --net=\"$ns\" ip -batch - <<'END'\n{lines}END\n"


def boot_script(lab: Lab, server: Kept) -> str:
    """What makes a network namespace and plugs all interfaces into it, before each boot."""
    wanted = plugs(lab, server)
    namespace = kept.folder(lab, server.id) / "netns"
    old = "".join(f"[ ! -e /sys/class/net/{one.port} ] || ip link delete {one.port}\n" for one in wanted)
    # Ports first: while their namespace is held they are there, or not; afterwards they vanish by themselves.
    return f"""\
ns={namespace}
{old}if mountpoint -q "$ns"; then umount "$ns"; fi
: > "$ns"
unshare --net="$ns" ip link set lo up
{"".join(one.script for one in wanted)}"""


def replug(lab: Lab, server: Kept, leader: int) -> None:
    """Have exactly its interfaces plugged into a server that runs; those that are as they should be stay."""
    wanted = {one.port: one for one in plugs(lab, server)}
    there = {port for port in kept.ports(lab, server.id) if port in wanted and _alias(port) == wanted[port].digest}
    for port in kept.ports(lab, server.id):
        if port not in there:
            remove_port(port)
    for port, one in wanted.items():
        if port not in there:
            run("sh", "-eu", "-c", f"ns=/proc/{leader}/ns/net\n{one.script}")


def unplug(lab: Lab, server: int) -> None:
    """Remove all its ports."""
    for port in kept.ports(lab, server):
        remove_port(port)


def _alias(port: str) -> str:
    try:
        return Path("/sys/class/net", port, "ifalias").read_text().strip()
    except OSError:
        return ""
