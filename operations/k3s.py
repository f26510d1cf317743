"""K3s on nodes: who founds the cluster, who joins it, and each node as declared, one of them changed at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import ctx_host

from facts.k3s import CONFIG, ClusterState
from facts.k3s import Node as Found
from facts.k3s_api import ETCD_HEALTH, curl
from operations import config_file, k3s_ahead, k3s_drain, k3s_founding, k3s_gate, k3s_ready, k3s_rotation_gate
from operations.config_file import Commands
from operations.k3s_config import Node, Tokens
from operations.k3s_ready import Ready
from unterbau import changes
from unterbau.domain.etcd import begun, token_hash
from unterbau.domain.unknown import Unknown

QUORUM_RULE = "etcd keeps its quorum"
TOKEN_RULE = "who joins K3s is let in"  # noqa: S105  # a sentence
STOP_TRIES = 600  # of 0.2 s: longer than systemd waits before it kills


@operation()
def founded(node: Node, tokens: Tokens) -> Commands:
    """The cluster is there: its first server founds it, once; servers with data that are down start, all at once.

    Those that are down take nothing away, and a cluster that was stopped as a whole is only ready when most of it is
    back: none of them can be waited for alone.

    Args:
        node: this server, as it should be.
        tokens: what servers and agents join with.
    """
    if (found := (yield from _found(node))) is None:
        return
    if (sentence := k3s_ready.stood_in_for(node, found)) is not None:
        yield from changes.rule(k3s_ready.RELEASE_RULE, passed=False, arithmetic=sentence)
        return
    yield from _brought_up(node, tokens, found)


def _found(node: Node) -> Generator[PyinfraCommand, None, Found | None]:
    """The node as it is; None, refused with a sentence, if that is unknown or a restore of etcd has it."""
    found = k3s_gate.state_of(ctx_host.get(), node)
    if isinstance(found, Unknown):
        yield from _unread()
        return None
    if node.role == "server" and "restore" in found:
        yield from changes.refuse(begun(node.node, found["restore"]))
        return None
    return found


def _brought_up(node: Node, tokens: Tokens, found: Found) -> Commands:
    founds = k3s_founding.founds(node, found)
    if isinstance(founds, str):
        yield from changes.refuse(founds)
        return
    if not founds and (k3s_ready.runs(found) or not found["has_data"]):
        host.noop("the cluster is there" if found["has_data"] else f"{node.node} joins the cluster")
        return
    cluster = next(k3s_gate.live(ctx_host.get(), node), None)
    if (rule := k3s_ready.broken(node, found, cluster)) is not None:
        yield from changes.rule(rule[0], passed=False, arithmetic=rule[1])
        return
    ready = k3s_ready.ready_of(ctx_host.get(), node, tokens, found, founding=founds)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    yield from k3s_ready.said_way(node, found, cluster)
    if founds:
        changes.attribute("K3s cluster", None, f"founded by {node.node}")
    yield from _started(ready)
    if founds and node.others:  # a disk that is lost later must never found another cluster
        yield config_file.write(CONFIG, k3s_ready.config_of(node, tokens, node.others[0]))


@operation()
def admitted(node: Node, tokens: Tokens) -> Commands:
    """This server is a member; called for one after the other (`_serial=True`), before any of the others restarts.

    In the place of one that was lost it brings back the vote that a restart of the others takes away.

    Args:
        node: this server, as it should be.
        tokens: what servers and agents join with.
    """
    if (found := (yield from _found(node))) is None:
        return
    if found["has_data"]:
        host.noop(f"{node.node} is a member")
        return
    if k3s_founding.founds(node, found) is not False:
        host.noop(f"{node.node} founds the cluster first")
        return
    if (sentence := _shut_out(node, tokens)) is not None:
        yield from changes.rule(TOKEN_RULE, passed=False, arithmetic=sentence)
        return
    yield from _converged(node, tokens, found)


def _shut_out(node: Node, tokens: Tokens) -> str | None:
    """Why no server would let it in; None if they do, or if none is there to ask.

    A server knows the password that it started with, and those that wait for this one's vote cannot restart before.
    Source: K3s, pkg/authenticator/passwordfile, NewCSV: read once.
    """
    told = k3s_rotation_gate.told(host, node)
    newest = token_hash(tokens.server.unmask()) if tokens.server else None
    if not told or newest is None or newest in told:
        return None
    return (
        f"{node.node} has yet to join, and the token is made anew in the same plan, which servers learn when they "
        "restart; let it join first: nothing is made anew with --limit, and one that was made anew by hand waits: "
        "set the former one in the store"
    )


@operation()
def server(node: Node, tokens: Tokens) -> Commands:
    """This server runs as declared; called for one after the other (`_serial=True`), once all are members.

    Before it restarts, all others must be ready and vote; afterwards it as well. A new version is reached with its
    pods elsewhere.

    Args:
        node: this server, as it should be.
        tokens: what servers and agents join with.
    """
    if (found := (yield from _found(node))) is None:
        return
    if not (found["has_data"] and k3s_ready.runs(found)):
        host.noop(f"{node.node} is started with all others, or joins them, first")
        return
    yield from _converged(node, tokens, found)


@operation()
def joined(node: Node, tokens: Tokens) -> Commands:
    """This agent runs. All at once: one that does not run takes nothing away.

    Args:
        node: this agent, as it should be.
        tokens: what agents join with.
    """
    if (found := (yield from _found(node))) is None:
        return
    if found["has_data"] and k3s_ready.runs(found):
        host.noop(f"{node.unit} runs")
        return
    yield from _converged(node, tokens, found)


@operation()
def agent(node: Node, tokens: Tokens) -> Commands:
    """This agent runs as declared; called for one after the other (`_serial=True`), after the servers.

    Args:
        node: this agent, as it should be.
        tokens: what agents join with.
    """
    if (found := (yield from _found(node))) is None:
        return
    if not (found["has_data"] and k3s_ready.runs(found)):
        host.noop(f"{node.unit} is started with all others")
        return
    yield from _converged(node, tokens, found)


def _unread() -> Iterator[PyinfraCommand]:
    yield from changes.refuse(f"cannot converge K3s on {host.name}: its state could not be read; see the error above")


def _converged(node: Node, tokens: Tokens, found: Found) -> Commands:
    cluster = k3s_ready.cluster_of(ctx_host.get(), node, found)
    if (rule := k3s_ready.broken(node, found, cluster)) is not None:
        yield from changes.rule(rule[0], passed=False, arithmetic=rule[1])
        return
    ready = k3s_ready.ready_of(ctx_host.get(), node, tokens, found)
    if isinstance(ready, str):
        yield from changes.refuse(ready)
        return
    if not k3s_ready.runs(found) or not found["has_data"]:
        yield from k3s_ready.said_way(node, found, cluster)
        yield from _started(ready, k3s_gate.a_server_answers(node, ready.through))
        return
    files = k3s_ready.configured(ready)
    reason = k3s_ready.restart_reason(ready)
    cordon = found["node"]["cordoned_by_us"] if found["node"] else None
    silent = k3s_ready.silent(ready)
    if not (files or reason or cordon or silent):
        host.noop(f"{node.unit} runs as declared")
        return
    if reason is None:
        yield from _finished(ready, files, cordon, silent)
        return
    yield from _restarted(ready, files, reason, cluster)


def _finished(
    ready: Ready, files: list[StringCommand], cordon: str | None, silent: str | None
) -> Iterator[PyinfraCommand]:
    """What a run that was killed right after its restart left to do."""
    if silent is not None:
        changes.attribute(f"{ready.node.unit} answers", silent, "ready")
    if cordon is not None:
        changes.attribute(f"{ready.node.node} cordoned by us", cordon, None)
    yield from files
    if silent is not None or cordon is not None:
        yield k3s_gate.after_start(ready.node)
    if cordon is not None:
        yield k3s_drain.uncordoned(ready.node)


def _started(ready: Ready, gate: PyinfraCommand | None = None) -> Iterator[PyinfraCommand]:
    node, found = ready.node, ready.found
    changes.attribute(f"{node.unit} active", found["active"], "active")
    files = k3s_ready.configured(ready)
    yield from k3s_ready.said_stand_in(node)
    if gate is not None and not found["has_data"]:
        yield gate
    yield from files
    again = found["active"] not in ("inactive", "failed") and k3s_ready.restart_reason(ready) is not None
    yield _restart_without_vote(node.unit) if again else _start(node.unit)
    yield k3s_gate.after_start(node)


def _restarted(
    ready: Ready, files: list[StringCommand], reason: str, cluster: ClusterState | None
) -> Iterator[PyinfraCommand]:
    node, found = ready.node, ready.found
    upgrade = k3s_ready.upgrade(ready)
    changes.attribute(f"{node.unit} process", "running", f"restarted, {reason}")
    if upgrade is not None:
        changes.attribute(f"K3s on {node.node}", upgrade, node.version)
    if node.role == "server":
        if cluster is None:
            yield from changes.refuse(f"cannot restart {node.unit} on {node.node}: who votes could not be read")
            return
        verdict = k3s_ahead.restartable(node, cluster)
        yield from changes.rule(QUORUM_RULE, passed=verdict.passed, arithmetic=verdict.arithmetic)
        if not verdict.passed:
            return
    yield from k3s_ready.said_stand_in(node)
    yield from k3s_ready.said_way(node, found, cluster)
    gate = k3s_gate.before_restart if node.role == "server" else k3s_gate.servers_run
    yield gate(node)
    if upgrade is not None:
        yield k3s_drain.drained(node, f"upgrade to {node.version}")
        yield gate(node)  # minutes may have gone by
    yield from files
    yield _restart(node.unit)
    yield k3s_gate.after_start(node)
    if upgrade is not None or (found["node"] and found["node"]["cordoned_by_us"]):
        yield k3s_drain.uncordoned(node)


def _start(unit: str) -> StringCommand:
    """Not waited for by systemd, which would for ever: gates have a limit."""
    return StringCommand(f"systemctl reset-failed {unit} 2>/dev/null; systemctl start --no-block {unit}")


def _restart(unit: str) -> StringCommand:
    return StringCommand(_restarting(unit))


def _restart_without_vote(unit: str) -> StringCommand:
    """One that is on its way up and takes part in the quorum is left alone: the next apply restarts it, in its turn."""
    votes = f"{curl()} --fail --output /dev/null {ETCD_HEALTH.partition('?')[0]}"
    return StringCommand(f"if {votes}; then echo '{unit} votes: not restarted now'; exit 0; fi; {_restarting(unit)}")


def _restarting(unit: str) -> str:
    """Until the former process is gone: it still answers while it takes its leave, and no gate may believe it."""
    pid = f"systemctl show --value -p MainPID {unit}"
    return (
        f"before=$({pid}); systemctl reset-failed {unit} 2>/dev/null; systemctl restart --no-block {unit}; "
        f"for try in $(seq {STOP_TRIES}); do "
        f'[ "$before" != 0 ] && [ "$({pid})" = "$before" ] || exit 0; sleep 0.2; done; '
        f"echo 'cannot restart {unit}: its former process is still there; see systemctl status {unit}' >&2; exit 1"
    )
