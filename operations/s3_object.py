"""What all objects of an S3 service have in common: calls, marks of ownership, documents as texts.

A mark is an object `marks/<kind>/<name>` of the bucket `unterbau`, which the first of them makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pyinfra.api import HiddenValue, StringCommand

from operations import api_call
from operations.owned import Kind


def call(method: str, /, **parameters: Any) -> StringCommand:
    """A command of the connector. Of the parameters, leaves that are HiddenValue, and only these, are masked."""
    return api_call.command(method, parameters)


def s3_kind(
    name: str, delete: Callable[[str], Sequence[StringCommand]], goes: Callable[[str], str] = lambda _name: ""
) -> Kind:
    """A kind of object, how one is deleted, and what is lost with it."""
    return Kind(name, "s3_deletions", partial(_mark, name), partial(_unmark, name), delete, goes)


def _mark(kind: str, name: str, keyed_hash: HiddenValue | None) -> StringCommand:
    known = {} if keyed_hash is None else {"hash": keyed_hash}
    return call("put_mark", kind=kind, name=name, **known)


def _unmark(kind: str, name: str) -> StringCommand:
    return call("delete_mark", kind=kind, name=name)


def text(document: Mapping[str, Any]) -> str:
    """A JSON document as plans show it, line by line; two equal ones give one text."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def attached(whom: Mapping[str, str], found: Sequence[str], wanted: Sequence[str]) -> list[StringCommand]:
    """A user or a group has exactly these policies; new ones come before old ones go, so that none is missed.

    Args:
        whom: {"user": name} or {"group": name}.
        found: names of the policies it has.
        wanted: names of those it should have.
    """
    new, old = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    return [
        *([call("attach", policies=new, **whom)] if new else []),
        *([call("detach", policies=old, **whom)] if old else []),
    ]
