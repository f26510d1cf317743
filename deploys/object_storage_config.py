"""What an S3 service holds: policies, users, groups, service accounts, buckets. On the endpoint, after its servers."""

from __future__ import annotations

from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploys.secrets import keyring
from operations import s3_bucket, s3_group, s3_policy, s3_service_account, s3_user
from operations.s3_bucket_settings import bucket_of
from unterbau.declaration.s3 import S3ServiceAccount, S3User, buckets_of
from unterbau.domain.s3_policy import document


@deploy("object storage config")
def object_storage_config() -> None:
    """On the endpoint's host. Who has a policy comes after it, and gives it up before it goes."""
    deletions = _declared("s3_deletions")
    s3_policy.exactly(policies=_documents(), deletions=deletions, name="policies")
    _identities()
    s3_policy.withdrawn(
        policies=[policy.name for policy in _declared("s3_policies")],
        identities=[f"{kind}/{one.name}" for kind in ("user", "group") for one in _declared(f"s3_{kind}s")],
        deletions=deletions,
        name="policies that nobody needs",
    )
    buckets = [bucket_of(bucket) for bucket in buckets_of(host.data)]
    s3_bucket.exactly(buckets=buckets, deletions=deletions, name="buckets")


def _identities() -> None:
    deletions, users = _declared("s3_deletions"), _declared("s3_users")
    s3_user.exactly(
        users=[_login(user) for user in users], root=host.data.s3.access_key, deletions=deletions, name="users"
    )
    groups = [
        s3_group.Group(group.name, [user.name for user in users if group.name in user.groups], group.policies)
        for group in _declared("s3_groups")
    ]
    s3_group.exactly(groups=groups, deletions=deletions, name="groups")
    s3_service_account.exactly(
        accounts=[_account(account) for account in _declared("s3_service_accounts")],
        deletions=deletions,
        name="service accounts",
    )


def _documents() -> dict[str, Any]:
    return {policy.name: document(policy.every_statement) for policy in _declared("s3_policies")}


def _login(user: S3User) -> s3_user.Login:
    secret = keyring().value(user.secret.name)
    keyed_hash = keyring().keyed_hash(f"s3/user/{user.name}", secret.unmask())
    return s3_user.Login(user.name, secret, keyed_hash, user.policies, user.enabled)


def _account(account: S3ServiceAccount) -> s3_service_account.Account:
    secret = keyring().value(account.secret.name)
    keyed_hash = keyring().keyed_hash(f"s3/service-account/{account.name}", secret.unmask())
    policy = _documents()[account.policy] if account.policy else None
    return s3_service_account.Account(account.name, account.user, secret, keyed_hash, policy)


def _declared(name: str) -> Any:
    return host.data.get(name) or ()
