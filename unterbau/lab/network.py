"""The lab's private network: a bridge, rules that keep it private, names for the controller, a way to packages."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from unterbau.lab.cgroup import Group
from unterbau.lab.command import run, succeeds
from unterbau.lab.errors import LabError
from unterbau.lab.layout import PROXY_PORT, Lab, Machine
from unterbau.lab.process import listening, start
from unterbau.lab.rootfs import Recipe

HOSTS = Path("/etc/hosts")
# Machines send each other their pods' packets as they are (routes, no tunnel): the bridge's own rules see them during a
# delay. One that takes the way to this host instead is dropped by `forward`, as any other.
_PODS = "10.42.0.0/16"
# What the lab's cloud lets pass: to its metadata service, at an address that is nobody's, and to load balancers.
PASSING_MARK = "0x75620001"


def rules(lab: Lab) -> str:
    """The nft ruleset that lets the machines reach the proxy and each other, and nothing else, not even this host."""
    bridge, gateway, table = lab.bridge, lab.gateway, f"inet {lab.table}"
    return f"""\
table {table}
delete table {table}
table {table} {{
  chain prerouting {{
    type filter hook prerouting priority -150; policy accept;
    iifname != "{bridge}" accept
    meta mark {PASSING_MARK} accept
    ip daddr != {{ {lab.subnet}, {_PODS}, 224.0.0.0/4 }} reject with icmp type admin-prohibited
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname != "{bridge}" accept
    ct state established,related accept
    meta mark {PASSING_MARK} accept
    ip saddr {lab.subnet} ip daddr {gateway} icmp type echo-request accept
    ip saddr {lab.subnet} ip daddr {gateway} tcp dport {PROXY_PORT} accept
    ip saddr {lab.subnet} ip daddr {gateway} reject with icmp type admin-prohibited
    drop
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{bridge}" oifname != "{bridge}" drop
    iifname != "{bridge}" oifname "{bridge}" drop
  }}
}}
"""


def hosts_block(lab: Lab) -> str:
    """Lines for the controller's /etc/hosts, between marks."""
    begin, end = _marks(lab)
    lines = "".join(f"{machine.address}\t{machine.name}\n" for machine in lab.machines)
    return f"{begin}\n{lines}{end}\n"


def without_block(lab: Lab, text: str) -> str:
    """The text of /etc/hosts without the lab's lines; an end mark that was lost costs only the lab's own lines."""
    begin, end = _marks(lab)
    kept, inside = [], False
    own = {f"{machine.address}\t{machine.name}" for machine in lab.machines}
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\n")
        if bare == begin:
            inside = True
        elif inside and bare == end:
            inside = False
        elif not (inside and bare in own):
            kept.append(line)
    return "".join(kept)


def _marks(lab: Lab) -> tuple[str, str]:
    return f"# begin of the machines of unterbau {lab.name}", f"# end of the machines of unterbau {lab.name}"


def proxy_configuration(lab: Lab) -> str:
    """What tinyproxy is told: listen on the bridge, serve the machines, reach the Debian archive only."""
    return f"""\
Listen {lab.gateway}
Port {PROXY_PORT}
BindSame No
Timeout 120
MaxClients 100
LogLevel Warning
LogFile "{lab.state}/proxy/log"
Allow {lab.subnet}
Filter "{lab.state}/proxy/filter"
FilterDefaultDeny Yes
FilterExtended On
ConnectPort 443
"""


def proxy_filter(recipe: Recipe) -> str:
    """The hosts that the proxy reaches, one anchored expression a line."""
    return "".join(f"^{host.replace('.', '[.]')}$\n" for host in recipe.mirrors)


def overlapping_route(lab: Lab, routes: list[dict[str, str]]) -> str | None:
    """The first route of this host that takes the lab's addresses elsewhere; routes as `ip -j route` gives them."""
    for route in routes:
        own = route["dst"] == "default" or route.get("dev") == lab.bridge
        if not own and IPv4Network(route["dst"]).overlaps(lab.subnet):
            return f"{route['dst']} on {route.get('dev', '(no device)')}"
    return None


def is_up(lab: Lab) -> bool:
    """Whether bridge, rules, names and proxy are all there."""
    return not missing(lab)


