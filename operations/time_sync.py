"""chrony: one time for all nodes, from outside if there is an outside, from an island of nodes if not."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import operation

from operations import service
from operations.config_file import Commands

UNIT = "chrony.service"
NEAR = "iburst minpoll 4 maxpoll 6"  # seconds as powers of two: a common network bears a question every 16 s
WITHOUT_CLOCK = """\
# The clock of this machine is its host's: chronyd compares, serves and never sets it (-x), so it needs no right to.
[Unit]
ConditionCapability=
"""


def sources(address: str, servers: Sequence[str], island: Sequence[str]) -> list[str]:
    """Lines that say whom the node `address` asks.

    Members of the island ask the outside and all other members; all others ask the members, or the outside if there is
    no island. In orphan mode the member with the lowest reference ID leads. Source: chrony.conf(5), local.
    """
    outside = [f"server {server} iburst" for server in servers]
    members = [f"server {member} {NEAR}" for member in sorted(island) if member != address]
    if island and address not in island:
        return members
    return outside + members


def chrony_conf(address: str, servers: Sequence[str], island: Sequence[str], network: str, control_clock: bool) -> str:
    """/etc/chrony/chrony.conf of one node."""
    lines = ["# Declared in group data (time_sync); changes made here are undone.", *sources(address, servers, island)]
    if address in island:
        lines += [f"allow {network}", "local stratum 10 orphan"]
    else:
        lines += ["port 0"]  # serves nobody
    if control_clock:
        lines += ["makestep 1.0 3", "rtcsync"]
    lines += ["driftfile /var/lib/chrony/chrony.drift", "ntsdumpdir /var/lib/chrony", "cmdport 0"]
    return "\n".join([*lines, ""])


@operation()
def chrony(
    address: str, *, servers: Sequence[str], island: Sequence[str], network: str, control_clock: bool = True
) -> Commands:
    """The node takes its time from these sources, and serves it to `network` if it belongs to the island.

    Args:
        address: of this node.
        servers: NTP servers outside, names or addresses.
        island: addresses of the nodes that keep a common time among themselves; [] if none do.
        network: CIDR that an island's members serve.
        control_clock: False in machines that share the clock of their host.
    """
    files = {
        "/etc/chrony/chrony.conf": chrony_conf(address, servers, island, network, control_clock),
        "/etc/default/chrony": f'DAEMON_OPTS="-F 1{"" if control_clock else " -x"}"\n',
        "/etc/systemd/system/chrony.service.d/unterbau.conf": None if control_clock else WITHOUT_CLOCK,
    }
    yield from service.converge(UNIT, files)
