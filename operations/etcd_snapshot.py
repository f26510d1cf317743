"""Snapshots of K3s' etcd besides the scheduled ones: there is one that is young enough and can be restored."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.etcd import Cluster, EtcdAnswers
from facts.etcd_snapshot import K3S, Kept, Record, Snapshots, snapshot
from operations.config_file import Commands
from operations.etcd_gate import Ways
from unterbau import changes
from unterbau.domain import etcd
from unterbau.domain.unknown import Unknown

RULE = "a snapshot of etcd can be restored"
TOKEN_RULE = "the store has the token that etcd's snapshots need"  # noqa: S105  # a sentence
NAME = "unterbau"
KEPT = 5  # of ours: K3s prunes the scheduled ones only
HERE = Ways()
WAIT_S = 60
POLL_S = 0.5
TOLD = 5  # snapshots that cannot be restored, in one sentence


@operation()
def taken(
    token_hashes: Sequence[str], within_hours: int, *, reason: str = "", ways: Ways = HERE, k3s: str = K3S
) -> Commands:
    """There is a snapshot that can be restored and is not older than `within_hours`; else the leader takes one now.

    Args:
        token_hashes: of every server token that the store keeps. A snapshot under another token is worth nothing.
        within_hours: how old the newest may be. A younger cluster has no need of one yet, but for a `reason`.
        reason: what is about to happen, for the plan: "before the upgrade to v1.34.4".
        ways: how this node's etcd is asked.
        k3s: the command.
    """
    if within_hours < 0 or not token_hashes:
        odd = f"{within_hours} hours" if within_hours < 0 else "a store without a server token"
        yield from changes.refuse(f"cannot see to snapshots of etcd on {host.name}: found {odd}; see the declaration")
        return
    cluster = host.get_fact(Cluster, tls=ways.tls, gateway=ways.gateway)
    found = host.get_fact(Kept, k3s=k3s)
    if isinstance(cluster, Unknown) or isinstance(found, Unknown):
        sentence = f"cannot see to snapshots of etcd on {host.name}: their state could not be read; see the error above"
        yield from changes.refuse(sentence)
        return
    if nobody := _nobody(cluster, found):
        host.noop(nobody)
        return
    yield from _seen_to(found, token_hashes, within_hours, reason, k3s)


def _nobody(cluster: EtcdAnswers, found: Snapshots) -> str | None:
    """Why there is nothing to do here."""
    if not found["set_up"] or not cluster["set_up"]:
        return f"there is no etcd on {host.name} yet"
    if not found["answers"]:
        return f"the API on {host.name} does not answer: see what the layer k3s says"
    if cluster["leader_id"] is None or cluster["self_id"] != cluster["leader_id"]:
        return "the server whose etcd leads sees to it"
    return None


def _seen_to(found: Snapshots, kept: Sequence[str], within_hours: int, reason: str, k3s: str) -> Commands:
    live = found["token_hash"]
    if live is not None and live not in kept:
        yield from changes.rule(
            TOKEN_RULE,
            passed=False,
            arithmetic=f"the cluster's server token is {live}, the store has {', '.join(sorted(kept))}: nobody could "
            "restore what is taken now; set it with `unterbau secrets set`, with the name that the token has there",
        )
        return
    due = _due(found, kept, within_hours, reason)
    yield from _told(found["records"] or [], kept, due)
    if due is None:
        host.noop(f"a snapshot of the last {within_hours} h can be restored, or the cluster is younger than that")
        return
    changes.attribute("etcd snapshot", due, f"taken, {reason}" if reason else "taken")
    command = f"{shlex.quote(k3s)} etcd-snapshot"
    yield StringCommand(f"{command} save --name {NAME}")
    yield _readable(kept, k3s, newest_age_s(found["records"] or [], kept))
    yield StringCommand(f"{command} prune --name {NAME} --snapshot-retention {KEPT}")


def _due(found: Snapshots, kept: Sequence[str], within_hours: int, reason: str) -> str | None:
    """Why one is to be taken, without figures that move; None if none is."""
    limit_s = within_hours * 3600
    age_s = newest_age_s(found["records"] or [], kept)
    if age_s is not None and age_s <= limit_s:
        return None
    young = found["data_age_s"] is not None and found["data_age_s"] <= limit_s
    if age_s is None and young and not reason:
        return None
    return f"none of the last {within_hours} h can be restored"


def _told(records: Sequence[Record], kept: Sequence[str], due: str | None) -> Commands:
    """What would only be noticed when it is needed."""
    wrong = [said for one in records if (said := etcd.why(snapshot(one), kept))]
    if wrong:
        more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        there = "this plan takes one" if due else "a newer one can be restored"
        yield from changes.rule(RULE, passed=True, arithmetic=f"{there}; {'; '.join(wrong[:TOLD])}{more}")


def newest_age_s(records: Sequence[Record], kept: Sequence[str]) -> float | None:
    """The age of the newest that can be restored; None if there is none."""
    return min((one["age_s"] for one in records if etcd.usable(snapshot(one), kept) == "yes"), default=None)


def _readable(kept: Sequence[str], k3s: str, before_s: float | None) -> FunctionCommand:
    """Read back what was written: a record of it is there, it was finished, and the store has its token."""

    def see_that_it_can_be_restored(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        deadline = time.monotonic() + WAIT_S
        while True:
            found = host.get_fact(Kept, k3s=k3s)
            records = [] if isinstance(found, Unknown) else found["records"] or []
            age_s = newest_age_s(records, kept)
            if age_s is not None and (before_s is None or age_s < before_s):
                return True
            if time.monotonic() > deadline:
                sentence = f"cannot see the snapshot that {node} took: its record is not there after {WAIT_S} s"
                host.log_styled(f"{sentence}; see `k3s etcd-snapshot ls` there", fg="red", log_func=logger.error)
                return False
            time.sleep(POLL_S)

    function: Callable[..., Any] = see_that_it_can_be_restored
    return FunctionCommand(function, (host.name,), {})
