"""The rules that every plan is checked against. A rule that fails refuses the plan (exit 3) with its arithmetic."""

from __future__ import annotations

from dataclasses import replace

from unterbau.plan.model import Plan, Rule

PROOF = "prove new connection"
GUARDED = ("ssh server", "firewall")  # operations that could lock us out


def check(plan: Plan) -> Plan:
    """The plan with the rules that were asked and what they answered."""
    return replace(plan, rules=(_ways_in_are_proven(plan),))


def _ways_in_are_proven(plan: Plan) -> Rule:
    """Whoever changes the way into a node opens a new connection before the change stays."""
    touching = [c for c in plan.changes if any(word in c.operation for word in GUARDED)]
    proven = [c for c in touching if any(command.startswith(PROOF) for command in c.commands)]
    arithmetic = f"{len(proven)} of {len(touching)} changes of sshd or firewall are proven by a new connection"
    return Rule("ways in are proven", len(proven) == len(touching), arithmetic)
