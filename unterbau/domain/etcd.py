"""When etcd's database is tidied up, which member may stand still for it, and which snapshots can be opened."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from unterbau.domain.quorum import Verdict, needed

# Half of a file that is worth the pause. Source: etcd's mixin, etcdDatabaseHighFragmentationRatio.
FRAGMENTED_BELOW = 0.5
FRAGMENTED_FROM_BYTES = 100 * 2**20
ROOM = 0.95  # of the quota: fuller than this, the alarm comes back at once. Source: the mixin, DatabaseQuotaLowSpace.
DEFAULT_QUOTA_BYTES = 2 * 2**30
HASH_LENGTH = 12
TOKEN = re.compile(r"(?:K10[0-9a-f]{64}::[^:]+:)?(?P<password>[^:]+)")


def token_hash(token: str) -> str | None:
    """How K3s names a server token in the record of a snapshot: 12 hex digits of its password's SHA-256.

    None if it is no token. "K10<CA>::server:<password>" and "<password>" are the same token.
    Source: k3s pkg/util/token.go, GetTokenHash; the key of the bootstrap data in etcd is made the same way.
    """
    found = TOKEN.fullmatch(token.strip())
    return hashlib.sha256(found["password"].encode()).hexdigest()[:HASH_LENGTH] if found else None


def fragmented(
    size_bytes: int,
    in_use_bytes: int,
    *,
    below: float = FRAGMENTED_BELOW,
    from_bytes: int = FRAGMENTED_FROM_BYTES,
) -> bool:
    """Whether the file is large and mostly free: both, as in etcd's own alert."""
    return size_bytes > from_bytes and in_use_bytes < below * size_bytes


def has_room(size_bytes: int, quota_bytes: int) -> bool:
    """Whether a member takes writes again, and not only the next few."""
    return size_bytes < ROOM * quota_bytes


def pause(voters: Mapping[str, bool], name: str) -> Verdict:
    """Whether member `name` may stand still for a while. `voters` maps each to whether it takes part now.

    Raft majority, n//2+1: without it nobody writes. The only member of one pauses everybody, which is not a loss.
    """
    down = sorted(member for member, healthy in voters.items() if not healthy)
    left, need, total = sum(voters.values()) - voters.get(name, False), needed(len(voters)), len(voters)
    if total == 1 and not down:
        return Verdict(True, f"{name} is the only voter: requests wait until it is done")
    arithmetic = f"without {name} {left} of {total} voters take part, quorum needs {need}"
    if left >= need:
        return Verdict(True, arithmetic)
    return Verdict(False, f"{arithmetic}; {', '.join(down) or 'another voter'} must take part first")


@dataclass(frozen=True)
class Snapshot:
    """One snapshot file of a cluster. `place`: a node's name, or "s3"."""

    name: str
    place: str
    location: str  # file:///… or s3://…
    taken_at: str  # UTC, ISO 8601
    age_s: float
    size_bytes: int
    ready: bool  # it was finished
    token_hash: str | None  # None: its record does not say
    error: str = ""


Usable = Literal["yes", "no", "unknown"]


def usable(snapshot: Snapshot, kept: Collection[str]) -> Usable:
    """Whether it can be restored with a token that is kept. `kept`: the hashes of those tokens.

    The cluster's certificates and keys lie in a snapshot, encrypted with the server token of that time.
    """
    if not snapshot.ready:
        return "no"
    if snapshot.token_hash is None:
        return "unknown"
    return "yes" if snapshot.token_hash in kept else "no"


def why(snapshot: Snapshot, kept: Collection[str]) -> str | None:
    """What is wrong with it, as words; None if it can be restored."""
    found = usable(snapshot, kept)
    if found == "yes":
        return None
    if not snapshot.ready:
        return f"{snapshot.name} was not finished: {snapshot.error or 'K3s gives no reason'}"
    if found == "unknown":
        return f"{snapshot.name}: its record names no token; `unterbau etcd restore` reads that from the file itself"
    among = ", ".join(sorted(kept)) or "none"
    return (
        f"{snapshot.name} is worthless: it was taken under the token {snapshot.token_hash}, and the store has {among}; "
        "set that token with `unterbau secrets set`, or take another snapshot"
    )


def node_of(member: str) -> str:
    """The node of a member: K3s names it after the node and 8 hex digits more; any other name is as it is."""
    return re.sub(r"-[0-9a-f]{8}$", "", member)


def begun(name: str, identity: str) -> str:
    """Why nothing of K3s is touched on a server where a restore was begun and has not ended."""
    return (
        f"cannot converge K3s on {name}: a restore ({identity}) was begun there and has not ended; end it with "
        f"`unterbau etcd restore --from {identity}`, or take it back with `unterbau etcd restore --abandon`"
    )
