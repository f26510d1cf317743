"""etcd's care: history and free pages go when they take too much room, one member at a time, the leader last.

Three operations in this order, each on every server: `compacted`, `defragmented` (twice), `disarmed`. Under NOSPACE
etcd takes reads and deletions only, until all have room again. No value that was acknowledged is touched: history goes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal
from weakref import WeakKeyDictionary

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import ctx_host

from facts.etcd import STATUS, calling, decimal
from facts.etcd_member import Both
from operations import etcd_gate
from operations.config_file import Commands
from operations.etcd_gate import NOSPACE, Ways, mib, no_space, sizes
from unterbau import changes
from unterbau.domain.etcd import FRAGMENTED_BELOW, FRAGMENTED_FROM_BYTES, fragmented, has_room
from unterbau.domain.unknown import Unknown

RULE = "etcd keeps its quorum"
DEFRAGMENT_WITHIN_S = 600  # it copies what is in use; etcd's own client has no limit either
COMPACT_WITHIN_S = 300
HERE = Ways()
Turn = Literal["followers", "leader"]


@operation()
def compacted(ways: Ways = HERE) -> Commands:
    """Out of space, or nearly, the history of all keys goes: values stay. The member that leads does it for all.

    Args:
        ways: how this node's member is asked; by itself as K3s has it.
    """
    found = yield from _cared_for(ways)
    if found is None:
        return
    if not _full(found):
        host.noop("no member is out of space")
        return
    if found["cluster"]["self_id"] != found["cluster"]["leader_id"]:
        host.noop("the member that leads does it for all")
        return
    changes.attribute("etcd history", "kept", "compacted up to the current revision")
    yield _compaction(ways)


def _compaction(ways: Ways) -> StringCommand:
    """The revision is read when it runs. That it is compacted already (code 11) is what a killed run left behind."""
    path, body = STATUS
    status = calling(path, body, ways.tls, ways.gateway)
    compact = calling("kv/compaction", "@-", ways.tls, ways.gateway, COMPACT_WITHIN_S)
    return StringCommand(
        f'revision=$({status} | grep -o \'"revision":"[0-9]*"\' | tr -dc 0-9) && test -n "$revision" && '
        f'said=$(printf \'{{"revision":"%s","physical":true}}\' "$revision" | {compact}) && '
        "case $said in *'\"code\":11,'*) ;; *'\"code\":'*) printf '%s\\n' \"$said\" >&2; exit 1;; esac"
    )


@operation()
def defragmented(
    turn: Turn,
    ways: Ways = HERE,
    *,
    below: float = FRAGMENTED_BELOW,
    from_bytes: int = FRAGMENTED_FROM_BYTES,
) -> Commands:
    """The member's database has no more free pages than are worth a pause; out of space none at all.

    Called twice, one node at a time (`_serial=True`): for the followers, then for the leader.

    Args:
        turn: whose turn it is: "followers" or "leader".
        ways: how this node's member is asked; by itself as K3s has it.
        below: the share of the file that is in use at least.
        from_bytes: a smaller file is never worth it.
    """
    found = yield from _cared_for(ways)
    if found is None:
        return
    leads = found["cluster"]["self_id"] == found["cluster"]["leader_id"]
    if leads != (turn == "leader"):
        host.noop(f"{host.name} {'leads' if leads else 'does not lead'}: not its turn")
        return
    reason = _reason(found, below, from_bytes)
    if reason is None:
        host.noop("its database is small, or mostly in use")
        return
    if (verdict := etcd_gate.may_pause(found)) and not verdict.passed:
        host.noop(f"not now: {verdict.arithmetic}")  # it waits: what would cure that voter must not wait for it
        return
    yield from _defragmented(found, ways, reason)


def _full(found: Both) -> bool:
    """Whether a member raised NOSPACE, or this one is about to.

    K3s disarms the alarm of its own member whenever it starts, without room for it: it comes back, and goes again.
    Source: K3s, pkg/etcd/etcd.go, clearAlarms.
    """
    size, _, quota = sizes(found)
    return bool(no_space(found)) or (size is not None and quota is not None and not has_room(size, quota))


def _reason(found: Both, below: float, from_bytes: int) -> str | None:
    """Why it is defragmented. Without figures that move: a plan has one digest."""
    size, in_use, _ = sizes(found)
    if _full(found):
        return "a member is out of space, or nearly"
    if size is None or in_use is None or not fragmented(size, in_use, below=below, from_bytes=from_bytes):
        return None
    return f"more than {mib(from_bytes)}, less than {below:.0%} of it in use"


def _defragmented(found: Both, ways: Ways, reason: str) -> Commands:
    changes.attribute(f"etcd database of {host.name}", reason, "defragmented")
    yield from changes.rule(RULE, passed=True, arithmetic=etcd_gate.may_pause(found).arithmetic)
    yield etcd_gate.before_pause(host.name, ways)
    yield _call("maintenance/defragment", "{}", ways, DEFRAGMENT_WITHIN_S)
    yield etcd_gate.after_pause(host.name, ways)


@operation()
def disarmed(ways: Ways = HERE) -> Commands:
    """NOSPACE of this node's member is disarmed, once it has room. Writes go on when the last one's is.

    Each answers for itself, after all were defragmented: nobody else knows how much room it has. For members that are
    gone the leader does.

    Args:
        ways: how this node's member is asked; by itself as K3s has it.
    """
    found = yield from _cared_for(ways)
    if found is None:
        return
    mine = _to_disarm(found)
    if not mine:
        host.noop("its member raised no NOSPACE")
        return
    size, _, quota = sizes(found)
    verdict = etcd_gate.may_pause(found)
    if not verdict.passed and not (size is not None and quota is not None and has_room(size, quota)):
        host.noop(f"not now: it has no room before it is defragmented; {verdict.arithmetic}")
        return
    for owner in mine.values():
        changes.attribute(f"etcd alarm of {owner}", f"{NOSPACE}: nobody can write, the quota is {mib(quota)}", None)
    yield etcd_gate.room(host.name, ways)
    for one in mine:
        body = f'{{"action":"DEACTIVATE","alarm":"{NOSPACE}","memberID":"{decimal(one)}"}}'
        yield _call("maintenance/alarm", body, ways)


def _to_disarm(found: Both) -> dict[str, str]:
    """{id: whose} of the alarms that this node sees to: its own, and the leader those of members that are gone.

    An alarm outlives its member: it is kept by all, and in every snapshot.
    """
    cluster = found["cluster"]
    alarms, own = no_space(found), cluster["self_id"]
    mine = {str(own): host.name} if own in alarms else {}
    if own == cluster["leader_id"]:
        members = {one["id"] for one in cluster["members"] or []}
        mine |= {one: f"member {one}, which is gone" for one in sorted(alarms) if one not in members}
    return mine


def _call(path: str, body: str, ways: Ways, limit_s: int | None = None) -> StringCommand:
    """One call that fails where etcd's answer is an error, with its sentence."""
    call = calling(path, body, ways.tls, ways.gateway, *([limit_s] if limit_s else []))
    return StringCommand(call.replace("curl --silent", "curl --silent --show-error --fail-with-body", 1))


