"""Gates: one node of a cluster is changed at a time, and only while the others can do without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import logger
from pyinfra.api import FunctionCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State as Run
from pyinfra.context import ctx_host

from facts.etcd import EtcdAnswers
from facts.k3s import Cluster, ClusterState, State, serves
from facts.k3s import Node as Found
from facts.k3s_api import NodeState, ServerApi
from operations.k3s_config import Node, open_files, secret_files
from unterbau.domain import quorum
from unterbau.domain.unknown import Unknown

WAIT_S = 300  # a new member learns the whole database before it votes
POLL_S = 1.0
SUFFIX = 9  # a member's name is <node>-<8 hex>. Source: K3s, pkg/etcd/etcd.go, setName


def node_of_member(name: str) -> str:
    """The node that a member is on, by its name."""
    return name[:-SUFFIX] if len(name) > SUFFIX and name[-SUFFIX] == "-" else name


def works(api: ServerApi | None) -> bool:
    """Whether a server says that every part of it works."""
    parts = api["ready"] if api is not None else None
    return bool(parts) and all((parts or {}).values())


def voters(node: Node, cluster: ClusterState) -> dict[str, bool]:
    """{who: whether it serves} of all who have a vote. A member without a server of ours counts, and does not serve.

    With a datastore outside of K3s there are no votes: one server that answers is enough.
    """
    serving = {name: works(cluster["servers"].get(name)) for name in node.cluster.servers}
    serving[node.node] = serving[node.node] or _votes(cluster["etcd"])
    members = cluster["etcd"]["members"]
    if node.cluster.datastore or members is None:
        return serving
    found: dict[str, bool] = {}
    for member in members:
        if not member["learner"]:
            owner = node_of_member(member["name"])
            known = owner in serving and owner not in found
            found[owner if known else member["name"] or member["id"]] = known and serving[owner]
    return found


def _votes(etcd: EtcdAnswers) -> bool:
    """Whether the etcd that was asked takes part in what is agreed on; its server's API may be broken all the same."""
    return etcd["answers"] and etcd["leader_id"] is not None and not etcd["learner"]


def arithmetic(node: Node, cluster: ClusterState, joining: Collection[str] = ()) -> quorum.Verdict:
    """Whether this server may be restarted, as far as all of them and its etcd say.

    Those who are `joining` will vote by then. Where too few are known to serve, and yet etcd has a leader, those serve
    who could not be asked: there is a majority to lose.
    """
    found = voters(node, cluster) | dict.fromkeys(joining, True)
    if node.node not in found:
        return quorum.Verdict(True, f"{node.node} has no vote: {sum(found.values())} of {len(found)} voters serve")
    if node.cluster.datastore:
        left = sorted(name for name, one in found.items() if one and name != node.node)
        answer = f"{', '.join(left) or 'no other server'} would answer while {node.node} restarts"
        return quorum.Verdict(bool(left) or len(found) == 1 or not found[node.node], answer)
    verdict, serving, need = quorum.restart(found, node.node), sum(found.values()), quorum.needed(len(found))
    if found[node.node] and serving < need and _votes(cluster["etcd"]):
        unknown = ", ".join(sorted(name for name, serves in found.items() if not serves))
        counted = f"{serving} of {len(found)} members serve, quorum needs {need}, and yet etcd has a leader"
        return quorum.Verdict(False, f"{counted}: whether {unknown} takes part is not known; repair or remove it")
    return verdict


def restartable(node: Node, cluster: ClusterState, joining: Collection[str] = ()) -> quorum.Verdict:
    """Whether the gate before its restart is open: the arithmetic, and all others that are members are as they should.

    A server that has yet to join is not waited for: it does so before, or it could not.
    """
    verdict = arithmetic(node, cluster, joining)
    takes_part = works(cluster["servers"].get(node.node)) or _votes(cluster["etcd"])
    if not verdict.passed or not takes_part:
        return verdict  # what neither serves nor votes takes nothing away
    members = cluster["etcd"]["members"]
    there = None if members is None else {node_of_member(one["name"]) for one in members}
    reason = unready(node, cluster, [name for name in node.others if there is None or name in there])
    return (
        verdict if reason is None else quorum.Verdict(False, f"{verdict.arithmetic}, but {reason}; repair that first")
    )


