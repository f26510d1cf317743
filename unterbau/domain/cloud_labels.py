"""How objects of ours are known in a cloud project: the labels that mark them, and the names of a pool's servers.

Only what carries both marks, ours and our cluster's, is ever changed or deleted; the rest is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

MANAGED_BY, CLUSTER, POOL, GROUP = "managed-by", "cluster", "pool", "group-"
US = "unterbau"
MEMBER = "true"  # what a label group-… is worth; its being there is what counts
RESERVED = "hetzner.cloud/"  # the provider's own keys. Source: Hetzner Cloud API, "Labels"
LONGEST_NAME = 63  # one label of RFC 1123, for a server's name is its host name

_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
_KEY = re.compile(rf"({_PREFIX}/)?{_PART}")
_VALUE = re.compile(rf"({_PART})?")


def is_key(text: str) -> bool:
    """Whether it may be a label's key: a part, after a domain if it has one. Source: Hetzner Cloud API, "Labels"."""
    return bool(_KEY.fullmatch(text))


def is_value(text: str) -> bool:
    """Whether it may be a label's value: "" or up to 63 characters. Source: Hetzner Cloud API, pattern of `labels`."""
    return bool(_VALUE.fullmatch(text))


def is_mark(key: str) -> bool:
    """Whether a key is one that we set ourselves, and nobody declares."""
    return key in (MANAGED_BY, CLUSTER, POOL) or key.startswith(GROUP)


def labels(
    cluster: str, pool: str = "", groups: Iterable[str] = (), others: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The labels of an object, sorted: the marks, its pool and inventory groups if it has them, and declared others."""
    found = {MANAGED_BY: US, CLUSTER: cluster, **({POOL: pool} if pool else {}), **(others or {})}
    return dict(sorted({**found, **{f"{GROUP}{group}": MEMBER for group in groups}}.items()))


def ours(found: Mapping[str, str], cluster: str) -> bool:
    """Whether an object with these labels may be changed or deleted for this cluster."""
    return found.get(MANAGED_BY) == US and found.get(CLUSTER) == cluster


def selector(cluster: str, pool: str = "") -> str:
    """The label selector of what is ours, or of a pool's part of it. Source: Hetzner Cloud API, "Label Selector"."""
    return ",".join(f"{key}={value}" for key, value in labels(cluster, pool).items())


def groups_of(found: Mapping[str, str]) -> tuple[str, ...]:
    """The inventory groups that a server's labels name, sorted."""
    return tuple(sorted(key.removeprefix(GROUP) for key in found if key.startswith(GROUP)))


def server_name(cluster: str, pool: str, number: int) -> str:
    """<cluster>-<pool>-<n>, n from 1."""
    return f"{cluster}-{pool}-{number}"


def number_of(name: str, cluster: str, pool: str) -> int | None:
    """The n of <cluster>-<pool>-<n>; None if it is no name of that pool."""
    found = re.fullmatch(rf"{re.escape(cluster)}-{re.escape(pool)}-([1-9][0-9]*)", name)
    return int(found[1]) if found else None


def new_servers(cluster: str, pool: str, there: Collection[str], count: int, others: Collection[str] = ()) -> list[str]:
    """Names of what a pool of `count` lacks: the lowest free numbers first. `there`: names of its servers.

    `others`: names of the project's other servers; one that happens to be a name of the pool is passed over.
    """
    numbers = _numbers(cluster, pool, there)
    lacking, taken = max(0, count - len(numbers)), numbers | _numbers(cluster, pool, others)
    free = [number for number in range(1, lacking + len(taken) + 1) if number not in taken]
    return [server_name(cluster, pool, number) for number in free[:lacking]]


def surplus_servers(cluster: str, pool: str, there: Collection[str], count: int) -> list[str]:
    """Names of what a pool of `count` has too many: the highest numbers first. `there` as for `new_servers`."""
    numbers = sorted(_numbers(cluster, pool, there), reverse=True)
    return [server_name(cluster, pool, number) for number in numbers[: max(0, len(numbers) - count)]]


def _numbers(cluster: str, pool: str, names: Iterable[str]) -> set[int]:
    return {number for name in names if (number := number_of(name, cluster, pool)) is not None}