_read: WeakKeyDictionary[object, dict[Ways, Both | Unknown]] = WeakKeyDictionary()


def _found(ways: Ways) -> Both | Unknown:
    """Read once a host while the plan is made, where four operations ask; anew whenever one is carried out."""
    if getattr(host.state, "is_executing", False):
        return etcd_gate.read(host, ways)
    known = _read.setdefault(ctx_host.get(), {})
    if ways not in known:
        known[ways] = etcd_gate.read(host, ways)
    return known[ways]


def _cared_for(ways: Ways) -> Generator[PyinfraCommand, None, Both | None]:
    """The member's state; None, after saying why, where there is nobody to take care of."""
    found = _found(ways)
    if isinstance(found, Unknown):
        sentence = f"cannot take care of etcd on {host.name}: its state could not be read; see the error above"
        yield from changes.refuse(sentence)
        return None
    if reason := _nobody(found):
        host.noop(reason)
        return None
    if found["cluster"]["alarms"] is None:
        errors = "; ".join(found["cluster"]["errors"] or []) or "no error"
        yield from changes.refuse(
            f"cannot take care of etcd on {host.name}: it reports {errors}, and which alarms there are could not be "
            "read; apply again"
        )
        return None
    return found


def _nobody(found: Both) -> str | None:
    """Why there is no member here to take care of. That it does not run, or is to be replaced, others say."""
    cluster = found["cluster"]
    if not cluster["set_up"]:
        return f"there is no etcd on {host.name} yet"
    if not cluster["answers"]:
        return f"etcd on {host.name} does not answer: see what the layer k3s says"
    if cluster["learner"]:
        return f"the member of {host.name} is still learning: it answers nothing but its status"
    if cluster["leader_id"] is None:
        return "nobody leads: without quorum there is nothing to tidy up"
    corrupt = [one for one in cluster["alarms"] or [] if one["kind"] != NOSPACE]
    if corrupt:
        names = ", ".join(f"{one['kind']} on {etcd_gate.name_of(found, one['member_id'])}" for one in corrupt)
        return f"the alarm {names}: that member is replaced, not tidied up"
    return None