def unready(node: Node, cluster: ClusterState, names: list[str]) -> str | None:
    """Why these servers are not all as they should be, as each server that answers says; None if they are."""
    for name in names:
        api = cluster["servers"].get(name)
        if api is None or not works(api):
            return f"{name} {words(api)}"
    for name in names:
        for teller, api in cluster["servers"].items():
            if api["answers"] and (said := _unready_node(name, api["nodes"])) is not None:
                return f"{teller} says that {said}"
    return None if node.cluster.datastore else _unready_members(cluster["etcd"], names)


def _unready_node(name: str, nodes: Mapping[str, NodeState] | None) -> str | None:
    if nodes is None:
        return "it cannot list the nodes"
    if name not in nodes:
        return f"there is no Node {name}"
    return None if nodes[name]["ready"] else f"the Node {name} is not ready"


def _unready_members(etcd: EtcdAnswers, names: list[str]) -> str | None:
    if etcd["members"] is None:
        return "etcd does not answer"
    voting = {node_of_member(member["name"]) for member in etcd["members"] if not member["learner"]}
    missing = [name for name in names if name not in voting]
    if missing:
        return f"{', '.join(missing)} has no vote in etcd"
    learners = [member["name"] or member["id"] for member in etcd["members"] if member["learner"]]
    return f"{', '.join(learners)} is still learning" if learners else None


def words(api: ServerApi | None) -> str:
    """What a server is doing, in words."""
    if api is None or not api["answers"]:
        return "does not answer"
    failing = sorted(part for part, works in (api["ready"] or {}).items() if not works)
    return f"says that {', '.join(failing)} does not work" if failing else "works"


