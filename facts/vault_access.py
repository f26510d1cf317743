"""Who may do what in a Vault cluster: policies, AppRole and Kubernetes roles, and the login that deploys use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyinfra.api import FactBase
from typing_extensions import override

from facts.endpoint import Objects, answer
from facts.vault import each
from unterbau.domain.unknown import UNKNOWN, AfterApply, Unknown


class Policies(FactBase[Objects | Unknown | AfterApply]):
    """{name: {text}} of these policies, or of all."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str] | None = None) -> str:
        return _reading("sys/policies/acl", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: {"text": str(p["policy"])} for name, p in value.items()})


class AppRoles(FactBase[Objects | Unknown | AfterApply]):
    """{name: {policies, token_ttl, secret_id_ttl, secret_id_needed}} of these AppRole roles, or of all."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str] | None = None) -> str:
        return _reading("auth/approle/role", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: _app_role(role) for name, role in value.items()})


def _app_role(role: dict[str, Any]) -> dict[str, str]:
    return {
        "policies": ", ".join(sorted(role["token_policies"] or ())),
        "token_ttl": f"{role['token_ttl']} s",
        "secret_id_ttl": f"{role['secret_id_ttl']} s",
        "secret_id_needed": "yes" if role["bind_secret_id"] else "no",
        "secret_id_uses": str(role["secret_id_num_uses"]),
        "bound_cidrs": ", ".join(sorted({*(role["token_bound_cidrs"] or ()), *(role["secret_id_bound_cidrs"] or ())})),
    }


class KubernetesConfig(FactBase[dict[str, str] | Unknown | AfterApply]):
    """{api, ca} of the Kubernetes auth method; {} if there is none, or it was never configured."""

    @override
    @staticmethod
    def default() -> dict[str, str] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET auth/kubernetes/config"

    @override
    def process(self, output: list[str]) -> dict[str, str] | Unknown | AfterApply:
        return answer(output, _kubernetes_config)


def _kubernetes_config(value: dict[str, Any] | None) -> dict[str, str]:
    return {} if value is None else {"api": value["kubernetes_host"], "ca": value["kubernetes_ca_cert"].strip()}


class KubernetesRoles(FactBase[Objects | Unknown | AfterApply]):
    """{name: {service_accounts, namespaces, policies, token_ttl}} of these Kubernetes roles, or of all."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str] | None = None) -> str:
        return _reading("auth/kubernetes/role", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: _kubernetes_role(role) for name, role in value.items()})


def _kubernetes_role(role: dict[str, Any]) -> dict[str, str]:
    return {
        "service_accounts": ", ".join(sorted(role["bound_service_account_names"])),
        "namespaces": ", ".join(sorted(role["bound_service_account_namespaces"])),
        "policies": ", ".join(sorted(role["token_policies"] or ())),
        "token_ttl": f"{role['token_ttl']} s",
    }


class NodeRoles(FactBase[Objects | Unknown | AfterApply]):
    """{name: {authorities (PEM), names, policies, token, token_ttl}} of these logins by a node's own certificate."""

    @override
    @staticmethod
    def default() -> Objects | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self, names: Sequence[str]) -> str:
        return each("auth/nodes/certs", names)

    @override
    def process(self, output: list[str]) -> Objects | Unknown | AfterApply:
        return answer(output, lambda value: {name: _node_role(role) for name, role in value.items()})


def _node_role(role: dict[str, Any]) -> dict[str, str]:
    return {
        "authorities": role["certificate"].strip(),
        "names": ", ".join(sorted(role["allowed_common_names"] or ())),
        "policies": ", ".join(sorted([*(role["token_policies"] or ()), *_default(role)])),
        "token": role["token_type"],
        "token_ttl": f"{role['token_ttl']} s",
    }


def _default(role: dict[str, Any]) -> tuple[str, ...]:
    return () if role["token_no_default_policy"] else ("default",)


class DeployRole(FactBase[dict[str, str] | Unknown | AfterApply]):
    """{authorities (PEM), names, policies} of the certificate login that deploys use; {} if there is none."""

    @override
    @staticmethod
    def default() -> dict[str, str] | Unknown | AfterApply:
        return UNKNOWN

    @override
    def command(self) -> str:
        return "GET auth/deploy/certs/deploy"

    @override
    def process(self, output: list[str]) -> dict[str, str] | Unknown | AfterApply:
        return answer(output, _deploy_role)


def _deploy_role(value: dict[str, Any] | None) -> dict[str, str]:
    if value is None:
        return {}
    return {
        "authorities": value["certificate"].strip(),
        "names": ", ".join(value["allowed_common_names"]),
        "policies": ", ".join(value["token_policies"]),
    }


def _reading(path: str, names: Sequence[str] | None) -> str:
    return f"WALK {path}" if names is None else each(path, names)
