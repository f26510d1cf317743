"""A plan that touches the way into a node without proving it is refused, however its operations are named."""

from __future__ import annotations

import pytest

from unterbau.changes import AttributeChange, RuleAsked, TextChange
from unterbau.plan.model import Plan, PlannedChange, Problem
from unterbau.plan.run import exit_code_of
from unterbau.plan.safety import PROOF, check

DROP_IN = TextChange("/etc/ssh/sshd_config.d/00-unterbau.conf", "-a\n+b")
FORWARDING = AttributeChange("net.ipv4.ip_forward", "0", "1")
PROVEN = ("sh try", f"{PROOF} of sshd", "sh keep")


def changed(*parts: AttributeChange | TextChange, commands: tuple[str, ...] = ("sh write",)) -> PlannedChange:
    return PlannedChange("srv-1", "a layer", "a name that says nothing", parts, commands)


def plan_of(*changes: PlannedChange, problems: tuple[Problem, ...] = ()) -> Plan:
    return check(Plan("lab", (), ("srv-1",), changes, {}, problems))


@pytest.mark.parametrize(
    "part",
    [
        DROP_IN,
        AttributeChange("first line of /etc/ssh/sshd_config", None, "Include"),
        AttributeChange("ssh.service enabled", "False", "True"),
        AttributeChange("sshd", "running with an older configuration", "restarted"),
        AttributeChange("sshd change of an interrupted run", "unproven", "proven"),
        TextChange("/etc/unterbau/firewall.nft", "-a\n+b"),
        TextChange("nft table inet unterbau", "-a\n+b"),
        AttributeChange("unterbau-firewall.service at boot", "disabled", "enabled"),
        AttributeChange("firewall change of an interrupted run", "unproven", "proven"),
    ],
    ids=lambda part: part.subject,
)
def test_a_way_in_that_is_not_proven_refuses_the_plan(part: AttributeChange | TextChange) -> None:
    refused = plan_of(changed(FORWARDING, part))
    assert [(rule.passed, rule.arithmetic[:7]) for rule in refused.rules] == [(False, "0 of 1 ")]
    assert exit_code_of(refused) == 3
    assert exit_code_of(plan_of(changed(FORWARDING, part, commands=PROVEN))) == 2


def test_one_of_two_is_not_enough() -> None:
    refused = plan_of(changed(DROP_IN, commands=PROVEN), changed(TextChange("nft table inet unterbau", "+b")))
    assert refused.rules[0].arithmetic.startswith("1 of 2 ")
    assert exit_code_of(refused) == 3


def test_what_is_no_way_in_needs_no_proof() -> None:
    assert exit_code_of(plan_of(changed(FORWARDING))) == 2
    assert exit_code_of(plan_of()) == 0


def test_a_plan_that_is_not_the_whole_truth_fails_before_it_is_refused() -> None:
    assert exit_code_of(plan_of(changed(DROP_IN), problems=(Problem("srv-2", "gone"),))) == 1


def test_a_rule_that_fails_on_one_host_refuses_the_plan_with_that_hosts_arithmetic() -> None:
    asked = [
        ("srv-1", RuleAsked("quorum", True, "3 of 3 stay, quorum needs 2")),
        ("srv-2", RuleAsked("quorum", False, "1 of 3 stay, quorum needs 2")),
        ("vault", RuleAsked("deletions are allowed by name", True, "1 of 1 allowed: policy/old")),
    ]
    plan = check(Plan("lab", (), ("srv-1",), (), {}, ()), asked)
    told = {rule.name: (rule.passed, rule.arithmetic) for rule in plan.rules}
    assert told["quorum"] == (False, "srv-2: 1 of 3 stay, quorum needs 2")
    assert told["deletions are allowed by name"] == (True, "vault: 1 of 1 allowed: policy/old")
    assert exit_code_of(plan) == 3
    assert exit_code_of(check(Plan("lab", (), ("srv-1",), (), {}, ()), asked[::2])) == 0


def test_what_several_hosts_say_alike_is_told_once() -> None:
    asked = [(host, RuleAsked("release", True, "a stand-in")) for host in ("srv-2", "srv-1")]
    asked.append(("wrk-1", RuleAsked("release", True, "of its project")))
    [_, rule] = check(Plan("lab", (), ("srv-1",), (), {}, ()), asked).rules
    assert rule.arithmetic == "srv-1, srv-2: a stand-in; wrk-1: of its project"
