"""What an erasure set may still lose, given which of its drives and nodes are there now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from unterbau.domain.erasure import ErasureSet


@dataclass(frozen=True)
class Left:
    """How many more nodes, whichever, may go; None: it is not served now."""

    reads: int | None
    writes: int | None

    def __str__(self) -> str:
        if self.reads is None:
            return "reads and writes are refused"
        nodes = f"{self.reads} more node{'s' * (self.reads != 1)}"
        return f"reads survive {nodes}, writes {'are refused' if self.writes is None else self.writes}"


def left(one: ErasureSet, online: Sequence[bool], up: Collection[str]) -> Left:
    """`online`: the drives that have all of their shards, in the order of `nodes`; `up`: nodes whose server answers.

    A write lock needs a majority of the set's nodes, a read lock half. Source: MinIO, internal/dsync.
    """
    nodes = set(one.nodes)
    there = Counter(node for node, whole in zip(one.nodes, online, strict=True) if whole and node in up)
    drives = sorted((there[node] for node in nodes & set(up)), reverse=True)
    return Left(
        _more(drives, one.read_quorum, len(nodes) - len(nodes) // 2),
        _more(drives, one.write_quorum, len(nodes) // 2 + 1),
    )


def _more(drives: Sequence[int], drives_needed: int, nodes_needed: int) -> int | None:
    """`drives` a node, most first: those are the worst to lose."""
    served = [
        lost
        for lost in range(len(drives) + 1)
        if sum(drives[lost:]) >= drives_needed and len(drives) - lost >= nodes_needed
    ]
    return max(served, default=None)
