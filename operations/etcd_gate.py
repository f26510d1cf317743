"""Gates of etcd's care: one member stands still at a time, and only while the others can do without it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.etcd import GATEWAY, TLS
from facts.etcd_member import Both
from facts.etcd_member import State as Member
from facts.etcd_metrics import METRICS
from unterbau.domain import etcd
from unterbau.domain.etcd import node_of
from unterbau.domain.quorum import Verdict
from unterbau.domain.unknown import Unknown

NOSPACE = "NOSPACE"
WAIT_S = 90
POLL_S = 0.5
READ = ("data_corruption", "linearizable_read", "non_learner", "serializable_read")


@dataclass(frozen=True)
class Ways:
    """How this node's member is asked: where its client certificates are, where it listens."""

    tls: str = TLS
    gateway: str = GATEWAY
    metrics: str = METRICS


def read(host: Host, ways: Ways) -> Both | Unknown:
    """What this node's member says now."""
    return host.get_fact(Member, tls=ways.tls, gateway=ways.gateway, metrics=ways.metrics)


def voters(found: Both) -> dict[str, bool]:
    """{member: whether it takes part}, as this node sees it: it reads with the quorum, and reaches the others."""
    cluster, metrics = found["cluster"], found["metrics"]
    peers, ready = metrics["peers"] or {}, metrics["ready"] or {}
    healthy = {**peers, str(cluster["self_id"]): ready.get("linearizable_read", False)}
    return {
        one["name"] or f"member {one['id']}": healthy.get(one["id"], False)
        for one in cluster["members"] or []
        if not one["learner"]
    }


def name_of(found: Both, member_id: str | None) -> str:
    """The node's name of a member, or its id if it is not in the list."""
    names = {one["id"]: one["name"] for one in found["cluster"]["members"] or []}
    return node_of(names.get(str(member_id)) or f"member {member_id}")


def arithmetic(found: Both) -> Verdict:
    """Whether this node's member may stand still now."""
    cluster = found["cluster"]
    own = next((one["name"] for one in cluster["members"] or [] if one["id"] == cluster["self_id"]), "")
    return etcd.pause(voters(found), own)


def no_space(found: Both) -> list[str]:
    """Ids of the members that raised NOSPACE."""
    return [one["member_id"] for one in found["cluster"]["alarms"] or [] if one["kind"] == NOSPACE]


def may_pause(found: Both) -> Verdict:
    """The same for a defragmentation: under NOSPACE, with everybody there, nobody could write anyway."""
    verdict, taking_part = arithmetic(found), voters(found)
    if not verdict.passed and no_space(found) and all(taking_part.values()):
        told = f"{verdict.arithmetic.partition(';')[0]}, and nobody can write before there is room"
        return Verdict(True, told)
    return verdict


def unready(found: Both) -> str | None:
    """Why this member does not fully take part, as words; None if it does."""
    if not found["cluster"]["answers"] or not found["metrics"]["answers"]:
        return "its etcd does not answer"
    ready = found["metrics"]["ready"] or {}
    failing = [check for check in READ if not ready.get(check, False)]
    return f"its etcd fails {', '.join(failing)}" if failing else None


def before_pause(node: str, ways: Ways) -> FunctionCommand:
    """Wait until the others can do without it, asked again when it runs: one of them just stood still."""

    def missing(found: Both) -> str | None:
        verdict = may_pause(found)
        return None if verdict.passed else verdict.arithmetic

    def wait_for_the_other_voters(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        return await_(host, ways, missing, f"cannot defragment etcd on {node}")

    return _command(wait_for_the_other_voters, node)


def after_pause(node: str, ways: Ways) -> FunctionCommand:
    """Wait until this member reads with the quorum again: it has caught up then."""

    def wait_until_it_takes_part(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        return await_(host, ways, unready, f"cannot go on from etcd on {node}")

    return _command(wait_until_it_takes_part, node)


def room(node: str, ways: Ways) -> FunctionCommand:
    """See that this member has room again, or say why the alarm stays."""

    def see_that_there_is_room(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        found = read(host, ways)
        if isinstance(found, Unknown):
            return _failed(host, f"cannot disarm NOSPACE on {node}: its etcd could not be asked; see above")
        size, in_use, quota = sizes(found)
        if size is not None and quota is not None and etcd.has_room(size, quota):
            return True
        return _failed(
            host,
            f"cannot disarm NOSPACE on {node}: the database has {mib(size)} of {mib(quota)} and {mib(in_use)} are in "
            "use; apply again in a minute (history goes in the background); if that stays, delete objects, or raise "
            "quota-backend-bytes among the etcd arguments",
        )

    return _command(see_that_there_is_room, node)


def sizes(found: Both) -> tuple[int | None, int | None, int | None]:
    """(database, in use, quota) in bytes; None for what the member does not say."""
    cluster, metrics = found["cluster"], found["metrics"]
    return cluster["db_size_bytes"], cluster["db_in_use_bytes"], cluster["quota_bytes"] or metrics["quota_bytes"]


def mib(size: int | None) -> str:
    """ "2048 MiB"."""
    return "an unknown size" if size is None else f"{size / 2**20:.0f} MiB"


def await_(host: Host, ways: Ways, missing: Callable[[Both], str | None], failing: str) -> bool:
    """Poll until nothing is missing; False, with a sentence, if that takes longer than WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = read(host, ways)
        lacking = "it could not be asked" if isinstance(found, Unknown) else missing(found)
        if lacking is None:
            return True
        if time.monotonic() > deadline:
            sentence = f"{failing}: after {WAIT_S} s {lacking}; see `journalctl -u k3s` there, then apply again"
            return _failed(host, sentence)
        time.sleep(POLL_S)


def _failed(host: Host, sentence: str) -> bool:
    host.log_styled(sentence, fg="red", log_func=logger.error)
    return False


def _command(gate: Callable[..., bool], node: str) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, (node,), {})
