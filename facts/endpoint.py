"""What the facts of every API have in common: its JSON in a fact's shape, and objects that are ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pyinfra.api.exceptions import FactProcessError

from unterbau.domain.unknown import AFTER_APPLY, KNOWN_AFTER_APPLY, AfterApply

T = TypeVar("T")
OWNER = "unterbau"

Objects = dict[str, dict[str, str]]  # {name: {attribute: value}}
Mark = dict[str, str]  # {owner, hash…}


def answer(output: Sequence[str], shape: Callable[[Any], T]) -> T | AfterApply:
    """The API's JSON in the fact's shape; AFTER_APPLY if a layer of the same plan has yet to make the API."""
    try:
        value = json.loads("\n".join(output))
        return AFTER_APPLY if value == KNOWN_AFTER_APPLY else shape(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FactProcessError(f"cannot read what the API said: {type(error).__name__}: {error}") from error
