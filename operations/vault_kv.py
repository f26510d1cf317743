"""Entries of KV engines: written with check-and-set, never read. Beside an entry stands which version we wrote, and a
keyed hash of it: so a value that was overwritten by hand is seen without reading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from facts.endpoint import Mark, Objects
from facts.vault import Marks
from facts.vault_kv import Entries, EntryState, Metadata
from operations.config_file import Commands
from operations.owned import Thing, converge, names_of
from operations.vault_object import call, vault_kind
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown
from unterbau.secrets.hidden import MASK

HASH, VERSION = "unterbau-hash", "unterbau-version"
ABSENT: EntryState = {"version": 0, "gone": False, "custom": {}}


@dataclass(frozen=True)
class Entry:
    """What an entry should hold. `keyed_hash` is of all its fields, by the keyring."""

    mount: str
    path: str
    fields: Mapping[str, HiddenValue]
    keyed_hash: str

    @property
    def name(self) -> str:
        """As marks and plans name it."""
        return f"{self.mount}/{self.path}"


@operation()
def exactly(entries: list[Entry], *, mounts: Sequence[str], deletions: Sequence[str] = ()) -> Commands:
    """These entries hold these values, and of ours there are no others.

    Args:
        entries: all that are declared.
        mounts: the paths of all KV engines that are declared, for what is not declared any more.
        deletions: "kv/<mount>/<path>" of those that may be deleted, with all their versions.
    """
    kind = vault_kind("kv", lambda name: [call("DELETE", _path(name, "metadata", mounts))])
    marks = host.get_fact(Marks, kind=kind.name)
    found = _read(names_of([entry.name for entry in entries], marks), mounts)
    there = found if isinstance(found, dict) else {}
    things = [_thing(entry, there.get(entry.name, ABSENT)) for entry in entries]
    yield from converge(kind, things, _shown(found, marks), marks, deletions)


def _read(names: Sequence[str], mounts: Sequence[str]) -> Entries | Unknown | AfterApply:
    """{mount/path: state}, one fact a mount."""
    found: Entries = {}
    for mount in sorted(mounts):
        paths = [name.removeprefix(f"{mount}/") for name in names if _mount_of(name, mounts) == mount]
        if not paths:
            continue
        state = host.get_fact(Metadata, mount=mount, names=paths)
        if not isinstance(state, dict):
            return state if isinstance(state, AfterApply) else UNKNOWN
        found |= {f"{mount}/{path}": entry for path, entry in state.items()}
    return found


def _mount_of(name: str, mounts: Sequence[str]) -> str:
    """The longest mount that the name begins with; an entry of a mount that is gone: its first part."""
    return max((m for m in mounts if name.startswith(f"{m}/")), key=len, default=name.partition("/")[0])


def _path(name: str, part: str, mounts: Sequence[str]) -> str:
    mount = _mount_of(name, mounts)
    return f"{mount}/{part}/{name.removeprefix(f'{mount}/')}"


def _as_we_left_it(state: EntryState) -> bool:
    return not state["gone"] and state["custom"].get(VERSION) == str(state["version"])


def _shown(
    found: Entries | Unknown | AfterApply, marks: Mapping[str, Mark] | Unknown | AfterApply
) -> Objects | Unknown | AfterApply:
    if not isinstance(found, dict):
        return found
    ours = marks if isinstance(marks, Mapping) else {}
    return {name: {"value": _words(state)} for name, state in found.items() if state["version"] or name not in ours}


def _words(state: EntryState) -> str:
    why = ", deleted by hand" if state["gone"] else "" if _as_we_left_it(state) else ", not written by us"
    return f"version {state['version']}{why}"


def _thing(entry: Entry, state: EntryState) -> Thing:
    current = state["version"]
    same = _as_we_left_it(state) and state["custom"].get(HASH) == entry.keyed_hash
    return Thing(entry.name, {"value": f"version {current if same else current + 1}"}, _write(entry, state))


def _write(entry: Entry, state: EntryState) -> list[StringCommand]:
    """The value, if the version is still the one we saw; then, beside it, that it is ours."""
    custom = {**state["custom"], VERSION: str(state["version"] + 1), HASH: HiddenValue(entry.keyed_hash, MASK)}
    data = {"options": {"cas": state["version"]}, "data": dict(entry.fields)}
    return [
        call("PUT", f"{entry.mount}/data/{entry.path}", data),
        call("PUT", f"{entry.mount}/metadata/{entry.path}", {"custom_metadata": custom}),
    ]
