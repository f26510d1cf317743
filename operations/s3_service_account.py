"""Service accounts of an S3 service: second keys of users, perhaps for less than the user may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from facts import s3_identity
from facts.s3_identity import Marks, ServiceAccounts
from operations.config_file import Commands
from operations.owned import Thing, converge
from operations.s3_object import call, s3_kind, text
from unterbau.domain.s3_policy import normalised

KIND = s3_kind("service-account", lambda name: [call("delete_service_account", name=name)])


@dataclass(frozen=True)
class Account:
    """A service account as it should be; its name is its access key. `policy` is a document that narrows it."""

    name: str
    user: str
    secret: HiddenValue
    keyed_hash: str
    policy: Mapping[str, Any] | None = None


@operation()
def exactly(accounts: list[Account], *, deletions: Sequence[str] = ()) -> Commands:
    """These service accounts, and of ours no others. One that is declared of another user is made anew.

    Args:
        accounts: all that are declared.
        deletions: "service-account/<name>" of those that may be deleted.
    """
    found = host.get_fact(ServiceAccounts)
    there = found if isinstance(found, dict) else {}
    shown = {name: _shown(one) for name, one in there.items()} if isinstance(found, dict) else found
    things = [_thing(account, there.get(account.name)) for account in accounts]
    yield from converge(KIND, things, shown, host.get_fact(Marks, kind=KIND.name), deletions)


def _shown(account: s3_identity.ServiceAccount) -> dict[str, str]:
    policy = account["policy"]
    enabled = "yes" if account["enabled"] else "no"
    return {"user": account["user"], "enabled": enabled, "policy": "" if policy is None else text(policy)}


def _thing(account: Account, found: s3_identity.ServiceAccount | None) -> Thing:
    policy = None if account.policy is None else normalised(account.policy)
    wanted = s3_identity.ServiceAccount(user=account.user, policy=policy, enabled=True)
    return Thing(account.name, _shown(wanted), _put(account, policy, found), account.keyed_hash)


def _put(
    account: Account, policy: Mapping[str, Any] | None, found: s3_identity.ServiceAccount | None
) -> list[StringCommand]:
    """Engines keep whose it is for ever."""
    moved = found is not None and found["user"] != account.user
    before = KIND.delete(account.name) if moved else ()
    put = call("put_service_account", name=account.name, user=account.user, secret=account.secret, policy=policy)
    return [*before, put]
