"""Who may use an S3 service: policies, groups, users, service accounts; and what of all of it is ours. No secrets."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import OWNER, Mark, answer
from unterbau.domain.s3_policy import normalised
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown

Document = dict[str, Any]  # a policy, normalised


class Marks(FactBase[dict[str, Mark] | Unknown | AfterApply]):
    """{name: {owner, hash…}} of the objects of a kind that are ours; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, Mark] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, kind: str) -> str:
        return f"marks {json.dumps({'kind': kind})}"

    @override
    def process(self, output: list[str]) -> dict[str, Mark] | Unknown | AfterApply:
        return answer(output, _marks)


def _marks(value: dict[str, Any]) -> dict[str, Mark]:
    found = {name: {key: str(text) for key, text in mark.items()} for name, mark in value.items()}
    return {name: mark for name, mark in found.items() if mark.get("owner") == OWNER}


class Policies(FactBase[dict[str, Document] | Unknown | AfterApply]):
    """{name: document} of all policies but those that the engine itself brings; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, Document] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "policies {}"

    @override
    def process(self, output: list[str]) -> dict[str, Document] | Unknown | AfterApply:
        return answer(output, lambda value: {name: normalised(found) for name, found in value.items()})


class Group(TypedDict):
    """Users with policies in common."""

    members: list[str]
    policies: list[str]
    enabled: bool


class Groups(FactBase[dict[str, Group] | Unknown | AfterApply]):
    """{name: {members, policies, enabled}}; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, Group] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "groups {}"

    @override
    def process(self, output: list[str]) -> dict[str, Group] | Unknown | AfterApply:
        return answer(output, lambda value: {name: _group(found) for name, found in value.items()})


def _group(value: dict[str, Any]) -> Group:
    return Group(members=sorted(value["members"]), policies=sorted(value["policies"]), enabled=bool(value["enabled"]))


class User(TypedDict):
    """An identity with a secret, which no fact reads."""

    enabled: bool
    policies: list[str]  # its own, without those of its groups
    groups: list[str]


class Users(FactBase[dict[str, User] | Unknown | AfterApply]):
    """{access key: {enabled, policies, groups}}, without the one that the engine was founded with; {} if none."""

    @override
    @staticmethod
    def default() -> dict[str, User] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "users {}"

    @override
    def process(self, output: list[str]) -> dict[str, User] | Unknown | AfterApply:
        return answer(output, lambda value: {name: _user(found) for name, found in value.items()})


def _user(value: dict[str, Any]) -> User:
    return User(enabled=bool(value["enabled"]), policies=sorted(value["policies"]), groups=sorted(value["groups"]))


class ServiceAccount(TypedDict):
    """A second key of a user. `policy` narrows it; None: it may do all that the user may."""

    user: str
    policy: Document | None
    enabled: bool


class ServiceAccounts(FactBase[dict[str, ServiceAccount] | Unknown | AfterApply]):
    """{access key: {user, policy, enabled}} of all users; {} if there are none."""

    @override
    @staticmethod
    def default() -> dict[str, ServiceAccount] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "service_accounts {}"

    @override
    def process(self, output: list[str]) -> dict[str, ServiceAccount] | Unknown | AfterApply:
        return answer(output, lambda value: {name: _account(found) for name, found in value.items()})


def _account(value: dict[str, Any]) -> ServiceAccount:
    policy = None if value["policy"] is None else normalised(value["policy"])
    return ServiceAccount(user=value["user"], policy=policy, enabled=bool(value["enabled"]))
