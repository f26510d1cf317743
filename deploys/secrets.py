"""The bootstrap store: every declared secret is there and none is overdue, before anything uses one."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from operations import secret_store
from unterbau.secrets.declared import declared_in, store_in
from unterbau.secrets.generator import described
from unterbau.secrets.keyring import Keyring
from unterbau.secrets.store import StoreError


@deploy("secrets")
def secrets() -> None:
    """On the store's host."""
    declared = declared_in(host.state.inventory)
    secret_store.current(
        secrets={one.name: described(one.kind) if one.kind else None for one in declared},
        rotate=covers_all(),
        name="secrets of the store",
    )


def keyring() -> Keyring:
    """The environment's secrets, for any deploy on any host: `keyring().value("vault/seal-key")`."""
    found = store_in(host.state.inventory)
    if found is None:
        raise StoreError(
            "cannot look up a secret: the inventory has no store; add endpoints(SecretStore(path=…, identity=…))"
        )
    name, store = found
    makes = host.state.is_host_in_limit(inventory.get_host(name))
    return Keyring.of(store, declared_in(host.state.inventory), rotate=covers_all(), generate=makes)


def covers_all() -> bool:
    """Whether this run has every host: only then does every consumer of a new value get it."""
    return all(host.state.is_host_in_limit(one) for one in inventory)
