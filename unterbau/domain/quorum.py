"""How many members of a replicated service may be missing, and whether one may be restarted now."""

from __future__ import annotations

from collections.abc import Mapping
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
