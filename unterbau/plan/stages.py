"""Two stages: what a cloud has to make or start comes first, since a machine that is made in a run cannot join it."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.host import Host

from unterbau.connectors.nodes import RUNNING, STATE


def stages(limited: list[Host] | None, every: Sequence[Host]) -> tuple[list[Host] | None, tuple[str, ...]]:
    """(the hosts of the next stage, names of those that wait for it); None for all.

    A stage of the cloud has the store and the clouds only. There is one if a node in the limit has no running server
    and a cloud is in the limit too; without a cloud nobody would make it, and the run says that it can't be reached.
    """
    hosts = list(every) if limited is None else limited
    first = [host for host in hosts if host.data.get("cloud") or host.data.get("store")]
    made_here = any(host.data.get("cloud") for host in first)
    if not made_here or all(host.data.get(STATE, RUNNING) == RUNNING for host in hosts):
        return limited, ()
    return first, tuple(sorted(host.name for host in hosts if host not in first))
