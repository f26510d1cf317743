"""When servers are believed that something is not there, or that a list is all there is.

A server that sees too few of the others says of what they all have that it is not there, or lists less, and may call
itself healthy meanwhile: for seconds after its start, and as long as it cannot reach the others by name. What was
written is on enough drives for any server that sees most of them, so that more than half of the servers cannot all
miss it, unless more than half are cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
# "404" is what HEAD is answered with.
ABSENT = re.compile("404|NoSuch(Bucket|Key|Version)|XMinioAdminNoSuch(User|Group|Policy)")
CHANGING = ("Versions", "DeleteMarkers", "Uploads")


class DisagreementError(Exception):
    """Too few servers say the same; the text says what they said."""


@dataclass(frozen=True)
class Said(Generic[T]):
    """What the server at `url` answered: a `value`, or the refusal that says it is `absent`.

    Two whose `essence` is equal say the same. A value that has none proves itself: nobody reads an object that is not
    there, while a server may still know by heart who was deleted.
    """

    url: str
    value: T | None
    absent: Exception | None
    essence: object


def listed(answer: Mapping[str, Any]) -> object:
    """What servers have to agree on of a page: its names; of what applications change meanwhile, if there is any."""
    return (
        [bucket["Name"] for bucket in answer.get("Buckets", [])],
        [(found["Key"], found.get("ETag")) for found in answer.get("Contents", [])],
        any(answer.get(kind) for kind in CHANGING),
    )


def unordered(answer: object) -> object:
    """What servers have to agree on of an engine's own answers (JSON, or a text that is JSON): lists in any order."""
    if isinstance(answer, str) and answer[:1] in ("{", "["):
        with suppress(ValueError):
            return unordered(json.loads(answer))
    if isinstance(answer, dict):
        return {key: unordered(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return sorted(map(unordered, answer), key=repr)
    return answer


def agreed(heard: Iterable[Said[T]], enough: int) -> Said[T]:
    """What `enough` of them say, or the first that proves itself; DisagreementError. No more are heard."""
    said: list[Said[T]] = []
    for one in heard:
        said.append(one)
        if sum(other.essence == one.essence for other in said) >= enough:
            return one
        if one.essence is None:
            return one
    words = ", ".join(sorted(getattr(one.absent, "code", "an answer") for one in said))
    raise DisagreementError(f"{enough} servers have to say the same, found {words or 'none that answers'}")
