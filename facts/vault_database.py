"""The database engine of a Vault cluster: connections, roles, static roles. No credentials are read or made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import Objects, answer
from facts.vault import each
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class Connections(FactBase[Objects | Unknown | AfterApply]):
    """{name: {plugin, url, username, roles, authentication, connections, session}} of these in one mount."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, mount: str, names: Sequence[str]) -> str:
        return each(f"{mount}/config", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: _connection(one) for name, one in value.items()})


def _connection(value: dict[str, Any]) -> dict[str, str]:
    details = value["connection_details"]
    return {
        "plugin": value["plugin_name"],
        "url": details["connection_url"],
        "username": details["username"],
        "roles": ", ".join(sorted(value["allowed_roles"] or ())),
        "authentication": details.get("password_authentication") or "password",
        "session": str(details.get("max_connection_lifetime", "0s")),
    }


class Roles(FactBase[Objects | Unknown | AfterApply]):
    """{name: {connection, ttl, max_ttl, creation, revocation}} of these in one mount; statements one a line."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, mount: str, names: Sequence[str]) -> str:
        return each(f"{mount}/roles", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: _role(one) for name, one in value.items()})


def _role(value: dict[str, Any]) -> dict[str, str]:
    return {
        "connection": value["db_name"],
        "ttl": f"{value['default_ttl']} s",
        "max_ttl": f"{value['max_ttl']} s",
        "creation": "\n".join(value["creation_statements"] or ()),
        "revocation": "\n".join(value["revocation_statements"] or ()),
    }


class StaticRoles(FactBase[Objects | Unknown | AfterApply]):
    """{name: {connection, username, period, rotation}} of these in one mount."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, mount: str, names: Sequence[str]) -> str:
        return each(f"{mount}/static-roles", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: _static_role(one) for name, one in value.items()})


def _static_role(value: dict[str, Any]) -> dict[str, str]:
    return {
        "connection": value["db_name"],
        "username": value["username"],
        "period": f"{value['rotation_period']} s",
        "rotation": "\n".join(value["rotation_statements"] or ()),
    }