def before_restart(node: Node) -> FunctionCommand:
    """Wait until all other servers are ready and vote; asked again when it runs: another one just restarted."""

    def wait_for_the_others(state: Run, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        def reason() -> str | None:
            cluster = asked_here(host, node)
            if isinstance(cluster, Unknown):
                return "its API could not be asked"
            verdict = restartable(node, cluster)
            return None if verdict.passed else verdict.arithmetic

        return awaited(host, reason, f"cannot restart {node.unit} on {name}")

    return _command(wait_for_the_others, node.node)


def after_start(node: Node) -> FunctionCommand:
    """Wait until this node is ready: a server votes, every part of its API works, and every server's API says so."""

    def wait_until_ready(state: Run, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        return awaited(host, lambda: _not_started(host, node), f"cannot go on from {name}")

    return _command(wait_until_ready, node.node)


def _not_started(host: Host, node: Node) -> str | None:
    found = state_of(host, node)
    if isinstance(found, Unknown):
        return "its state could not be read"
    reason = next((sentence for wrong, sentence in _signs(node, found) if wrong), None)
    if reason is not None or node.role == "agent":
        return reason
    cluster = asked_here(host, node)
    return "its API could not be asked" if isinstance(cluster, Unknown) else unready(node, cluster, [node.node])


def _signs(node: Node, found: Found) -> Iterator[tuple[bool, str]]:
    """What would show that it is not there yet: (whether it is so, the words). The Node may still be as it was."""
    yield found["active"] != "active", f"{node.unit} is {found['active']}"
    if node.role == "server":
        yield not serves(found) or not all((found["etcd"] or {}).values()), _failing(found)
    yield not found["kubelet"], "its kubelet does not answer yet"
    own = found["node"]
    yield own is None, "it has no Node"
    if own is not None:
        yield not own["ready"], "its Node is not ready"
        yield own["version"] != node.version, f"its kubelet is {own['version']}, not {node.version}"


def _failing(found: Found) -> str:
    parts = {**(found["api"] or {}), **(found["etcd"] or {})}
    return f"{', '.join(sorted(name for name, works in parts.items() if not works)) or 'its API'} does not work yet"


def a_server_answers(node: Node, through: str | None) -> FunctionCommand:
    """Wait until a server is there to join through; a name that an earlier machine left behind is not joined under."""

    def wait_for_a_server(state: Run, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        def reason() -> str | None:
            return None if next(live(host, node), None) else f"none of {', '.join(node.others)} works"

        failing = f"cannot join {name} to the cluster"
        return awaited(host, reason, failing) and not _left_behind(host, node, failing)

    return _command(wait_for_a_server, f"{node.node} through {through}")


def _left_behind(host: Host, node: Node, failing: str) -> bool:
    cluster = next(live(host, node), None)
    members = cluster["etcd"]["members"] if cluster and node.role == "server" else None
    stale = [one["name"] for one in members or () if node_of_member(one["name"]) == node.node]
    if stale:
        say(host, f"{failing}: found its earlier member {stale[0]}; let the plan remove it first, then apply again")
    return bool(stale)


def servers_run(node: Node) -> FunctionCommand:
    """Wait until every server is ready and runs this node's version: no kubelet may be newer than a server."""

    def wait_for_the_servers(state: Run, host: Host, name: str) -> bool:  # noqa: ARG001  # pyinfra wants both
        return awaited(host, lambda: _older_server(host, node), f"cannot change {node.unit} on {name}")

    return _command(wait_for_the_servers, node.node)


def _older_server(host: Host, node: Node) -> str | None:
    cluster = next(live(host, node), None)
    if cluster is None:
        return f"none of {', '.join(node.cluster.servers)} works"
    nodes = cluster["nodes"] or {}
    for name in node.cluster.servers:
        if name not in nodes or not nodes[name]["ready"]:
            return f"the Node {name} is not ready"
        if nodes[name]["version"] != node.version:
            return f"{name} runs {nodes[name]['version']}, not {node.version}"
    return None


def live(host: Host, node: Node) -> Iterator[ClusterState]:
    """The cluster as each server tells that works, in the inventory's order, this one left out; [] if none does."""
    for _, cluster in live_hosts(host, node):
        yield cluster


def live_hosts(host: Host, node: Node) -> Iterator[tuple[Host, ClusterState]]:
    """The same, with the host that tells."""
    by_name = {one.data.node.name: one for one in host.state.inventory if one.data.get("node")}
    for name in node.others:
        cluster = asked_there(by_name[name], name, node) if name in by_name else None
        if cluster is not None and works(cluster["servers"].get(name)):
            yield by_name[name], cluster


def answering(node: Node, cluster: ClusterState) -> str | None:
    """The first other server that works, as this one tells."""
    return next((name for name in node.others if works(cluster["servers"].get(name))), None)


def asked_there(other: Host, name: str, node: Node) -> ClusterState | None:
    """What another server tells; None if it cannot be asked."""
    try:
        found = other.get_fact(Cluster, node=name, servers=dict(node.cluster.servers), port=node.cluster.port)
    except (PyinfraError, OSError):
        return None
    return None if found is None or isinstance(found, Unknown) else found


_states: WeakKeyDictionary[object, Found | Unknown] = WeakKeyDictionary()
_clusters: WeakKeyDictionary[object, ClusterState | Unknown] = WeakKeyDictionary()


def asked_here(host: Host, node: Node) -> ClusterState | Unknown:
    """What this server and its etcd tell; read once a host while the plan is made, where two operations ask."""
    if getattr(host.state, "is_executing", False):
        return _cluster(host, node)
    here = ctx_host.get()  # not `host` itself, which stands for whoever is planned for: all of them would share one
    if here not in _clusters:
        _clusters[here] = _cluster(host, node)
    return _clusters[here]


def _cluster(host: Host, node: Node) -> ClusterState | Unknown:
    found: ClusterState | Unknown = host.get_fact(
        Cluster, node=node.node, servers=dict(node.cluster.servers), port=node.cluster.port
    )
    return found


def state_of(host: Host, node: Node) -> Found | Unknown:
    """The node's own state; read once a host while the plan is made."""
    if getattr(host.state, "is_executing", False):
        return _state(host, node)
    here = ctx_host.get()  # the host itself: `host` stands for it, and outlives it
    if here not in _states:
        _states[here] = _state(host, node)
    return _states[here]


def _state(host: Host, node: Node) -> Found | Unknown:
    found: Found | Unknown = host.get_fact(
        State,
        node=node.node,
        role=node.role,
        files=open_files(node),
        unread_files=secret_files(node),
        port=node.cluster.port,
        external=bool(node.cluster.datastore),
    )
    return found


def awaited(host: Host, reason: Callable[[], str | None], failing: str) -> bool:
    """Poll until there is no reason to wait; False, with a sentence, if that takes longer than WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while (found := reason()) is not None:
        if time.monotonic() > deadline:
            say(host, f"{failing}: after {WAIT_S} s {found}; see `journalctl -u k3s` there, then apply again")
            return False
        time.sleep(POLL_S)
    return True


def say(host: Host, sentence: str) -> None:
    """An error on this host's line of the log."""
    host.log_styled(sentence, fg="red", log_func=logger.error)


def _command(gate: Callable[..., bool], shown: str) -> FunctionCommand:
    function: Callable[..., Any] = gate
    return FunctionCommand(function, (shown,), {})
