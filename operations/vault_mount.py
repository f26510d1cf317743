"""Secrets engines and auth methods of a Vault cluster, and the mount that keeps our marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.endpoint import Objects
from facts.vault import MARKS, AuthMethods, Marks, Mounts
from operations.config_file import Commands
from operations.owned import Thing, converge
from operations.vault_object import call, vault_kind
from unterbau import changes
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, AfterApply, Unknown

MOUNT = vault_kind("mount", lambda path: [call("DELETE", f"sys/mounts/{path}")])
AUTH = vault_kind("auth", lambda path: [call("DELETE", f"sys/auth/{path}")])


@operation()
def marks() -> Commands:
    """There is the KV mount `unterbau`, whose entries' metadata say which objects are ours."""
    found = host.get_fact(Mounts)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot see which objects of {host.name} are ours: its mounts could not be read")
        return
    there = None if isinstance(found, AfterApply) else found.get(MARKS)
    if there is not None and there["kind"] != "kv":
        yield from changes.refuse(
            f"cannot keep marks on {host.name}: found an engine {there['kind']} at {MARKS}/; move it elsewhere"
        )
        return
    if there is not None:
        host.noop(f"the mount {MARKS} is there")
        return
    changes.attribute(f"mount {MARKS}", KNOWN_AFTER_APPLY if isinstance(found, AfterApply) else None, "kv")
    yield _enabled(MARKS, "kv", "which objects are unterbau's")


@operation()
def exactly(mounts: Mapping[str, tuple[str, str]], *, deletions: Sequence[str] = ()) -> Commands:
    """These secrets engines, and of ours no others. A deleted one takes what it holds with it.

    Args:
        mounts: {path: (kind, description)}; the kind "kv" is version 2.
        deletions: "mount/<path>" of those that may be deleted.
    """
    found = host.get_fact(Mounts)
    if sentence := _other_kind(mounts, found):
        yield from changes.refuse(sentence)
        return
    there = found if isinstance(found, dict) else {}
    things = [
        Thing(path, {"kind": kind, "description": text}, [_put(path, kind, text, path in there)])
        for path, (kind, text) in mounts.items()
    ]
    yield from converge(MOUNT, things, found, host.get_fact(Marks, kind=MOUNT.name), deletions)


@operation()
def auth_methods(methods: Mapping[str, str], *, deletions: Sequence[str] = ()) -> Commands:
    """These auth methods, and of ours no others.

    Args:
        methods: {path: kind}, for example {"approle": "approle"}.
        deletions: "auth/<path>" of those that may be deleted.
    """
    found = host.get_fact(AuthMethods)
    things = [
        Thing(path, {"kind": kind}, [call("PUT", f"sys/auth/{path}", {"type": kind, "description": "unterbau"})])
        for path, kind in methods.items()
    ]
    yield from converge(AUTH, things, found, host.get_fact(Marks, kind=AUTH.name), deletions)


def _enabled(path: str, kind: str, description: str) -> StringCommand:
    options = {"options": {"version": "2"}} if kind == "kv" else {}
    return call("PUT", f"sys/mounts/{path}", {"type": kind, "description": description, **options})


def _put(path: str, kind: str, description: str, exists: bool) -> StringCommand:
    if exists:
        return call("PUT", f"sys/mounts/{path}/tune", {"description": description})
    return _enabled(path, kind, description)


def _other_kind(mounts: Mapping[str, tuple[str, str]], found: Objects | Unknown | AfterApply) -> str | None:
    there = found if isinstance(found, dict) else {}
    for path, (kind, _description) in mounts.items():
        if path in there and there[path]["kind"] != kind:
            return (
                f"cannot make {path} an engine {kind} on {host.name}: found an engine {there[path]['kind']}; "
                "declare another path: what an engine holds keeps its kind"
            )
    return None