def missing(lab: Lab) -> list[str]:
    """Which of bridge, rules, names and proxy are not there."""
    there = {
        "bridge": _bridge_is_up(lab),
        "rules": succeeds("nft", "list", "table", "inet", lab.table),
        "names": hosts_block(lab) in HOSTS.read_text(),
        "proxy": _proxy_group(lab).populated(),
    }
    return [part for part, is_there in there.items() if not is_there]


def up(lab: Lab, recipe: Recipe) -> list[str]:
    """Make what is missing of it, and say what was; what is there stays."""
    lacking = missing(lab)
    if not Path("/sys/class/net", lab.bridge).exists():
        taken = overlapping_route(lab, json.loads(run("ip", "-4", "-j", "route", "show") or "[]"))
        if taken is not None:
            raise LabError(f"cannot use {lab.subnet}: this host has a route for {taken}; set UNTERBAU_LAB_SUBNET")
        run("ip", "link", "add", lab.bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0")
    if not _bridge_is_up(lab):
        # No address by itself: the controller is reached by IPv4 only.
        Path(f"/proc/sys/net/ipv6/conf/{lab.bridge}/disable_ipv6").write_text("1")
        run("nft", "-f", "-", stdin=rules(lab))
        run("ip", "address", "replace", f"{lab.gateway}/{lab.subnet.prefixlen}", "dev", lab.bridge)
        run("ip", "link", "set", lab.bridge, "up")
    run("nft", "-f", "-", stdin=rules(lab))
    _write_hosts(lab, hosts_block(lab))
    if not _proxy_group(lab).populated():
        _start_proxy(lab, recipe)
    return lacking


def down(lab: Lab) -> None:
    """Take all of it away; no error for what is not there."""
    _proxy_group(lab).kill()
    _proxy_group(lab).remove()
    _write_hosts(lab, "")
    if Path("/sys/class/net", lab.bridge).exists():
        run("ip", "link", "delete", lab.bridge)
    for family, table in (("inet", lab.table), ("bridge", lab.table), ("inet", f"{lab.table}_routed")):
        if shutil.which("nft") and succeeds("nft", "list", "table", family, table):
            run("nft", "delete", "table", family, table)


def plugged_in(lab: Lab, machine: Machine) -> bool:
    """Whether the machine is plugged into the lab's bridge."""
    return Path("/sys/class/net", lab.bridge, "brif", machine.port).exists()


def unplug(machine: Machine) -> None:
    """Remove the machine's ports; a killed machine's would stay for a moment, and be in the way of its next boot."""
    for port in machine.ports:
        remove_port(port)


def remove_port(port: str) -> None:
    """Remove a port, and its other end with it; no error if it is gone."""
    if Path("/sys/class/net", port).exists() and not succeeds("ip", "link", "delete", port):
        gone_by_itself = not Path("/sys/class/net", port).exists()
        if not gone_by_itself:
            raise LabError(f"cannot remove interface {port}: look at `ip link show {port}`")


def _bridge_is_up(lab: Lab) -> bool:
    try:
        flags = int(Path("/sys/class/net", lab.bridge, "flags").read_text(), 16)
    except OSError:
        return False
    with suppress(OSError):
        routes = Path("/proc/net/fib_trie").read_text()
        return bool(flags & 1) and str(lab.gateway) in routes
    return False


def _write_hosts(lab: Lab, block: str) -> None:
    # In place, not by rename: /etc/hosts may be a bind mount. Locked: another lab writes its own lines there.
    with HOSTS.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        wanted = without_block(lab, text) + block
        if wanted == text:
            return
        file.seek(0)
        file.write(wanted)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _proxy_group(lab: Lab) -> Group:
    return Group(f"{lab.group}/proxy")


def _start_proxy(lab: Lab, recipe: Recipe) -> None:
    directory = lab.state / "proxy"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / "tinyproxy.conf").write_text(proxy_configuration(lab))
    (directory / "filter").write_text(proxy_filter(recipe))
    command = ("tinyproxy", "-d", "-c", str(directory / "tinyproxy.conf"))
    start(_proxy_group(lab), command, log=directory / "output", controllers=False)
    listening(str(lab.gateway), PROXY_PORT, timeout_s=30)
