"""Erasure sets: which drives belong together, how many of them reads and writes need, and how many nodes may go.

Source of all of it: MinIO, cmd/endpoint-ellipses.go (sets), cmd/erasure-object.go (quorums), internal/dsync (locks).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from unterbau.domain.quorum import Verdict

SET_SIZES = range(2, 17)
DRIVES_TRIED = (1, 2, 3, 4, 6, 8)
NODES_TRIED = 5  # so many more nodes than there are


@dataclass(frozen=True)
class Pool:
    """Nodes with as many drives each. `drives_per_set` None: the largest of 2 to 16 that divides their number."""

    nodes: tuple[str, ...]
    drives: int = 1
    drives_per_set: int | None = None

    @property
    def total(self) -> int:
        """How many drives there are in all."""
        return len(self.nodes) * self.drives

    def __str__(self) -> str:
        sets = f" in sets of {self.drives_per_set}" if self.drives_per_set else ""
        return f"{len(self.nodes)} nodes x {self.drives} drive{'s' * (self.drives != 1)}{sets}"


@dataclass(frozen=True)
class ErasureSet:
    """Drives that objects are spread over. `nodes`: for each drive, the node it is in."""

    nodes: tuple[str, ...]
    parity: int

    @property
    def size(self) -> int:
        """Drives in the set."""
        return len(self.nodes)

    @property
    def read_quorum(self) -> int:
        """As many drives as an object has data shards."""
        return self.size - self.parity

    @property
    def write_quorum(self) -> int:
        """The same, but one more when half of the shards are parity: else two halves could each accept a write."""
        return self.read_quorum + (self.parity * 2 == self.size)

    @property
    def survives_reads(self) -> int:
        """How many nodes, whichever, may go so that everything can still be read."""
        return self._survives(self.read_quorum, self._lockers - self._lockers // 2)

    @property
    def survives_writes(self) -> int:
        """How many nodes, whichever, may go so that everything can still be written."""
        return self._survives(self.write_quorum, self._lockers // 2 + 1)

    @property
    def _lockers(self) -> int:
        """One a node: a write lock needs a majority of them, a read lock half."""
        return len(set(self.nodes))

    def _survives(self, drives_needed: int, lockers_needed: int) -> int:
        left, lockers = self.size, self._lockers
        for lost, drives in enumerate(sorted(Counter(self.nodes).values(), reverse=True)):
            left -= drives
            lockers -= 1
            if left < drives_needed or lockers < lockers_needed:
                return lost
        return self._lockers

    def serves(self, online: Sequence[bool]) -> bool:
        """Whether writes, and so reads too, have enough drives; `online` in the order of `nodes`."""
        lockers = {node for node, there in zip(self.nodes, online, strict=True) if there}
        return sum(online) >= self.write_quorum and len(lockers) >= self._lockers // 2 + 1


@dataclass(frozen=True)
class Survives:
    """How many nodes, whichever, may go."""

    reads: int
    writes: int

    def __str__(self) -> str:
        return f"{self.reads} for reads, {self.writes} for writes"


def set_size(pool: Pool) -> int:
    """Drives a set; ValueError if the drives cannot be divided so."""
    if pool.drives_per_set:
        if pool.total % pool.drives_per_set or pool.drives_per_set not in SET_SIZES:
            raise ValueError(f"{pool.total} drives are no sets of {pool.drives_per_set}")
        return pool.drives_per_set
    if pool.total == 1:
        return 1
    sizes = [size for size in SET_SIZES if pool.total % size == 0]
    if not sizes:
        raise ValueError(f"{pool.total} drives: none of 2 to 16 divides them into equal sets")
    return max(sizes)


def sets(pool: Pool, parity: int) -> tuple[ErasureSet, ...]:
    """Its sets, in order: first the first drive of every node, then the second … ValueError if that cannot be."""
    size = set_size(pool)
    if parity > size // 2:
        raise ValueError(f"EC:{parity} in sets of {size} drives: parity is {size // 2} at most, half of the set")
    order = [node for _ in range(pool.drives) for node in pool.nodes]
    return tuple(ErasureSet(tuple(order[at : at + size]), parity) for at in range(0, len(order), size))


def survives(pools: Sequence[Pool], parity: int) -> Survives:
    """What the weakest set gives: an object lies in one set, so every set must stand. ValueError as for `sets`."""
    all_sets = [one for pool in pools for one in sets(pool, parity)]
    return Survives(min(one.survives_reads for one in all_sets), min(one.survives_writes for one in all_sets))


def usable_bytes(pools: Sequence[Pool], parity: int, drive_bytes: int) -> int:
    """What objects may take on drives of that size, before the file system's own share."""
    return sum(one.read_quorum for pool in pools for one in sets(pool, parity)) * drive_bytes


