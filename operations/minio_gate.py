"""Gates: one server is changed at a time, and only while all others and all of their drives are there."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from pyinfra import logger
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.minio import CERTIFICATE, UNIT, Health, MemberApi, Members
from facts.minio_drive import Drives, DriveState
from operations.minio_config import Server
from unterbau.domain import erasure
from unterbau.domain.quorum import Verdict
from unterbau.domain.unknown import Unknown

WAIT_S = 240  # longer than a server may take to stop
POLL_S = 2.0  # each asks every member: not too often while they start
METRICS_LIFE_S = 11  # what a member says of the sets may be 10 s old. Source: MinIO, cmd/metrics-v2.go
HEAL_STALLED_S = 300
HEAL_SAY_S = 30

Api = Mapping[str, MemberApi]


def arithmetic(server: Server, api: Api) -> Verdict:
    """Whether this server may be stopped, as far as all of them say."""
    counts = {name: sum(len(p.mounts) for p in server.pools if name in p.nodes) for name in server.members}
    online = {name: [api[name]["answers"] and api[name]["reads"]] * count for name, count in counts.items()}
    return erasure.stop([pool.erasure for pool in server.pools], server.parity, online, server.node)


def words(member: MemberApi) -> str:
    """What a member is doing, in words."""
    if not member["answers"]:
        return "does not answer"
    if not member["reads"]:
        return "has no quorum to read"
    return "serves" if member["writes"] else "has no quorum to write"


def incomplete(server: Server, health: Health, *, stopping: bool) -> str | None:
    """Why not every drive of every set is there and healed, as every member sees it, in words; None if all are.

    Before `stopping` this server it also has to say that the others are enough.
    """
    api = health["members"]
    for name in server.members:
        if not api[name]["writes"]:
            return f"{name} {words(api[name])}"
        if api[name]["healing"]:
            return f"{name} sees {api[name]['healing']} drives of others that are being healed"
    for name in server.members:
        for number, pool in enumerate(server.pools):
            if sentence := _incomplete_sets(server, name, number, health):
                return f"{sentence} of {pool.erasure}"
    if stopping and not api[server.node]["spare"]:
        return f"{server.node} says that the others would have no quorum without it"
    return None


def _incomplete_sets(server: Server, name: str, pool: int, health: Health) -> str | None:
    for number, one in enumerate(erasure.sets(server.pools[pool].erasure, server.parity)):
        seen = health["sets"].get(name, {}).get(f"{pool}/{number}")
        if seen is None:
            return f"{name} does not say how it sees set {number + 1}"
        if seen["online"] < one.size:
            return f"{name} sees {seen['online']} of {one.size} drives in set {number + 1}"
        if seen["healing"]:
            return f"{name} sees {seen['healing']} drives healing in set {number + 1}"
    return None


def before_restart(server: Server, *, interrupting: bool = False) -> FunctionCommand:
    """Wait until all are there and healed: what the plan saw may be minutes old, and another one just restarted.

    `interrupting`: the layout cannot do without this server, and it was allowed to stop nevertheless.
    """

    def wait_for_the_others(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        health = _read(host, server, [node])
        if health is not None and not health["members"][node]["answers"]:
            return True  # what does not serve takes nothing away
        return _await_all(host, server, f"cannot restart {UNIT} on {node}", stopping=not interrupting)

    return _command(wait_for_the_others, server.node)


def after_start(server: Server) -> FunctionCommand:
    """Wait until this server serves, and then until every member sees every drive again."""

    def wait_until_all_are_there(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        failing = f"cannot go on from {node}"
        if not _await_this(host, server, failing):
            return False
        time.sleep(METRICS_LIFE_S)  # until then a member may say what it saw before the restart
        return _await_all(host, server, failing, stopping=False)

    return _command(wait_until_all_are_there, server.node)


def serving(server: Server) -> FunctionCommand:
    """Wait until this server serves reads and writes."""

    def wait_until_it_serves(state: State, host: Host, node: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        return _await_this(host, server, f"cannot start {UNIT} on {node}")

    return _command(wait_until_it_serves, server.node)


def _unready(node: str, health: Health) -> str | None:
    member = health["members"][node]
    return None if member["writes"] else f"it {words(member)} (systemd says {health['active']})"


def healed(mounts: list[str], node: str) -> FunctionCommand:
    """Wait until MinIO has taken these drives and put everything back on them, as long as it goes on."""

    def wait_until_healed(state: State, host: Host, node: str, shown: str) -> bool:  # noqa: ARG001  # pyinfra wants it
        return _await_healing(host, mounts, f"cannot go on from {node}")

    return _command(wait_until_healed, node, ", ".join(mounts))


def _await_healing(host: Host, mounts: list[str], failing: str) -> bool:
    moved = said = time.monotonic()
    last: list[object] = []
    whole = 0
    while True:
        found = host.get_fact(Drives, mounts=mounts)
        drives = {} if isinstance(found, Unknown) else found
        left = {mount: one for mount in mounts if (one := drives.get(mount)) is None or unhealed(one)}
        whole = 0 if left else whole + 1
        if whole == 2:  # MinIO formats a drive a moment before it writes down that the drive is to be healed
            return True
        now = time.monotonic()
        if (progress := [drives.get(mount) and _progress(drives[mount]) for mount in mounts]) != last:
            last, moved = progress, now
        sentence = "; ".join(f"{mount} {unhealed(one) if one else 'could not be read'}" for mount, one in left.items())
        if now - moved > HEAL_STALLED_S:
            _say(host, f"{failing}: nothing moved for {HEAL_STALLED_S} s: {sentence}; see `journalctl -u {UNIT}` there")
            return False
        if now - said > HEAL_SAY_S:
            host.log(f"waiting: {sentence}", logger.info)
            said = now
        time.sleep(POLL_S)


def _progress(drive: DriveState) -> object:
    return drive["format"], drive["healed_items"], drive["used_bytes"]


def unhealed(drive: DriveState) -> str | None:
    """What is missing on a drive, in words; None if it is a whole member of its set."""
    if drive["format"] is None:
        return "is not formatted by MinIO yet"
    if drive["healing"]:
        return f"is being healed, {drive['healed_items'] or 0} items so far"
    return None


def _command(gate: Callable[..., bool], *shown: str) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, shown, {})


def _read(host: Host, server: Server, names: list[str]) -> Health | None:
    members = {name: server.members[name] for name in names}
    found = host.get_fact(Members, members=members, port=server.port)
    return None if isinstance(found, Unknown) else found


def _await_this(host: Host, server: Server, failing: str) -> bool:
    return _await(host, lambda: _read(host, server, [server.node]), lambda said: _unready(server.node, said), failing)


def _await_all(host: Host, server: Server, failing: str, *, stopping: bool) -> bool:
    def wrong(health: Health) -> str | None:
        return incomplete(server, health, stopping=stopping)

    return _await(host, lambda: _read(host, server, list(server.members)), wrong, failing)


def _await(host: Host, read: Callable[[], Health | None], wrong: Callable[[Health], str | None], failing: str) -> bool:
    """Poll until nothing is wrong; False, with a sentence, if that takes longer than WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while True:
        health = read()
        found = "its state could not be read" if health is None else wrong(health)
        if found is None:
            return True
        if time.monotonic() > deadline:
            _say(host, f"{failing}: after {WAIT_S} s {found}; see `journalctl -u {UNIT}` there, then apply again")
            return False
        time.sleep(POLL_S)


def _say(host: Host, sentence: str) -> None:
    host.log_styled(sentence, fg="red", log_func=logger.error)


def reloaded(server: Server) -> StringCommand:
    """Hand the server its certificate, and wait until the listener shows the one of the disk."""
    show = "openssl x509 -noout -fingerprint -sha256"
    endpoint = shlex.quote(f"{server.address}:{server.port}")
    served = f"$(timeout 4 openssl s_client -connect {endpoint} < /dev/null 2>/dev/null | {show})"
    return StringCommand(
        f"systemctl reload {UNIT} && wanted=$({show} < {CERTIFICATE}) && for try in $(seq 50); do "
        f'[ "{served}" != "$wanted" ] || exit 0; '
        f"sleep 0.2; done; echo 'cannot see the new certificate on {endpoint}; see journalctl -u {UNIT}' >&2; exit 1"
    )
