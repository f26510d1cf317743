"""What all objects of a Vault cluster have in common: calls, and marks of ownership.

A mark is an entry of the KV mount `unterbau` that has metadata only: `unterbau/metadata/<kind>/<name>`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from pyinfra.api import HiddenValue, StringCommand

from facts.endpoint import OWNER
from facts.vault import MARKS
from operations import api_call
from operations.owned import Kind


def call(verb: str, path: str, body: Any = None) -> StringCommand:
    """A command of the connector. `body` is JSON data; its leaves that are HiddenValue, and only these, are masked."""
    return api_call.command(f"{verb} {quote(path, safe='/')}", body)


def vault_kind(name: str, delete: Callable[[str], Sequence[StringCommand]]) -> Kind:
    """A kind of object, and how one is deleted."""
    return Kind(name, "vault_deletions", partial(_mark, name), partial(_unmark, name), delete)


def _mark(kind: str, name: str, keyed_hash: HiddenValue | None) -> StringCommand:
    known = {} if keyed_hash is None else {"hash": keyed_hash}
    return call("PUT", f"{MARKS}/metadata/{kind}/{name}", {"custom_metadata": {"owner": OWNER, **known}})


def _unmark(kind: str, name: str) -> StringCommand:
    return call("DELETE", f"{MARKS}/metadata/{kind}/{name}")
