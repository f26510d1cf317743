"""What a cloud project, a network and a firewall may hold: asked before the first thing is created.

Source: Hetzner Cloud, "Limits" in the console (a project's own), "Networks" and "Firewalls" FAQ (everybody's).
"""

from __future__ import annotations

from collections.abc import Mapping

from unterbau.domain.quorum import Verdict

ATTACHMENTS, SUBNETS = 100, 50  # a network: servers and load balancers; subnets
FIREWALLS, FIREWALLS_A_SERVER = 50, 5  # a project; a server
RULES, EFFECTIVE_RULES, CIDRS_A_RULE = 50, 500, 100  # a firewall, with each CIDR counted by itself; a rule
EVERYBODYS = {"firewalls": FIREWALLS, "placement_groups": 50}  # a project; others differ from one to the next
LOAD_BALANCERS = {"lb11": (5, 25), "lb21": (15, 75), "lb31": (30, 150)}  # type -> services, targets


def preflight(there: Mapping[str, int], more: Mapping[str, int], limits: Mapping[str, int]) -> list[Verdict]:
    """One verdict for each kind of which there will be more, in its order.

    `there`: kind -> how many the project has, ours or not, for all count; `more`: kind -> created less deleted;
    `limits`: those of the project as the console shows them. ValueError for a kind whose number is not known: a missing
    one is not none.
    """
    unknown = [kind for kind, number in more.items() if number > 0 and kind not in there]
    if unknown:
        raise ValueError(f"cannot check the quota of {', '.join(unknown)}: how many there are is not known; list them")
    known = {**EVERYBODYS, **limits}
    return [_room(kind, there[kind], number, known.get(kind)) for kind, number in more.items() if number > 0]


def _room(kind: str, there: int, more: int, limit: int | None) -> Verdict:
    words = kind.replace("_", " ")
    total = f"{words}: {there} there + {more} to create = {there + more}"
    if limit is None:
        return Verdict(True, f"{total}, the project's limit is not declared")
    if there + more <= limit:
        return Verdict(True, f"{total} of {limit}")
    too_many = f"{there + more - limit} more than the project's {limit}"
    return Verdict(False, f"{total}, {too_many}; have the limit raised, or declare less")


def attachments(servers: Mapping[str, int], load_balancers: int) -> Verdict:
    """Whether a network takes them all. `servers`: pool -> servers."""
    total = sum(servers.values()) + load_balancers
    parts = [f"{count} ({pool})" for pool, count in servers.items()]
    parts += [f"{load_balancers} load balancer{'s' * (load_balancers != 1)}"] if load_balancers else []
    arithmetic = f"{' + '.join(parts) or '0'} = {total} attachments, a network has {ATTACHMENTS}"
    return Verdict(total <= ATTACHMENTS, arithmetic)
