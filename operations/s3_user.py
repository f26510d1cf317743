"""Users of an S3 service: their secrets, whether they may log in, their own policies. Groups say who is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from facts.endpoint import Mark
from facts.s3_identity import Marks, ServiceAccounts, User, Users
from operations.config_file import Commands
from operations.owned import Thing, converge
from operations.s3_object import attached, call, s3_kind
from unterbau import changes


@dataclass(frozen=True)
class Login:
    """A user as it should be. `keyed_hash` is of the secret, by the keyring."""

    name: str
    secret: HiddenValue
    keyed_hash: str
    policies: Sequence[str] = ()
    enabled: bool = True


def _goes(name: str) -> str:
    """The engine deletes a user's service accounts with the user."""
    found = host.get_fact(ServiceAccounts)
    if not isinstance(found, dict):
        return "with its service accounts"
    own = sorted(key for key, account in found.items() if account["user"] == name)
    return f"with the service accounts {', '.join(own)}" if own else ""


KIND = s3_kind("user", lambda name: [call("delete_user", name=name)], _goes)


@operation()
def exactly(users: list[Login], *, root: str, deletions: Sequence[str] = ()) -> Commands:
    """These users, and of ours no others; with these policies and no others.

    Args:
        users: all that are declared.
        root: the access key that the engine was founded with, which is no user.
        deletions: "user/<name>" of those that may be deleted, with their service accounts.
    """
    if any(user.name == root for user in users):
        sentence = f"cannot make the user {root!r}: found the access key of deploys themselves; declare another name"
        yield from changes.refuse(sentence)
        return
    found, marks = host.get_fact(Users), host.get_fact(Marks, kind=KIND.name)
    there = found if isinstance(found, dict) else {}
    known = marks if isinstance(marks, dict) else {}
    things = [_thing(user, there.get(user.name), known.get(user.name, {})) for user in users]
    shown = {name: _shown(user) for name, user in there.items()} if isinstance(found, dict) else found
    yield from converge(KIND, things, shown, marks, deletions)


def _thing(user: Login, found: User | None, mark: Mark) -> Thing:
    attributes = {"enabled": "yes" if user.enabled else "no", "policies": ", ".join(sorted(user.policies))}
    return Thing(user.name, attributes, _put(user, found, mark), user.keyed_hash)


def _shown(user: User) -> dict[str, str]:
    return {"enabled": "yes" if user["enabled"] else "no", "policies": ", ".join(user["policies"])}


def _put(user: Login, found: User | None, mark: Mark) -> list[StringCommand]:
    """The secret is sent only if it is another one, or the engine wants it beside what changes."""
    same = found is not None and found["enabled"] == user.enabled and mark.get("hash") == user.keyed_hash
    login = [] if same else [call("put_user", name=user.name, secret=user.secret, enabled=user.enabled)]
    return [*login, *attached({"user": user.name}, found["policies"] if found else (), user.policies)]
