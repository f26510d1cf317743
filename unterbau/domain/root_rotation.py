"""Which root signs while two are trusted, and whose leaves stay."""

from __future__ import annotations

from typing import NamedTuple


class Signing(NamedTuple):
    """Positions among the trusted roots, newest first."""

    signer: int  # who signs new leaves
    accepted: int  # how many roots there are whose leaves stay
    all_nodes_trust_it: bool  # else a node that missed this run's bundle would refuse what is signed


def signing(roots: int, *, every_node: bool) -> Signing:
    """Of `roots` trusted ones, newest first: the newest signs only in a run that covers every node.

    Such a run gives all of them the bundle first, and then replaces what older roots have signed. Any other run knows
    only its own nodes: the previous root signs, which all bundles have, and what any trusted root has signed stays.
    """
    if roots == 1:
        return Signing(signer=0, accepted=1, all_nodes_trust_it=True)
    if every_node:
        return Signing(signer=0, accepted=1, all_nodes_trust_it=False)
    return Signing(signer=1, accepted=roots, all_nodes_trust_it=True)