def promise(pools: Sequence[Pool], parity: int, promised: int) -> Verdict:
    """Whether `promised` nodes, whichever, may go so that everything is still read and written."""
    try:
        real = survives(pools, parity)
    except ValueError as error:
        return Verdict(False, f"{error}; {_instead(pools, parity, promised)}")
    arithmetic = f"{_described(pools, parity)}: survives {real} (nodes), promised {promised} for both"
    if min(real.reads, real.writes) >= promised:
        return Verdict(True, arithmetic)
    return Verdict(False, f"{arithmetic}; {_instead(pools, parity, promised)}")


def _described(pools: Sequence[Pool], parity: int) -> str:
    return "; ".join(_pool(pool, parity) for pool in pools)


def _pool(pool: Pool, parity: int) -> str:
    (first, *others) = sets(pool, parity)
    drives = max(Counter(first.nodes).values())
    return (
        f"{pool}, EC:{parity}: {1 + len(others)} set{'s' * bool(others)} of {first.size} drives, reads need "
        f"{first.read_quorum} and writes {first.write_quorum}, a node holds {'up to ' * bool(others)}{drives} of a set"
    )


def _instead(pools: Sequence[Pool], parity: int, promised: int) -> str:
    largest = max(pools, key=lambda pool: pool.total)
    found = [f"{pool}, EC:{parity}" for pool, parity in nearest(largest, parity, promised)]
    return f"layouts that keep it: {' | '.join(found)}" if found else "no layout near it keeps that promise"


def nearest(pool: Pool, parity: int, promised: int, count: int = 3) -> list[tuple[Pool, int]]:
    """Layouts (pool, parity) that keep the promise, those first that change least: sets, drives, parity, then nodes."""
    found = [one for one in _variants(pool, parity) if _keeps(*one, promised)]
    return sorted(found, key=lambda one: _distance(pool, parity, *one))[:count]


def _variants(pool: Pool, parity: int) -> Iterator[tuple[Pool, int]]:
    for more in range(NODES_TRIED + 1):
        nodes = (*pool.nodes, *(f"+{number}" for number in range(more)))
        for drives in {pool.drives, *DRIVES_TRIED}:
            for size in (None, *SET_SIZES):
                for other in range(max(1, parity - 1), parity + 3):
                    yield Pool(nodes, drives, size), other


def _keeps(pool: Pool, parity: int, promised: int) -> bool:
    try:
        real = survives([pool], parity)
        plain = pool.drives_per_set is None or pool.drives_per_set != set_size(Pool(pool.nodes, pool.drives))
    except ValueError:
        return False
    return plain and min(real.reads, real.writes) >= promised


def _distance(pool: Pool, parity: int, other: Pool, other_parity: int) -> tuple[float, ...]:
    added = len(other.nodes) - len(pool.nodes)
    drives = abs(other.drives - pool.drives)
    return (
        added + drives + abs(other_parity - parity) + (other.drives_per_set != pool.drives_per_set) / 2,
        added, drives, abs(other_parity - parity), other.drives_per_set or 0,
    )  # fmt: skip


def stop(pools: Sequence[Pool], parity: int, drives: Mapping[str, Sequence[bool]], name: str) -> Verdict:
    """Whether the node may be stopped. `drives`: node -> whether each of its drives is online and healed.

    It may if every set still takes writes without it, or does not take them with it either: then there is none to lose.
    """
    if not any(drives.get(name, ())):
        return Verdict(True, f"{name} has no drive that serves: nothing is lost without it")
    down = sorted(node for node, online in drives.items() if node != name and not all(online))
    away = f" (not there: {', '.join(down)})" if down else ""
    for one, online in _online(pools, parity, drives):
        left = [there and node != name for there, node in zip(online, one.nodes, strict=True)]
        arithmetic = (
            f"without {name} {sum(left)} of {one.size} drives of a set are left, writes need {one.write_quorum}"
        )
        if one.serves(online) and not one.serves(left):
            return Verdict(False, f"{arithmetic}{away}; bring {', '.join(down) or 'more nodes'} back first")
    return Verdict(True, f"{arithmetic}{away}")


def _online(
    pools: Sequence[Pool], parity: int, drives: Mapping[str, Sequence[bool]]
) -> Iterator[tuple[ErasureSet, list[bool]]]:
    """Each set, and which of its drives are there."""
    for pool in pools:
        there = iter([any(drives.get(node, ())[at : at + 1]) for at in range(pool.drives) for node in pool.nodes])
        for one in sets(pool, parity):
            yield one, list(islice(there, one.size))
