"""What a run with --limit may begin: no rotation, no new root, and nothing that the store it leaves out would keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.context import ctx_host, ctx_inventory

from deploys import pki, secrets
from unterbau.declaration import Password, Secret, SecretStore
from unterbau.secrets import keyring
from unterbau.secrets.identity import new_identity
from unterbau.secrets.store import New, Store, StoreError

LONG_AGO = datetime.now(UTC) - timedelta(days=40)
DECLARED = (
    Secret(name="due", kind=Password(), rotate_after_days=30),
    Secret(name="missing", kind=Password()),
)
Limited = Callable[..., Any]


class Machine:
    """A host of the inventory, as deploys see it."""

    def __init__(self, name: str, **data: Any) -> None:
        self.name, self.data = name, data


class Inventory(tuple[Machine, ...]):
    """Hosts in order."""

    __slots__ = ()

    def get_host(self, name: str) -> Machine:
        return next(one for one in self if one.name == name)


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Limited:
    """`with limited(*names):` a run over these hosts only, or over all; the store has a secret that is due."""
    monkeypatch.setattr(keyring, "_shared", {})
    declaration = SecretStore(path=str(tmp_path / "store.age"), identity=str(tmp_path / "identity.txt"))
    new_identity(tmp_path / "identity.txt")
    Store.create(declaration.path, declaration.identity).commit([New("due", "old", 0, LONG_AGO)])
    nodes = [Machine(name, node=SimpleNamespace(name=name), secrets=DECLARED) for name in ("srv-1", "wrk-1")]
    inventory = Inventory([*nodes, Machine("secrets", store=declaration)])

    @contextmanager
    def run(*names: str) -> Iterator[None]:
        state = SimpleNamespace(
            inventory=inventory, is_host_in_limit=lambda one: not names or one.name in names, is_executing=False
        )
        with ctx_inventory.use(inventory), ctx_host.use(SimpleNamespace(**vars(nodes[0]), state=state)):
            yield

    return run


def test_a_run_over_all_hosts_makes_what_is_missing_and_what_is_due(limited: Limited) -> None:
    with limited():
        assert secrets.keyring().version("due") == 2
        assert secrets.keyring().version("missing") == 1
        assert pki.covers_every_node()


def test_a_run_that_leaves_a_consumer_out_rotates_nothing(limited: Limited) -> None:
    with limited("srv-1", "secrets"):
        assert secrets.keyring().value("due").unmask() == "old"
        assert secrets.keyring().version("missing") == 1
        assert not pki.covers_every_node()


def test_a_run_that_leaves_the_store_out_makes_nothing(limited: Limited) -> None:
    with limited("srv-1", "wrk-1"):
        assert secrets.keyring().value("due").unmask() == "old"
        with pytest.raises(StoreError, match=r"missing: .*this run leaves the store out .*widen --limit"):
            secrets.keyring().value("missing")
        assert pki.covers_every_node()
