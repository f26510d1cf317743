"""The rules that every plan is checked against. A rule that fails refuses the plan (exit 3) with its arithmetic."""

from __future__ import annotations

from dataclasses import replace

from unterbau.plan.model import Plan, Rule

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


def check(plan: Plan) -> Plan:
    """The plan with the rules that were asked and what they answered."""
    return replace(plan, rules=(_ways_in_are_proven(plan),))


def _ways_in_are_proven(plan: Plan) -> Rule:
    """Whoever changes the way into a node opens a new connection before the change stays."""
    touching = [c for c in plan.changes if any(part.subject.startswith(WAYS_IN) for part in c.changes)]
    proven = [c for c in touching if any(command.startswith(PROOF) for command in c.commands)]
    arithmetic = f"{len(proven)} of {len(touching)} changes of sshd or firewall are proven by a new connection"
    return Rule("ways in are proven", len(proven) == len(touching), arithmetic)
