"""Nodes that leave the K3s cluster, in three steps that a site puts one after the other, before the layer k3s.

First `hold` on every machine that leaves, then `departures` on the servers, then `wipe` on those machines again.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from deploys.base import addresses
from deploys.leaving import leaving
from operations import k3s_removal
from operations.k3s_removal_gate import Membership
from unterbau.declaration import K3s


def leaves() -> bool:
    """Whether this machine is told to leave, or has left."""
    return host.data.node.name in leaving()


def membership() -> Membership:
    """Who is declared, and who is told to leave."""
    declared: K3s = host.data.k3s
    everybody = addresses("all")
    return Membership(
        servers=addresses(declared.servers),
        agents=list(addresses(declared.agents)) if declared.agents else [],
        removed={name: everybody.get(name, "") for name in leaving()},
        port=declared.api_port,
        drain_timeout_s=declared.drain_timeout_s,
    )


@deploy("k3s departure")
def hold() -> None:
    """On a machine that leaves."""
    k3s_removal.held(node=host.data.node.name, name="K3s ends for good")


@deploy("k3s departure")
def departures() -> None:
    """On every server; one of them acts."""
    k3s_removal.departed(cluster=membership(), node=host.data.node.name, name="nodes that leave", _serial=True)


@deploy("k3s departure")
def wipe() -> None:
    """On a machine that leaves, once it is out."""
    k3s_removal.wiped(cluster=membership(), node=host.data.node.name, name="data of the node that left")
