"""What a node of K3s is, what it should be, and what lies between: files, reasons to restart, rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pyinfra.api import HiddenValue, StringCommand
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host

from facts.config_file import FileState
from facts.k3s import CONFIG, ClusterState, open_lines, serves
from facts.k3s import Node as Found
from operations import config_file, k3s_gate
from operations.config_file import Wanted
from operations.k3s_config import Node, Tokens, config_yaml, critical, malformed, wanted_files
from unterbau import changes
from unterbau.domain import skew
from unterbau.domain.quorum import Verdict
from unterbau.domain.unknown import Unknown
from unterbau.secrets.hidden import MASK

RELEASE_RULE = "K3s is a release of its project"
SKEW_RULE = "versions of K3s follow each other"
CRITICAL_RULE = "servers of K3s agree on what they must"
# What K3s takes where a server was not told. Source: K3s docs, cli/server.
DEFAULTS = {
    "cluster-cidr": "10.42.0.0/16",
    "service-cidr": "10.43.0.0/16",
    "cluster-dns": "10.43.0.10",
    "cluster-domain": "cluster.local",
    "flannel-backend": "vxlan",
}


@dataclass(frozen=True)
class Ready:
    """A node as it is and as it should be."""

    node: Node
    found: Found
    wanted: dict[str, Wanted | None]
    through: str | None  # whom it joins through; None if it founds the cluster
    accepted: frozenset[
        str
    ]  # digests of config.yaml that a process may have been started with: they differ in that only


def runs(found: Found) -> bool:
    """Whether its process runs and has once been ready."""
    return found["active"] in ("active", "reloading")


def config_of(node: Node, tokens: Tokens, through: str | None) -> Wanted:
    """config.yaml: it holds the tokens, which are hidden wherever they are; its other lines are not."""
    return Wanted(HiddenValue(config_yaml(node, tokens, through), MASK), "600")


def ready_of(host: Host, node: Node, tokens: Tokens, found: Found, *, founding: bool = False) -> Ready | str:
    """The node with everything decided; a sentence if a file cannot be written."""
    if sentence := malformed(node):
        return f"cannot configure K3s on {node.node}: {sentence}"
    ways = {name: config_of(node, tokens, name) for name in (*node.others, *_left_since(found))}
    first = config_of(node, tokens, None)
    through = None if founding else _through(host, node, found, ways)
    accepted = frozenset(one.sha256 for one in (*ways.values(), *([first] if node.role == "server" else [])))
    wanted = wanted_files(node, HiddenValue((first if through is None else ways[through]).text, MASK))
    there = {path: found["files"][path] for path in wanted}
    return config_file.obstacle(there) or Ready(node, found, wanted, through, accepted)


def _left_since(found: Found) -> list[str]:
    """Where a member's own file says that it joined, whoever that was: it asks there no more, so nothing has to change.

    Without this, a server that leaves would make all that joined through it restart just when votes are fewest.
    """
    lines = (found["config"] or "").splitlines() if found["has_data"] else []
    return [json.loads(line.removeprefix("server: ")) for line in lines if line.startswith('server: "')]


def _through(host: Host, node: Node, found: Found, ways: dict[str, Wanted]) -> str | None:
    """Whom it joins through: as its file says already, once it is a member; else the first server that works."""
    is_now = found["files"][CONFIG]["sha256"]
    told = next((name for name, one in ways.items() if one.sha256 == is_now), None)
    if not ways or (told is not None and found["has_data"]):
        return told
    working = (k3s_gate.answering(node, cluster) for cluster in k3s_gate.live(host, node))
    return next(working, None) or node.others[0]


def configured(ready: Ready) -> list[StringCommand]:
    """Say what changes in the node's files, and the commands; a unit whose file changes is enabled in any case."""
    node, found, commands, unit_changes = ready.node, ready.found, [], False
    for path, wanted in ready.wanted.items():
        new = config_file.converge(path, found["files"][path], wanted)
        if path == CONFIG and wanted is not None:
            _say_open_lines(found, wanted)
        commands += new
        unit_changes = unit_changes or (path == node.unit_file and bool(new))
    if unit_changes or found["needs_daemon_reload"]:
        commands.append(StringCommand("systemctl daemon-reload"))
    if unit_changes or found["enabled"] != "enabled":
        if found["enabled"] not in ("enabled", ""):
            changes.attribute(f"{node.unit} at boot", found["enabled"], "enabled")
        commands.append(StringCommand(f"systemctl unmask {node.unit}; systemctl enable {node.unit}"))
    return commands


def _say_open_lines(found: Found, wanted: Wanted) -> None:
    """Of config.yaml the plan shows what is no secret."""
    before, after = found["config"], open_lines(wanted.text)
    if before != after:
        changes.text(f"{CONFIG}, without its secrets", before, after)


