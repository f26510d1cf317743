"""The rules that every plan is checked against. A rule that fails refuses the plan (exit 3) with its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unterbau.changes import RuleAsked
from unterbau.plan.model import Plan, Rule
from unterbau.secrets.hidden import redact

PROOF = "prove new connection"
WAYS_IN = (  # what a change of sshd or of the firewall calls its subjects
    "/etc/ssh/sshd_config",
    "first line of /etc/ssh/sshd_config",
    "ssh.service",
    "sshd",
    "/etc/unterbau/firewall.nft",
    "/etc/systemd/system/unterbau-firewall.service",
    "unterbau-firewall.service",
    "nft table inet unterbau",
    "firewall change of an interrupted run",
)


def check(plan: Plan, asked: Sequence[tuple[str, RuleAsked]] = ()) -> Plan:
    """The plan with the rules that were asked and what they answered; `asked` by operations: (host, answer)."""
    return replace(plan, rules=(_ways_in_are_proven(plan), *_of_operations(asked)))


def _of_operations(asked: Sequence[tuple[str, RuleAsked]]) -> list[Rule]:
    """One rule a name: it passed if it passed on every host. Where it did not, only those hosts' arithmetic is told.

    What is the same on several hosts is said once.
    """
    found = []
    for name in sorted({rule.name for _, rule in asked}):
        failed = [(host, rule) for host, rule in asked if rule.name == name and not rule.passed]
        told: dict[str, set[str]] = {}
        for host, rule in failed or [(host, rule) for host, rule in asked if rule.name == name]:
            told.setdefault(redact(rule.arithmetic), set()).add(host)
        lines = sorted(f"{', '.join(sorted(hosts))}: {arithmetic}" for arithmetic, hosts in told.items())
        found.append(Rule(name, not failed, "; ".join(lines)))
    return found


def _ways_in_are_proven(plan: Plan) -> Rule:
    """Whoever changes the way into a node opens a new connection before the change stays."""
    touching = [c for c in plan.changes if any(part.subject.startswith(WAYS_IN) for part in c.changes)]
    proven = [c for c in touching if any(command.startswith(PROOF) for command in c.commands)]
    arithmetic = f"{len(proven)} of {len(touching)} changes of sshd or firewall are proven by a new connection"
    return Rule("ways in are proven", len(proven) == len(touching), arithmetic)
