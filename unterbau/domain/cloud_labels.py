"""How objects of ours are known in a cloud project: the labels that mark them, and the names of a pool's servers.

Only what carries both marks, ours and our cluster's, is ever changed or deleted; the rest is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

MANAGED_BY, CLUSTER, POOL, GROUP = "managed-by", "cluster", "pool", "group-"
FIRST_KEY = "first-host-key"  # of a server: which key its user data had, from the call on that created it
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
    return key in (MANAGED_BY, CLUSTER, POOL, FIRST_KEY) or key.startswith(GROUP)


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


def server_name(prefix: str, number: int) -> str:
    """<prefix>-<n>, n from 1."""
    return f"{prefix}-{number}"


def server_names(prefix: str, count: int) -> list[str]:
    """All servers of a pool: who is number n is known before it exists, and so is where it is reached."""
    return [server_name(prefix, number) for number in range(1, count + 1)]


def number_of(name: str, prefix: str) -> int | None:
    """The n of <prefix>-<n>; None if it is no name of that pool."""
    found = re.fullmatch(rf"{re.escape(prefix)}-([1-9][0-9]*)", name)
    return int(found[1]) if found else None


def new_servers(prefix: str, there: Collection[str], count: int) -> list[str]:
    """Names of what a pool of `count` lacks, the lowest numbers first. `there`: names of servers."""
    return [name for name in server_names(prefix, count) if name not in there]


def surplus_servers(prefix: str, there: Iterable[str], count: int) -> list[str]:
    """Names of what a pool of `count` has too many: numbers above it, the highest first. `there` as for new ones."""
    numbers = {number for name in there if (number := number_of(name, prefix)) is not None}
    return [server_name(prefix, number) for number in sorted(numbers, reverse=True) if number > count]
