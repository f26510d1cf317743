"""Rules about object storage: the layout keeps its promise, and what buckets and identities name exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.endpoint import SecretStore
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.problems import Problem
from unterbau.declaration.s3 import BUILT_IN, OURS, S3ServiceAccount, S3Statement, S3User, is_buckets
from unterbau.declaration.storage import ObjectStorage, S3Endpoint
from unterbau.declaration.view import View
from unterbau.domain import erasure
from unterbau.domain.s3_policy import DESTRUCTIVE, Said, allowed, may_replace


def _bucket_tuples(view: View) -> list[str]:
    return sorted({name for data in view.data.values() for name in data if is_buckets(name)})


def _buckets(view: View) -> list[Any]:
    return [one for name in _bucket_tuples(view) for one in view.each(name)]


def _endpoints(view: View) -> list[S3Endpoint]:
    return [one for one in view.endpoints if isinstance(one, S3Endpoint) and view.collector.valid(one)]


def _layouts(view: View) -> list[ObjectStorage]:
    return [one for one, _ in view.values("object_storage") if isinstance(one, ObjectStorage)]


def pools_there(view: View) -> Iterator[Problem]:
    """A pool's nodes are a group, and a node is in one pool."""
    for layout in _layouts(view) if view.inventory.complete else ():
        taken: dict[str, str] = {}
        for index, pool in enumerate(layout.pools):
            if pool.nodes not in view.groups:
                allowed = f"a group of nodes{near(pool.nodes, view.groups)}"
                yield view.at(layout, f"pools[{index}]", f"the group {pool.nodes!r}", allowed)
            for node in view.groups.get(pool.nodes, ()):
                if taken.setdefault(node, pool.nodes) != pool.nodes:
                    yield view.at(layout, f"pools[{index}]", f"{node} again", f"each node in one pool ({taken[node]})")


def promise_kept(view: View) -> Iterator[Problem]:
    """So many nodes may fail as is promised, reads and writes. Source: unterbau.domain.erasure."""
    for layout in _layouts(view) if view.inventory.complete else ():
        pools = [
            erasure.Pool(view.groups[pool.nodes], len(pool.drives), pool.drives_per_set)
            for pool in layout.pools
            if view.groups.get(pool.nodes) and view.collector.valid(pool)
        ]
        if not pools or len(pools) < len(layout.pools):
            continue
        verdict = erasure.promise(pools, layout.parity, layout.survives)
        if not verdict.passed:
            found, _, instead = verdict.arithmetic.partition("; layouts that keep it: ")
            allowed = f"a layout that keeps the promise ({instead or 'none near it does'}), or a smaller promise"
            yield view.at(layout, "survives", found, allowed)


def endpoint_members(view: View) -> Iterator[Problem]:
    """Whoever serves the endpoint is in the layout, and the other way round; one service of ours at most."""
    ours = [one for one in _endpoints(view) if one.members]
    layouts = _layouts(view)
    for again in ours[1:]:
        yield view.at(again, "members", "a second one of our own", f"one ({view.where(ours[0])}), or url=…")
    for one in ours[:1] if view.inventory.complete else ():
        pools = [pool.nodes for layout in layouts for pool in layout.pools]
        if one.members not in view.groups:
            yield view.at(one, "members", repr(one.members), f"a group of nodes{near(str(one.members), view.groups)}")
        elif pools and one.members not in pools:
            yield view.at(one, "members", repr(one.members), f"the nodes of a pool: {', '.join(dict.fromkeys(pools))}")
        for name in () if layouts or not view.readable else ("object_storage", "pki"):
            if not view.anywhere(name):
                allowed = f"{name} in group_data/all.py or group_data/{view.inventory.path.stem}.py"
                yield view.here(name, "nothing for all nodes", allowed)
    for layout in layouts if view.inventory.complete else ():
        if not any(isinstance(one, S3Endpoint) for one in view.endpoints):
            allowed = 'endpoints(S3Endpoint(members="GROUP")) in a group of the inventory: deploys need it'
            yield view.at(layout, "pools", "no S3Endpoint with members", allowed)


def store_there(view: View) -> Iterator[Problem]:
    """Its credentials are secrets of the store."""
    stores = [one for one in view.endpoints if isinstance(one, SecretStore)]
    for one in _endpoints(view)[:1] if view.inventory.complete and not stores else ():
        yield view.at(one, "secret", "no SecretStore", "endpoints(SecretStore(…)) in a group of the inventory too")


