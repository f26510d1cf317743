"""nftables: what is not declared does not come in.

Only the table `inet unterbau` is ours. There is no `flush ruleset` anywhere: K3s and kube-proxy keep tables
of their own.
Debian's nftables.service would flush them, so the rules come back at boot through a unit of ours, after it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from ipaddress import IPv4Network

from pyinfra import host
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation

from facts.firewall import RULES, TABLE, UNIT, UNIT_NAME, Firewall, State
from operations import config_file, guard
from unterbau import changes
from unterbau.domain.flows import Accept, port_range
from unterbau.domain.unknown import Unknown

UNIT_TEXT = f"""\
# Written by unterbau: what is changed here by hand is undone by the next apply.
[Unit]
Description=Only declared flows reach this node
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service nftables.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {RULES}
[Install]
WantedBy=sysinit.target
"""

_RULES_TEXT = """\
# Written by unterbau: what is changed here by hand is undone by the next apply.
# The first two lines make the file replace the table in one step, whether there is one or not.
table {table}
delete table {table}
table {table} {{
	chain input {{
		type filter hook input priority filter; policy drop;
		iif "lo" accept
		ct state established,related accept
		ct state invalid drop
		meta l4proto icmp icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} accept
		ip saddr {{ {pingers} }} icmp type echo-request accept
		icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} accept
		ip6 hoplimit 255 icmpv6 type {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }} accept
		udp sport 67 udp dport 68 accept comment "DHCP: a lease renewed by broadcast matches no connection"
		ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment "DHCPv6, likewise"
{accepts}
		limit rate 5/second burst 20 packets log prefix "unterbau drop: " level info
	}}
}}
"""
# No forward chain: what passes through a node belongs to pods, and K3s' network policies decide it in its own tables.
# No output chain: the other side decides whom it lets in.


def rules_text(accepts: Sequence[Accept], pingers: Sequence[str]) -> str:
    """The file for `nft -f`: default deny, then these. `pingers` are CIDRs whose echo requests are answered.

    nft has no quoting: ValueError for what is not an address, a protocol or a port.
    """
    lines = [_accept_line(*accept) for accept in accepts]
    text = _RULES_TEXT.format(table=TABLE, pingers=_networks(pingers), accepts="\n".join(lines))
    return text if lines else text.replace("\n\n", "\n")


def _accept_line(sources: Sequence[str], protocol: str, ports: Sequence[str]) -> str:
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"{protocol!r} is neither tcp nor udp")
    ranges = [port_range(port) for port in ports]
    written = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    return f"\t\tip saddr {{ {_networks(sources)} }} {protocol} dport {{ {written} }} accept"


def _networks(networks: Sequence[str]) -> str:
    return ", ".join(str(IPv4Network(network)).removesuffix("/32") for network in networks)


@operation()
def default_deny(accepts: Sequence[Accept], pingers: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """Only these new connections come in, now and after a restart; call it with `_serial=True`.

    Args:
        accepts: (source addresses or CIDRs, protocol, ports) each; a port is a number or a range "30000-32767".
        pingers: CIDRs that get an answer to an echo request.
    """
    state = host.get_fact(State)
    if isinstance(state, Unknown):
        yield from changes.refuse(
            f"cannot change the firewall of {host.name}: its state could not be read; see the error above"
        )
        return
    try:
        wanted = rules_text(accepts, pingers)
    except ValueError as error:
        yield from changes.refuse(f"cannot write the firewall of {host.name}: {error}; correct the flow")
        return
    obstacle = config_file.obstacle({RULES: state["rules"], UNIT: state["unit"]})
    if obstacle is not None or (state["rules"]["content"] == wanted and state["refused"]):
        yield from changes.refuse(obstacle or f"cannot load {RULES} on {host.name}: {state['refused']}")
    elif _say_changes(state, wanted):
        yield from guard.attempt(_guarded(wanted))
    else:
        host.noop(f"the firewall lets in {len(accepts)} declared flows and nothing else")


def _say_changes(state: Firewall, wanted: str) -> bool:
    """Whether anything differs; each difference is said once."""
    differing = [
        bool(config_file.converge(RULES, state["rules"], config_file.Wanted(wanted))),
        bool(config_file.converge(UNIT, state["unit"], config_file.Wanted(UNIT_TEXT))),
    ]
    if state["rules"]["exists"] and state["table"] != state["expected"]:  # without our file nothing compares
        if state["rules"]["content"] == wanted:
            changes.text(f"nft table {TABLE}", state["table"], state["expected"])
        elif state["table"] is not None:  # what the new file gives there is known only once it is there
            changes.attribute(f"nft table {TABLE}", "not what the present file says", "as the new file says")
        differing.append(True)
    for fact, held in (("enabled", state["enabled"]), ("active", state["active"])):
        if not held:
            changes.attribute(f"{UNIT_NAME} {fact}", False, True)
            differing.append(True)
    if state["guard_left"]:
        changes.attribute("firewall change of an interrupted run", "unproven", "proven")
        differing.append(True)
    return any(differing)


_SAVE = (
    f"if nft list tables | grep -qx 'table {TABLE}'\n"
    f'then nft -s list table {TABLE} >"$saved/table"; else : >"$saved/table"; fi'
)


def _guarded(wanted: str) -> guard.Guarded:
    return guard.Guarded(
        what="firewall",
        files={RULES: (wanted, "644"), UNIT: (UNIT_TEXT, "644")},
        also_saved=(f"/etc/systemd/system/sysinit.target.wants/{UNIT_NAME}",),
        check='nft --check -f "$new/0"',
        save=_SAVE,
        activate=f"systemctl daemon-reload; systemctl enable --quiet {UNIT_NAME}; systemctl restart {UNIT_NAME}",
        restore=(
            f"{{ echo 'table {TABLE}'; echo 'delete table {TABLE}'; cat \"$saved/table\"; }} | nft -f -\n"
            "systemctl daemon-reload"
        ),
    )
