"""Which objects of a cloud project are ours: the labels that say so, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping

MANAGED_BY, OWNER, CLUSTER = "managed-by", "unterbau", "cluster"


def marks(cluster: str) -> dict[str, str]:
    """The labels that every object of ours carries."""
    return {MANAGED_BY: OWNER, CLUSTER: cluster}


def is_ours(labels: Mapping[str, str], cluster: str) -> bool:
    """Whether an object with these labels may be changed or deleted by who manages this cluster."""
    return marks(cluster).items() <= labels.items()


def selector(cluster: str, pool: str) -> str:
    """The label selector of a pool's servers, in one order: it is compared as text."""
    return ",".join(f"{key}={value}" for key, value in sorted({**marks(cluster), "pool": pool}.items()))