def names_once(view: View) -> Iterator[Problem]:
    """Objects are known by name; users and service accounts are access keys, and share their names."""
    for found in (_buckets(view), view.each("s3_policies"), view.each("s3_groups"), _identities(view)):
        for again in repeated(found, lambda one: one.name):
            yield view.at(again, "name", f"{again.name!r} again", "each name once")


def _identities(view: View) -> list[S3User | S3ServiceAccount]:
    return [*view.each("s3_users"), *view.each("s3_service_accounts")]


def ours_left_alone(view: View) -> Iterator[Problem]:
    """The engine's policies and the deploys' own identity are not the environment's to declare."""
    for policy in view.each("s3_policies"):
        if policy.name in BUILT_IN:
            yield view.at(policy, "name", repr(policy.name), "another name: this one is the engine's own")
    own = {one.access_key for one in _endpoints(view)} | {OURS}
    for identity in _identities(view):
        if identity.name in own:
            yield view.at(identity, "name", repr(identity.name), "another name: deploys use this one themselves")


def named_there(view: View) -> Iterator[Problem]:
    """Policies, groups and users that are named are declared: one that is missing would give nothing, silently."""
    policies, groups, users = (view.names(f"s3_{kind}") for kind in ("policies", "groups", "users"))
    holders = [*view.each("s3_groups"), *view.each("s3_users")]
    wanted = [(one, "policies", name, policies) for one in holders for name in one.policies]
    wanted += [(one, "groups", name, groups) for one in view.each("s3_users") for name in one.groups]
    accounts = view.each("s3_service_accounts")
    wanted += [(one, "user", one.user, users) for one in accounts]
    wanted += [(one, "policy", one.policy, policies) for one in accounts if one.policy]
    buckets = [name for kind in _bucket_tuples(view) for name in view.names(kind)]
    wanted += [(one, "appends_to", name, buckets) for one in view.each("s3_policies") for name in one.appends_to]
    wanted += [(one, "writers", name, users) for one in _buckets(view) for name in one.writers]
    for one, field, name, known in wanted:
        if name not in known:
            there = ", ".join(known) or "none is declared"
            yield view.at(one, field, repr(name), f"one of those declared: {there}{near(name, known)}")


def writers_only_write(view: View) -> Iterator[Problem]:
    """A writer of a bucket may not delete what it wrote, nor shorten how long that is kept."""
    users = {one.name: one for one in view.each("s3_users")}
    for bucket in _buckets(view):
        if bucket.writers and bucket.lock_days and bucket.lock_mode != "COMPLIANCE":
            found = "'GOVERNANCE' with writers, who can shorten it in MinIO whatever their policies say"
            yield view.at(bucket, "lock_mode", found, '"COMPLIANCE", which nobody shortens')
        for user in (users[name] for name in bucket.writers if name in users):
            statements, complete = identity_statements(view, user)
            if may := allowed(statements, DESTRUCTIVE, bucket.name):
                found = f"{user.name!r}, who may {', '.join(may)}"
                yield view.at(bucket, "writers", found, "users whose policies do not allow that on this bucket")
            if bucket.lock_days and complete and may_replace(statements, bucket.name):
                found = f"{user.name!r}, who may replace a version in place"
                yield view.at(bucket, "writers", found, f"users whose policies say appends_to=({bucket.name!r},)")
            if complete and not allowed(statements, ("s3:PutObject",), bucket.name):
                yield view.at(bucket, "writers", f"{user.name!r}, who may not s3:PutObject", "users who may write")


def identity_statements(view: View, user: S3User) -> tuple[list[S3Statement | Said], bool]:
    """What its policies and those of its groups say; whether all of that is known."""
    policies = {one.name: one.every_statement for one in view.each("s3_policies")}
    groups = {one.name: one.policies for one in view.each("s3_groups")}
    held = [*user.policies, *(name for group in user.groups for name in groups.get(group, ()))]
    found = [one for name in held for one in policies.get(name, ())]
    valid = [one for one in found if isinstance(one, Said) or view.collector.valid(one)]
    return valid, valid == found and all(name in policies for name in held)


def s3_secrets(view: View) -> Iterator[tuple[Declaration, str, str]]:
    """(declaration, field, name) of every secret that is named."""
    for layout in _layouts(view):
        yield from ((layout, "root", layout.root), (layout, "kms_key", layout.kms_key))
    yield from ((one, "secret", one.secret) for one in _endpoints(view))
    yield from ((one, "secret", one.secret.name) for one in _identities(view))


s3_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    pools_there, promise_kept, endpoint_members, store_there, names_once, ours_left_alone, named_there,
    writers_only_write,
)  # fmt: skip
