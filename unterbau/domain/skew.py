"""Which version of K3s a cluster may be taken to, and whether a node may be taken to it now.

Sources: Kubernetes, "Version Skew Policy" (API servers within one minor version, a kubelet up to three older and never
newer); K3s, "Manual Upgrades" (servers first, no minor version left out); etcd, "Avoiding Zombie Cluster Members When
Upgrading to etcd v3.6" (3.5.26 first).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from unterbau.domain.quorum import Verdict

KUBELET_MINORS_OLDER = 3
_WRITTEN = re.compile(
    r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-rc(\d{1,6}))?(?:\+(?:k3s(\d{1,6})|[0-9A-Za-z.-]+))?", re.ASCII
)
_NO_CANDIDATE = 1_000_000


class Version(NamedTuple):
    """A version of K3s, in order: v1.33.7-rc1+k3s1 < v1.33.7 < v1.33.7+k3s1 < v1.33.7+k3s3 < v1.33.8.

    What stands behind "+" and is no release of K3s (+standin) counts as none: 0.
    """

    major: int
    minor: int
    patch: int
    candidate: int = _NO_CANDIDATE
    release: int = 0

    @property
    def line(self) -> str:
        """The minor version, "1.33"."""
        return f"{self.major}.{self.minor}"

    def __str__(self) -> str:
        """As K3s writes it, with what stood behind "+" only if it is a release of K3s."""
        candidate = f"-rc{self.candidate}" if self.candidate != _NO_CANDIDATE else ""
        return f"v{self.line}.{self.patch}{candidate}" + (f"+k3s{self.release}" if self.release else "")


# K3s 1.33 began with etcd 3.5 and went on with 3.6, without a minor version of its own between. Members that were
# removed under an etcd older than 3.5.26 come back under 3.6.
# Sources: k3s-io/k3s discussion 14908 (v1.33.7+k3s3 has etcd 3.5.26), pull 13493, issues 13485 (v1.33.7+k3s1 fails)
# and 14183 (v1.33.13 has etcd 3.6.12; what is between was not looked up, and is taken for 3.5).
ETCD_REPAIRED = Version(1, 33, 7, release=3)
ETCD_3_6 = Version(1, 33, 13)


def parse(text: str) -> Version:
    """The version in "v1.34.4+k3s1", "v1.34.4+standin" or "1.33.13". ValueError for anything else."""
    found = _WRITTEN.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no version of K3s such as v1.34.4+k3s1")
    major, minor, patch, candidate, release = found.groups()
    return Version(int(major), int(minor), int(patch), int(candidate or _NO_CANDIDATE), int(release or 0))


def upgrade(servers: Mapping[str, str], agents: Mapping[str, str], target: str) -> Verdict:
    """Whether the cluster may be taken to `target`, servers first. Both map nodes to the versions they run.

    Also for a cluster that was taken there half: nodes that run the target already are no obstacle.
    """
    try:
        wanted, running = parse(target), _parsed(servers)
        obstacles = [*_of_servers(running, wanted), *_of_agents(_parsed(agents), wanted)]
    except ValueError as error:
        return Verdict(False, f"cannot compare versions: {error}; see that every node answers, and the lock file")
    return Verdict(not obstacles, obstacles[0] if obstacles else _said(servers, agents, wanted, target))


def step(servers: Mapping[str, str], agents: Mapping[str, str], name: str, target: str) -> Verdict:
    """Whether node `name` may be taken to `target` now, or join with it when it is in neither.

    A kubelet is never newer than an API server, so an agent waits for all servers.
    """
    verdict = upgrade(servers, {name: agents[name]} if name in agents else {}, target)
    if not verdict.passed or name in servers:
        return verdict
    wanted = parse(target)
    older = [f"{server} runs {servers[server]}" for server, one in _parsed(servers).items() if one[:2] < wanted[:2]]
    if name in agents and older:
        found = f"cannot take {name} to {target} now: {', '.join(older)}"
        return Verdict(False, f"{found}, and a kubelet is never newer than an API server; servers first")
    return verdict


def waiting(nodes: Mapping[str, str], target: str) -> list[str]:
    """Nodes that do not run the target yet, those with the oldest version first, then by name.

    Versions are compared as they are written: another build of the same version is another one.
    """
    return sorted(
        (name for name, found in nodes.items() if found != target), key=lambda name: (parse(nodes[name]), name)
    )


def _parsed(nodes: Mapping[str, str]) -> dict[str, Version]:
    return {name: _of_node(name, nodes[name]) for name in sorted(nodes)}


def _of_node(name: str, text: str) -> Version:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _of_servers(running: Mapping[str, Version], wanted: Version) -> Iterator[str]:
    for name, found in running.items():
        way = f"cannot take {name} from {found} to {wanted}"
        if found[:2] > wanted[:2]:
            yield f"{way}: a minor version is never taken back; restore a snapshot taken under {wanted.line} instead"
        elif found >= ETCD_3_6 > wanted:
            yield f"{way}: etcd would go back from 3.6 to 3.5; declare {ETCD_3_6} or later"
        elif found.major != wanted.major:
            yield f"{way}: nothing is known of the way from {found.major}.x to {wanted.major}.x; declare {found.line}.x"
        elif wanted.minor > found.minor + 1:
            yield f"{way}: {_skipped(found, wanted)}; declare {found.major}.{found.minor + 1}.x first"
        elif found < ETCD_REPAIRED and wanted >= ETCD_3_6:
            stop = f"declare {ETCD_REPAIRED}, or a later one before {ETCD_3_6}, first"
            yield f"{way}: it goes from etcd 3.5 to 3.6, which needs etcd 3.5.26 on every server before; {stop}"


def _skipped(found: Version, wanted: Version) -> str:
    left_out = [f"{found.major}.{minor}" for minor in range(found.minor + 1, wanted.minor)]
    return f"{' and '.join(left_out)} {'is' if len(left_out) == 1 else 'are'} skipped"


def _of_agents(running: Mapping[str, Version], wanted: Version) -> Iterator[str]:
    for name, found in running.items():
        older = wanted.minor - found.minor
        way = f"cannot take {name} from {found} to {wanted}"
        if found[:2] > wanted[:2]:
            yield f"{way}: a kubelet is never newer than an API server, nor taken back; declare {found.line}.x or later"
        elif found.major != wanted.major:
            yield f"{way}: nothing is known of the way from {found.major}.x to {wanted.major}.x; declare {found.line}.x"
        elif older > KUBELET_MINORS_OLDER:
            oldest = f"{wanted.major}.{wanted.minor - KUBELET_MINORS_OLDER}"
            yield f"{way}: servers come first, and then its kubelet is {older} minor versions older, " \
                f"{KUBELET_MINORS_OLDER} are allowed; take it to {oldest}.x first"  # fmt: skip


def _said(servers: Mapping[str, str], agents: Mapping[str, str], wanted: Version, target: str) -> str:
    left = [len(waiting(nodes, target)) for nodes in (servers, agents)]
    if not any(left):
        return f"all of {len(servers) + len(agents)} nodes run {target}"
    lines = sorted({one[:2] for one in (*_parsed(servers).values(), *_parsed(agents).values())})
    oldest = f"{lines[0][0]}.{lines[0][1]}"
    way = f"within {wanted.line}" if oldest == wanted.line else f"from {oldest} to {wanted.line}"
    return f"to {target}, {way}: {left[0]} of {len(servers)} servers, then {left[1]} of {len(agents)} agents"
