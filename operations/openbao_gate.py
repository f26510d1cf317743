"""Gates: one member of a cluster is changed at a time, and only while the others can do without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.openbao import UNIT, MemberApi, Members, serves
from unterbau.domain import quorum
from unterbau.domain.unknown import Unknown

WAIT_S = 90
POLL_S = 0.5

Api = Mapping[str, MemberApi]


def arithmetic(api: Api, node: str) -> quorum.Verdict:
    """Whether `node` may be restarted, as far as its API and the others' say."""
    return quorum.restart({name: serves(member) for name, member in api.items()}, node)


def leader_of(api: Api) -> MemberApi | None:
    """The member that leads; None if none says so."""
    return next((member for member in api.values() if serves(member) and member["leads"]), None)


def unready(api: Api, names: list[str], least_index: int | None) -> str | None:
    """Why these members are not all unsealed and as far as `least_index`, as words; None if they are."""
    if leader_of(api) is None:
        return "no member leads"
    for name in names:
        member = api[name]
        if not serves(member):
            return f"{name} {words(member)}"
        if (member["applied_index"] or 0) < (least_index or 0):
            return f"{name} has applied entry {member['applied_index']} of {least_index}"
    return None


def words(member: MemberApi) -> str:
    """What a member is doing, in words."""
    if not member["answers"]:
        return "does not answer"
    if not member["initialized"]:
        return "is not initialized"
    if member["sealed"]:
        return "is sealed"
    return "leads" if member["leads"] else "follows"


def before_restart(node: str, members: Mapping[str, str], port: int) -> FunctionCommand:
    """Wait until every other member serves and has what the leader has; a cluster without a majority is not waited for.

    Asked again when it runs: what the plan saw may be minutes old, and the member before this one just restarted.
    """
    others = [name for name in members if name != node]

    def wait_for_the_others(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        api = _read(host, members, port)
        if api is not None and not serves(api[node]):
            return True  # what does not serve takes nothing away
        return _await(host, others, members, port, f"cannot restart {UNIT} on {node}")

    return _command(wait_for_the_others, node)


def after_start(node: str, members: Mapping[str, str], port: int, alone: bool = False) -> FunctionCommand:
    """Wait until this member is unsealed and has what the leader has; `alone`: until it is unsealed and leads."""

    def wait_until_caught_up(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        asked = {node: members[node]} if alone else members
        return _await(host, [node], asked, port, f"cannot go on from {node}")

    return _command(wait_until_caught_up, node)


def _command(gate: Callable[..., bool], node: str) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, (node,), {})


def _read(host: Host, members: Mapping[str, str], port: int) -> Api | None:
    found = host.get_fact(Members, members=dict(members), port=port)
    return None if isinstance(found, Unknown) else found


def _await(host: Host, names: list[str], members: Mapping[str, str], port: int, failing: str) -> bool:
    """Poll until the members are ready; False, with a sentence, if that takes longer than WAIT_S."""
    deadline, least_index = time.monotonic() + WAIT_S, None
    while True:
        api = _read(host, members, port)
        leader = None if api is None else leader_of(api)
        if least_index is None and leader is not None:
            least_index = leader["committed_index"]  # a fixed goal: a busy cluster never stands still
        found = "its API could not be asked" if api is None else unready(api, names, least_index)
        if found is None:
            return True
        if time.monotonic() > deadline:
            sentence = f"{failing}: after {WAIT_S} s {found}; see `journalctl -u {UNIT}` there, then apply again"
            host.log_styled(sentence, fg="red", log_func=logger.error)
            return False
        time.sleep(POLL_S)
