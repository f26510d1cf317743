"""Gates around a node that leaves: who is in the cluster is asked again right before and right after every step."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.etcd import Member as Found
from facts.k3s_departed import Authority, Known, KnownState, Traces
from unterbau.domain.etcd_membership import Disk, Member, removal
from unterbau.domain.unknown import Unknown

WAIT_S = 120  # K3s' own limit of a removal is 60 s, and its controller may have to be elected first
POLL_S = 0.5


@dataclass(frozen=True)
class Membership:
    """What is declared: the servers in their order, the agents, and who is told to leave."""

    servers: Mapping[str, str]  # {name: address}
    agents: Sequence[str]
    removed: Mapping[str, str]  # {name: address, "" of a machine that is gone}
    port: int = 6443
    drain_timeout_s: int = 300

    @property
    def declared(self) -> list[str]:
        """Names of all nodes that are to be there."""
        return [*self.servers, *self.agents]

    @property
    def asked(self) -> dict[str, str]:
        """{name: address} of everybody who may be a server of it."""
        return {**self.servers, **{name: at for name, at in self.removed.items() if at}}


def known(host: Host, cluster: Membership, node: str) -> KnownState | Unknown:
    """Whom the server `node`, which is this host, knows."""
    found: KnownState | Unknown = host.get_fact(Known, node=node, servers=cluster.asked, port=cluster.port)
    return found


def serves(found: KnownState, name: str) -> bool:
    """Whether this server answers, and its etcd does, which takes a quorum."""
    server = found["servers"].get(name)
    return server is not None and bool(server["ready"]) and all((server["ready"] or {}).values())


def members_of(found: KnownState) -> list[Member]:
    """etcd's members. One is healthy if its server's API is ready; if that was not asked, if its Node is."""
    return [_member(one, found) for one in found["etcd"]["members"] or ()]


def _member(one: Found, found: KnownState) -> Member:
    urls = one["peer_urls"] or one["client_urls"]
    address = urls[0].rpartition(":")[0].rpartition("/")[2].strip("[]") if urls else ""
    member = Member(one["id"], one["name"], address, one["learner"])
    node = (found["nodes"] or {}).get(member.node)
    asked = member.node in found["servers"]
    works = serves(found, member.node) if asked else node is not None and node["ready"]
    # Of two with one name only the one that the Node speaks of can be the one that answers.
    own = node is None or node["etcd_name"] in (None, member.name)
    return Member(one["id"], one["name"], address, one["learner"], healthy=one["started"] and works and own)


def disks(state: State, names: Collection[str]) -> dict[str, Disk]:
    """What those of these machines have on their disks that are in this run and answer."""
    found: dict[str, Disk] = {}
    for one in state.inventory:
        node = one.data.get("node")
        if node is not None and node.name in names and one in state.active_hosts:
            disk = _disk(one)
            found |= {} if disk is None else {node.name: disk}
    return found


def _disk(machine: Host) -> Disk | None:
    try:
        found = machine.get_fact(Traces)
    except (PyinfraError, OSError):
        return None  # a machine that does not answer is not an empty one
    if isinstance(found, Unknown):
        return None
    runs = any(active not in ("inactive", "failed") for active in found["active"].values())
    return Disk(found["member"], found["password"], running=runs)


def still_may_leave(cluster: Membership, node: str, member: Member) -> FunctionCommand:
    """Ask the arithmetic of this member's removal again; who has died since the plan was made counts."""

    def ask_quorum_again(state: State, host: Host, label: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        found = known(host, cluster, node)
        if isinstance(found, Unknown):
            return _fail(host, f"cannot remove {label}: the members could not be read; see the error above")
        if (silent := untold(found)) is not None:
            return _fail(host, f"cannot remove {label}: {silent}; see `journalctl -u k3s`, then apply again")
        there = members_of(found)
        now = next((one for one in there if one.id == member.id), None)
        verdict = None if now is None else removal(there, now)
        if verdict is None or verdict.passed:
            return True
        return _fail(host, f"cannot remove {label}: {verdict.arithmetic}")

    return _command(ask_quorum_again, member.label)


def until_gone(cluster: Membership, node: str, name: str, ids: Collection[str], *, all_of_it: bool) -> FunctionCommand:
    """Wait until none of these members is there, and, for `all_of_it`, neither Node nor password of `name`."""

    def wait_until_it_is_out(state: State, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        deadline = time.monotonic() + WAIT_S
        while True:
            found = known(host, cluster, node)
            left = (
                "the cluster could not be asked" if isinstance(found, Unknown) else there(found, name, ids, all_of_it)
            )
            if left is None:
                return True
            if time.monotonic() > deadline:
                return _fail(
                    host,
                    f"cannot go on from {name}: after {WAIT_S} s {left}; see `journalctl -u k3s`, then apply again",
                )
            time.sleep(POLL_S)

    return _command(wait_until_it_is_out, name)


def untold(found: KnownState) -> str | None:
    """Who of the cluster does not tell, in words; None if all do. Nobody may be taken for gone who was not listed."""
    if found["nodes"] is None or found["passwords"] is None:
        return "its API does not answer"
    return "its etcd does not answer" if found["etcd"]["set_up"] and found["etcd"]["members"] is None else None


def there(found: KnownState, name: str, ids: Collection[str], all_of_it: bool) -> str | None:
    """What of this node is still in the cluster, in words; None if nothing is. Not to know is not to be out."""
    silent = untold(found)
    if silent is not None or found["nodes"] is None or found["passwords"] is None:
        return silent
    left = [one.label for one in members_of(found) if one.id in ids or (all_of_it and one.node == name)]
    if left:
        return f"etcd still has the member {left[0]}"
    if all_of_it and name in found["nodes"]:
        return f"there is still a Node {name}"
    return f"there is still a password of {name}" if all_of_it and name in found["passwords"] else None


def is_out(cluster: Membership, name: str) -> FunctionCommand:
    """Whether a server that serves says that nothing of `name` is in the cluster: then its data are nobody's."""

    def ask_whether_it_is_out(state: State, host: Host, name: str) -> bool:
        said = still_in(state, cluster, name, host)
        return said is None or _fail(host, f"cannot wipe {name}: {said}")

    return _command(ask_whether_it_is_out, name)


def still_in(state: State, cluster: Membership, name: str, machine: Host) -> str | None:
    """Why the data of `name`, on this machine, may not be wiped, as words; None if a server says that it is out."""
    for server in state.inventory:
        node = server.data.get("node")
        if node is None or node.name not in cluster.servers or server not in state.active_hosts:
            continue
        try:
            found = known(server, cluster, node.name)
        except (PyinfraError, OSError):
            continue
        if not isinstance(found, Unknown) and serves(found, node.name):
            left = there(found, name, (), all_of_it=True)
            if left is None:
                return _stranger(machine, server, node.name)
            return f"{left}; see why it was not removed, then apply again"
    return "no server could be asked whether it is out; bring one back, then apply again"


def _stranger(machine: Host, server: Host, name: str) -> str | None:
    """Why the word of this server is none about this machine, whose cluster may be another one; None if it is."""
    try:
        own: str | Unknown | None = machine.get_fact(Authority)
        told: str | Unknown | None = server.get_fact(Authority)
    except (PyinfraError, OSError) as error:
        return f"which cluster its data are of could not be read ({error}); bring it back, then apply again"
    if isinstance(own, Unknown) or isinstance(told, Unknown):
        return "which cluster its data are of could not be read; see the error above"
    if own in (None, told):
        return None
    return (
        f"its data belong to another cluster than the one of {name}, which says that it is out: their authorities "
        "differ; see which of the two is alive, and wipe by hand what is nobody's"
    )


def _fail(host: Host, sentence: str) -> bool:
    host.log_styled(sentence, fg="red", log_func=logger.error)
    return False


def _command(gate: Callable[..., bool], label: str) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, (label,), {})
