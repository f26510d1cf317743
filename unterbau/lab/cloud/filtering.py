"""The lab cloud's own nft table: firewalls before public interfaces, and the way to the metadata service.

Firewalls filter public interfaces only. Replies always pass; what no rule in lets in is dropped; any rule out makes the
rest that a server sends be dropped. Source: Hetzner Cloud, "Firewalls".
"""

from __future__ import annotations

from collections.abc import Iterable

from unterbau.lab.cloud import balancing, kept
from unterbau.lab.cloud.addresses import RESERVED
from unterbau.lab.cloud.answer import Record
from unterbau.lab.cloud.balancing import Front
from unterbau.lab.cloud.kept import Kept
from unterbau.lab.cloud.metadata import ADDRESS as METADATA
from unterbau.lab.command import run, succeeds
from unterbau.lab.layout import METADATA_PORT, Lab
from unterbau.lab.network import PASSING_MARK

_ANY = "0.0.0.0/0"


def table(lab: Lab) -> str:
    """The table's name, in family inet."""
    return f"{lab.table}_cloud"


def ruleset(lab: Lab, servers: Iterable[Kept], balanced: Iterable[Front] = ()) -> str:
    """The whole table for these servers, and for what load balancers listen on, in place of the one before."""
    ways = sorted(f"ip daddr {address} tcp dport {port}" for address, port in balanced)
    public = [server for server in servers if server.public_ipv4]
    ports, name = kept.public_port(lab, 0).removesuffix("0") + "*", f"inet {table(lab)}"
    # Metadata is asked for at an address that is nobody's: marked before the lab's own table refuses it.
    return f"""\
table {name}
delete table {name}
table {name} {{
  chain metadata {{
    type filter hook prerouting priority -170; policy accept;
    iifname {{ "{lab.bridge}", "{ports}" }} ip daddr {METADATA} tcp dport 80 meta mark set {PASSING_MARK}
{_lines(f'iifname "{lab.bridge}" {way} meta mark set {PASSING_MARK}' for way in ways)}  }}
  chain metadata_here {{
    type nat hook prerouting priority -100; policy accept;
    iifname {{ "{lab.bridge}", "{ports}" }} ip daddr {METADATA} tcp dport 80 dnat ip to {lab.gateway}:{METADATA_PORT}
  }}
  chain sent {{
    type filter hook prerouting priority -140; policy accept;
    iifname != "{ports}" accept
    meta mark {PASSING_MARK} accept
    ip daddr != {{ {lab.public}, {RESERVED}, {lab.gateway} }} reject with icmp type admin-prohibited
{_lines(_own_address(lab, server) for server in public)}    ct state established,related accept
{_lines(_jump(lab, server, "iifname", "out") for server in public if _filters(server, "out"))}  }}
  chain input {{
    type filter hook input priority 10; policy accept;
    iifname != "{ports}" accept
    ct state established,related accept
    ct status dnat accept
    ip daddr {RESERVED} icmp type echo-request accept
{_lines(f"{way} accept" for way in ways)}    reject with icmp type admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority 10; policy accept;
    iifname "{ports}" oifname != "{ports}" drop
    iifname != "{ports}" oifname "{ports}" drop
  }}
  chain received {{
    type filter hook postrouting priority 10; policy accept;
    ct state established,related accept
{_lines(_jump(lab, server, "oifname", "in") for server in public if _filters(server, "in"))}  }}
{"".join(_chain(server, way) for server in public for way in ("in", "out") if _filters(server, way))}}}
"""


def _lines(rules: Iterable[str]) -> str:
    return "".join(f"    {rule}\n" for rule in rules)


def _own_address(lab: Lab, server: Kept) -> str:
    own = ", ".join([str(server.public_ipv4), *(ip for ip in server.floating_ips if ":" not in ip)])
    return f'iifname "{kept.public_port(lab, server.id)}" ip saddr != {{ {own} }} drop'


def _jump(lab: Lab, server: Kept, interface: str, way: str) -> str:
    return f'{interface} "{kept.public_port(lab, server.id)}" jump {way}-{server.id}'


def _filters(server: Kept, way: str) -> bool:
    if server.rules is None:
        return False
    return way == "in" or any(rule["direction"] == "out" for rule in server.rules)


def _chain(server: Kept, way: str) -> str:
    rules = [rule for rule in server.rules or () if rule["direction"] == way]
    accepted = _lines(text for rule in rules for text in _rule(rule, way))
    return f"  chain {way}-{server.id} {{\n{accepted}    drop\n  }}\n"


def _rule(rule: Record, way: str) -> list[str]:
    given = rule["source_ips"] if way == "in" else rule["destination_ips"]
    ranges = [one for one in given if ":" not in one]
    if not ranges:
        return []
    side = "saddr" if way == "in" else "daddr"
    where = "" if _ANY in ranges else f"ip {side} {{ {', '.join(ranges)} }} "
    return [f"{where}{_what(rule)} accept"]


def _what(rule: Record) -> str:
    if rule["port"] is None:
        return f"meta l4proto {rule['protocol']}"
    ports = "1-65535" if rule["port"] == "any" else rule["port"]
    return f"{rule['protocol']} dport {ports}"


def apply(lab: Lab) -> None:
    """Have exactly the rules of the servers that this host keeps, from one moment to the next."""
    balanced = [front for record in balancing.kept(lab) for front in balancing.fronts(record)]
    run("nft", "-f", "-", stdin=ruleset(lab, kept.all_of(lab), balanced))


def is_on(lab: Lab) -> bool:
    """Whether the table is there."""
    return succeeds("nft", "list", "table", "inet", table(lab))


def remove(lab: Lab) -> None:
    """Take the table away; no error if there is none."""
    if is_on(lab):
        run("nft", "delete", "table", "inet", table(lab))
