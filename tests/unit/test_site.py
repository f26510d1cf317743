"""Which layers the whole platform has for whom, in environments with and without a store and a Vault."""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.context import ctx_host, ctx_inventory

SITE = Path(__file__).parent.parent.parent / "deploys" / "site.py"
LAYERS = {
    "deploys.secrets": ["secrets"],
    "deploys.cloud": ["cloud", "withdrawals"],
    "deploys.base": ["base"],
    "deploys.pki": ["trust"],
    "deploys.object_storage_gateway": ["gateway_roots", "gateway"],
    "deploys.object_storage": ["object_storage"],
    "deploys.object_storage_config": ["object_storage_config"],
    "deploys.postgresql": ["postgresql", "engine_logins"],
    "deploys.vault": ["vault"],
    "deploys.vault_config": ["vault_config"],
    "deploys.vault_database": ["connections_and_roles"],
}
PKI = SimpleNamespace()  # group_data/all.py has it for every environment
POOLS = SimpleNamespace(pools=[SimpleNamespace(nodes="storage")])
STORE, VAULT = SimpleNamespace(), SimpleNamespace(members="servers")


def machine(name: str, *groups: str, **data: Any) -> Any:
    return SimpleNamespace(name=name, groups=["all", *groups], data=SimpleNamespace(get=data.get, **data))


def node(name: str, *groups: str, **data: Any) -> Any:
    return machine(name, *groups, node=SimpleNamespace(name=name), pki=PKI, **data)


NODES = [node("srv-1", "servers"), node("wrk-1", "workers"), node("wrk-2", "workers", "postgresql")]
BARE = NODES[:2]
WITH_STORE = [*BARE, machine("@store/secrets", "store", store=STORE)]
STORING = [node("srv-1", "storage", object_storage=POOLS), node("wrk-1", object_storage=POOLS), WITH_STORE[-1]]
WHOLE = [*NODES, WITH_STORE[-1], machine("@vault/vault", "vault", vault=VAULT)]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of layers, as they are asked for; those that are told so with the change of roots. `trust` changes them."""
    called: list[str] = []

    def note(name: str, roots_change: bool = False) -> Any:
        called.append(f"{name} (roots change)" if roots_change else name)
        return SimpleNamespace(will_change=name == "trust")

    for module, names in LAYERS.items():
        for name in names:
            monkeypatch.setattr(importlib.import_module(module), name, partial(note, name))
    monkeypatch.setattr(importlib.import_module("operations.layer"), "reached", lambda name: None)
    return called


@pytest.mark.parametrize(
    ("hosts", "layers"),
    [
        pytest.param(BARE, {"srv-1": ["base"], "wrk-1": ["base"]}, id="without a store there is no root to trust"),
        pytest.param(
            WITH_STORE,
            {"srv-1": ["base", "trust"], "wrk-1": ["base", "trust"], "@store/secrets": ["secrets"]},
            id="a store without Vault",
        ),
        pytest.param(
            WHOLE,
            {
                "srv-1": ["base", "trust", "vault"],
                "wrk-1": ["base", "trust"],
                "wrk-2": ["base", "trust", "postgresql", "engine_logins"],
                "@store/secrets": ["secrets"],
                "@vault/vault": ["vault_config", "connections_and_roles"],
            },
            id="Vault and PostgreSQL",
        ),
        pytest.param(
            [*STORING, machine("@s3/storage", "s3", s3=SimpleNamespace())],
            {
                "srv-1": [
                    "base",
                    "trust",
                    "gateway_roots (roots change)",
                    "object_storage (roots change)",
                    "gateway",
                ],
                "wrk-1": ["base", "trust", "gateway_roots (roots change)", "gateway"],
                "@store/secrets": ["secrets"],
                "@s3/storage": ["object_storage_config"],
            },
            id="object storage hears of new roots before it shows a certificate of them",
        ),
    ],
)
def test_each_host_gets_the_layers_it_is_for(called: list[str], hosts: list[Any], layers: dict[str, list[str]]) -> None:
    assert found_layers(called, hosts) == layers


def test_a_limit_without_vault_leaves_alone_what_vault_logs_in_with(called: list[str]) -> None:
    """A password that was rotated by hand would change at one end only, and lock the engine out."""
    assert found_layers(called, WHOLE, left_out={"@vault/vault", "srv-1"})["wrk-2"] == ["base", "trust", "postgresql"]


def found_layers(
    called: list[str], hosts: list[Any], left_out: frozenset[str] | set[str] = frozenset()
) -> dict[str, list[str]]:
    """{host: layers} of the hosts within the limit."""
    found, state = {}, SimpleNamespace(is_host_in_limit=lambda one: one.name not in left_out)
    with ctx_inventory.use(hosts):
        for one in hosts:
            if one.name not in left_out:
                with ctx_host.use(SimpleNamespace(**vars(one), state=state)):
                    runpy.run_path(str(SITE))
                found[one.name] = called[:]
                called.clear()
    return found
