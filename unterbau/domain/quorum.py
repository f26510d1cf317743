"""How many members of a replicated service may be missing, and whether one may be restarted, removed or added now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether it may be done, and the arithmetic as a sentence."""

    passed: bool
    arithmetic: str


def needed(members: int) -> int:
    """Members that must work for a majority: n//2 + 1. Source: Raft, section 5.2; OpenBao, integrated storage."""
    return members // 2 + 1


def restart(members: Mapping[str, bool], name: str) -> Verdict:
    """Whether `name` may be restarted. `members` maps every member to whether it serves: unsealed and answering.

    A restart must leave a majority, or there must be none to lose: a member that does not serve takes nothing away,
    and neither does one of a cluster that has lost its majority already. The only member of a cluster of one is
    restarted at the price of a pause.
    """
    down = sorted(member for member, serves in members.items() if not serves)
    need, total = needed(len(members)), len(members)
    serving = total - len(down)
    left = serving - members[name]
    if not members[name]:
        return Verdict(True, f"{name} does not serve: {serving} of {total} members do with or without it")
    if total == 1:
        return Verdict(True, f"{name} is the only member: requests wait until it is back")
    if serving < need:
        return Verdict(True, f"{serving} of {total} members serve, quorum needs {need}: there is none to lose")
    arithmetic = f"restarting {name} leaves {left} of {total} members, quorum needs {need}"
    if left >= need:
        return Verdict(True, arithmetic)
    next_step = f"{', '.join(down)} must serve first: repair it, or apply with --limit {down[0]}" if down else "add one"
    return Verdict(False, f"{arithmetic}; {next_step}")


def remove(voters: Mapping[str, bool], name: str) -> Verdict:
    """Whether the voter `name` may be taken out. `voters` maps each to whether it is healthy; learners are none.

    A removal is agreed on by the voters that there are before it, and must leave a majority of those after it: one
    that is dead already is taken out for the others' sake. Source: etcd, design of runtime reconfiguration.
    """
    healthy = sum(voters.values())
    total, need = len(voters), needed(len(voters))
    if total == 1:
        return Verdict(False, f"{name} is the only voter: without it there are no data; add a server first")
    if healthy < need:
        return Verdict(False, f"{_lost(voters)}, so nobody can be removed; {_repair(_dead(voters))}")
    left, need_after = healthy - voters[name], needed(total - 1)
    arithmetic = (
        f"removing {name} leaves {left} healthy of {_voters(total - 1)}, quorum of {total - 1} needs {need_after}"
    )
    if left >= need_after:
        return Verdict(True, arithmetic)
    dead = [one for one in _dead(voters) if one != name]
    gone = f", or remove {dead[0]} first if it is gone for good" if dead else ""
    return Verdict(False, f"{arithmetic}; {_repair(dead)}{gone}")


def add(voters: Mapping[str, bool], name: str) -> Verdict:
    """Whether `name` may join as a voter; `voters` as for `remove`.

    Another voter raises the quorum before it helps. So who is dead is repaired or removed before anybody is added:
    one mistake in the address of the new one would cost the quorum for good. Source: etcd, FAQ, "Should I add a
    member before removing an unhealthy member?".
    """
    healthy = sum(voters.values())
    total, dead = len(voters), _dead(voters)
    if not voters:
        return Verdict(True, f"{name} is the first voter")
    if healthy < needed(total):
        return Verdict(False, f"{_lost(voters)}, so nobody can be added; {_repair(dead)}")
    arithmetic = (
        f"adding {name} makes {_voters(total + 1)}, quorum needs {needed(total + 1)}, {healthy} are healthy before it"
    )
    if not dead or healthy >= needed(total + 1):
        return Verdict(True, arithmetic)
    return Verdict(False, f"{arithmetic}; {_repair(dead)}, or remove {dead[0]} first if it is gone for good")


def _dead(voters: Mapping[str, bool]) -> list[str]:
    return sorted(name for name, healthy in voters.items() if not healthy)


def _lost(voters: Mapping[str, bool]) -> str:
    return f"{sum(voters.values())} of {_voters(len(voters))} healthy, quorum needs {needed(len(voters))}"


def _repair(dead: Sequence[str]) -> str:
    return f"bring {', '.join(dead)} back" if dead else "add a server first"


def _voters(number: int) -> str:
    return "1 voter" if number == 1 else f"{number} voters"