def restart_reason(ready: Ready) -> str | None:
    """Why a running process must be restarted. From state alone: a run may have been killed before its restart."""
    started = ready.found["started_with"]
    if started is None:
        return "it is not known what it was started with"
    for path, wanted in ready.wanted.items():
        before = started.get(path)
        same = before in ready.accepted if path == CONFIG else before == (wanted.sha256 if wanted else None)
        if not same:
            return f"{path} {_differs(ready.found['files'][path], wanted)}"
    return "its unit file is newer" if ready.found["needs_daemon_reload"] else None


def _differs(there: FileState, wanted: Wanted | None) -> str:
    return "is newer" if there["sha256"] == (wanted.sha256 if wanted else None) else "changes"


def upgrade(ready: Ready) -> str | None:
    """The version that runs, if it is another one than declared; None if it is not. A Node that is lost tells none."""
    running = ready.found["node"]["version"] if ready.found["node"] else None
    if running is not None:
        return running if running != ready.node.version else None
    unit = ready.found["files"][ready.node.unit_file]["content"] or ""
    binary = re.search(r"^ExecStart=(\S+) ", unit, re.MULTILINE)
    return binary[1] if binary and binary[1] != ready.node.binary else None


def silent(ready: Ready) -> str | None:
    """Why a process with the right files is not as it should be, in words; time helps it as much as a restart."""
    found = ready.found
    if ready.node.role == "server" and not serves(found):
        failing = sorted(part for part, works in (found["api"] or {}).items() if not works)
        return f"{', '.join(failing)} does not work" if failing else "no"
    if found["node"] is None:
        return "no"
    return None if found["node"]["ready"] else "its Node is not ready"


def cluster_of(host: Host, node: Node, found: Found) -> ClusterState | None:
    """The cluster as this server tells, else as the first other one does that works; None if none is asked or tells."""
    if node.role == "server" and found["has_data"]:
        own = k3s_gate.asked_here(host, node)
        if not isinstance(own, Unknown) and own["nodes"] is not None:
            return own
    return next(k3s_gate.live(host, node), None)


def forbidden(node: Node, found: Found, cluster: ClusterState | None) -> dict[str, str | None]:
    """{rule: why it does not let this be}; None if it does."""
    way = skewed(node, found, cluster)
    return {
        RELEASE_RULE: stood_in_for(node, found),
        CRITICAL_RULE: disagreement(node, cluster) if node.role == "server" else None,
        SKEW_RULE: None if way is None or way.passed else way.arithmetic,
    }


def broken(node: Node, found: Found, cluster: ClusterState | None) -> tuple[str, str] | None:
    """The first rule that does not let this be, and why."""
    rules = forbidden(node, found, cluster).items()
    return next(((rule, sentence) for rule, sentence in rules if sentence is not None), None)


def skewed(node: Node, found: Found, cluster: ClusterState | None) -> Verdict | None:
    """Whether this version may follow those that run; None if all run it.

    Of agents, a server asks for all: they follow in the same plan. An agent asks for itself.
    """
    running = {name: one["version"] for name, one in ((cluster["nodes"] if cluster else None) or {}).items()}
    if found["node"]:
        running[node.node] = found["node"]["version"]
    servers = {name: running[name] for name in node.cluster.servers if name in running}
    followers = node.cluster.agents if node.role == "server" else [node.node]
    agents = {name: running[name] for name in followers if name in running}
    if {*servers.values(), *agents.values()} <= {node.version}:
        return None
    return skew.upgrade(servers, agents, node.version)


def said_way(node: Node, found: Found, cluster: ClusterState | None) -> Iterator[PyinfraCommand]:
    """Say in the plan why another version may follow."""
    way = skewed(node, found, cluster)
    if way is not None:
        yield from changes.rule(SKEW_RULE, passed=way.passed, arithmetic=way.arithmetic)


def stood_in_for(node: Node, found: Found) -> str | None:
    """Why what stands in for K3s may not run here; None if it may, or if it is K3s."""
    if not node.stand_in or found["lab_machine"]:
        return None
    return f"{node.node} is no machine of the lab, and {node.binary} is not K3s: {node.stand_in}; pin a release"


def said_stand_in(node: Node) -> Iterator[PyinfraCommand]:
    """Say in the plan that it is not K3s that runs."""
    if node.stand_in:
        yield from changes.rule(RELEASE_RULE, passed=True, arithmetic=f"in the lab only: {node.stand_in}")


def disagreement(node: Node, cluster: ClusterState | None) -> str | None:
    """In what this server would differ from those that are there, as names and values; None if in nothing."""
    nodes = (cluster["nodes"] if cluster else None) or {}
    found = []
    for name in node.cluster.servers:
        there = nodes[name]["arguments"] if name in nodes else {}
        for key, value in critical(node.cluster).items():
            live = there.get(key, [DEFAULTS.get(key, "false")])[-1]
            if there and live != value:
                found.append(f"{key} is {live} on {name}, declared is {value}")
    return f"{'; '.join(found)}; no server may differ: declare what is there" if found else None
