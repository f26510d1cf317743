"""Groups of an S3 service: who is in them, and the policies that all of these have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts import s3_identity
from facts.s3_identity import Groups, Marks
from operations.config_file import Commands
from operations.owned import Thing, converge
from operations.s3_object import attached, call, s3_kind

EMPTY: s3_identity.Group = {"members": [], "policies": [], "enabled": False}


@dataclass(frozen=True)
class Group:
    """A group as it should be."""

    name: str
    members: Sequence[str] = ()
    policies: Sequence[str] = ()


def _goes(name: str) -> str:
    found = host.get_fact(Groups)
    members = found[name]["members"] if isinstance(found, dict) and name in found else ()
    return f"with the memberships of {', '.join(members)}" if members else ""


KIND = s3_kind("group", lambda name: [call("delete_group", name=name)], _goes)


@operation()
def exactly(groups: list[Group], *, deletions: Sequence[str] = ()) -> Commands:
    """These groups, and of ours no others; with these members and policies and no others. After their members.

    Args:
        groups: all that are declared.
        deletions: "group/<name>" of those that may be deleted; whoever is in one is so no more.
    """
    found = host.get_fact(Groups)
    there = found if isinstance(found, dict) else {}
    shown = {name: _shown(group) for name, group in there.items()} if isinstance(found, dict) else found
    things = [_thing(group, there.get(group.name)) for group in groups]
    yield from converge(KIND, things, shown, host.get_fact(Marks, kind=KIND.name), deletions)


def _shown(group: s3_identity.Group) -> dict[str, str]:
    return {
        "enabled": "yes" if group["enabled"] else "no",
        "policies": ", ".join(group["policies"]),
        "members": ", ".join(group["members"]),
    }


def _thing(group: Group, found: s3_identity.Group | None) -> Thing:
    wanted: s3_identity.Group = {
        "members": sorted(group.members), "policies": sorted(group.policies), "enabled": True,
    }  # fmt: skip
    return Thing(group.name, _shown(wanted), _put(group, found or EMPTY))


def _put(group: Group, found: s3_identity.Group) -> list[StringCommand]:
    """Policies before members: nobody who joins is without what the group forbids."""
    new = sorted(set(group.members) - set(found["members"]))
    gone = sorted(set(found["members"]) - set(group.members))
    return [
        *([] if found["enabled"] else [call("put_group", name=group.name)]),
        *attached({"group": group.name}, found["policies"], group.policies),
        *([call("join", group=group.name, users=new)] if new else []),
        *([call("leave", group=group.name, users=gone)] if gone else []),
    ]
