"""Faults on a machine's cable: cut, loss and delay, all made from outside, at its port on the bridge."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unterbau.lab import delayer, everyone
from unterbau.lab.cgroup import Group
from unterbau.lab.cloud.kept import public_port
from unterbau.lab.command import run, succeeds
from unterbau.lab.errors import LabError
from unterbau.lab.layout import Lab, Machine
from unterbau.lab.process import start

_BOUND_WITHIN_S = 30
_BOUND_QUEUES = Path("/proc/net/netfilter/nfnetlink_queue")


@dataclass(frozen=True)
class Cut:
    """Frames that the machine sends (`out`), receives (`in`) or both are dropped."""

    port: str
    direction: str


@dataclass(frozen=True)
class Loss:
    """That many percent of the frames which the machine sends are dropped."""

    port: str
    percent: float


def rules(lab: Lab, faults: Sequence[Cut | Loss]) -> str:
    """The nft ruleset for these faults; without any, the one that removes the lab's tables.

    A port is on the bridge, or it is routed: then its packets are seen by IP alone.
    """
    routed = [fault for fault in faults if fault.port.startswith(public_port(lab, 0)[:-1])]
    bridged = [fault for fault in faults if fault not in routed]
    return _family(f"bridge {lab.table}", bridged) + _family(f"inet {lab.table}_routed", routed)


def _family(table: str, faults: Iterable[Cut | Loss]) -> str:
    sent, received = [], []
    for fault in faults:
        if isinstance(fault, Loss):
            some = "" if fault.percent >= 100 else f"numgen random mod 10000 < {round(fault.percent * 100)} "
            sent.append(f'iifname "{fault.port}" {some}drop')
            continue
        if fault.direction in ("out", "both"):
            sent.append(f'iifname "{fault.port}" drop')
        if fault.direction in ("in", "both"):
            received.append(f'oifname "{fault.port}" drop')
    # Naming the table first makes it exist, so that deleting it can't fail.
    forget = f"table {table}\ndelete table {table}\n"
    return forget if not sent and not received else forget + _table(table, sent, received)


def _table(table: str, sent: list[str], received: list[str]) -> str:
    lines = [f"table {table} {{"]
    for hook, chain in (("prerouting", sent), ("postrouting", received)):
        lines += [f"  chain {hook} {{", f"    type filter hook {hook} priority -400; policy accept;"]
        lines += [f"    {rule}" for rule in chain]
        lines += ["  }"]
    return "\n".join([*lines, "}"]) + "\n"


def drop(lab: Lab, faults: Sequence[Cut | Loss]) -> None:
    """Have exactly these frames dropped, from one moment to the next."""
    run("nft", "-f", "-", stdin=rules(lab, faults))


def queue_number(lab: Lab, machine: Machine) -> int:
    """The NFQUEUE of a machine; different for each machine of each lab whose subnets differ in the third byte."""
    if machine.unit:
        return 24000 + (lab.subnet.network_address.packed[2] * 997 + machine.number) % 40000
    return 20000 + lab.subnet.network_address.packed[2] * 8 + machine.number


def delay(lab: Lab, machine: Machine, delay_ms: float) -> None:
    """Hold back every IPv4 packet that the machine sends, so that each round trip takes delay_ms longer."""
    undelay(lab, machine)
    group, queue = _delayer_group(lab, machine), queue_number(lab, machine)
    script = [sys.executable, "-I", delayer.__file__, str(queue), str(delay_ms)]
    start(group, script, log=lab.state / "faults" / f"{machine.name}.delayer.log", controllers=False)
    deadline = time.monotonic() + _BOUND_WITHIN_S
    while not _bound(queue):
        if time.monotonic() > deadline:
            said = (lab.state / "faults" / f"{machine.name}.delayer.log").read_text()[-300:]
            raise LabError(f"cannot delay {machine.name}: nobody holds queue {queue} after {_BOUND_WITHIN_S} s: {said}")
        time.sleep(0.02)
    run("iptables", "-w", "-t", "mangle", "-A", *_rule(lab, machine))
    _pass_bridge_to_ip(lab, wanted=True)


def undelay(lab: Lab, machine: Machine) -> None:
    """Let its packets pass again; no error if they do."""
    if not delayed(lab, machine) and not _delayer_group(lab, machine).unified.exists():
        return
    while succeeds("iptables", "-w", "-t", "mangle", "-D", *_rule(lab, machine)):
        pass  # each of them, should a run have been cut short
    _delayer_group(lab, machine).kill()
    _delayer_group(lab, machine).remove()
    if not any(delayed(lab, other) for other in everyone.machines(lab)):
        _pass_bridge_to_ip(lab, wanted=False)
        _forget_empty_mangle()


def delayed(lab: Lab, machine: Machine) -> bool:
    """Whether someone holds the machine's packets back now."""
    return _delayer_group(lab, machine).populated()


def _delayer_group(lab: Lab, machine: Machine) -> Group:
    return Group(f"{lab.group}/delayer-{machine.key}")


def _bound(queue: int) -> bool:
    return any(line.split()[:1] == [str(queue)] for line in _BOUND_QUEUES.read_text().splitlines())


def _rule(lab: Lab, machine: Machine) -> list[str]:
    # nft has no queue statement for bridges, and not on every kernel: so by iptables, on frames shown to IPv4.
    return [
        "PREROUTING", "-m", "physdev", "--physdev-in", machine.port, "-m", "comment", "--comment", lab.table,
        "-j", "NFQUEUE", "--queue-num", str(queue_number(lab, machine)), "--queue-bypass",
    ]  # fmt: skip


def _pass_bridge_to_ip(lab: Lab, *, wanted: bool) -> None:
    switch = Path("/sys/class/net", lab.bridge, "bridge/nf_call_iptables")
    if switch.exists():
        switch.write_text("1" if wanted else "0")


def _forget_empty_mangle() -> None:
    # iptables makes the table for our rule and leaves it there, empty.
    if not succeeds("nft", "list", "table", "ip", "mangle"):
        return
    content = json.loads(run("nft", "-j", "list", "table", "ip", "mangle"))["nftables"]
    if not any("rule" in entry for entry in content):
        run("nft", "delete", "table", "ip", "mangle")
