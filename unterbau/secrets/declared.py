"""Which secrets an environment declares, whoever of its hosts does."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pyinfra.api.inventory import Inventory

from unterbau.declaration import Secret, SecretStore, secrets_of


def united(host_data: Iterable[Any]) -> tuple[Secret, ...]:
    """The secrets of several hosts' data, each once, by name."""
    return tuple(sorted({one.name: one for data in host_data for one in secrets_of(data)}.values(), key=_name))


@lru_cache(maxsize=4)
def declared_in(inventory: Inventory) -> tuple[Secret, ...]:
    """The same for a whole inventory, also outside a limit; read once a run."""
    return united(host.data for host in inventory)


@lru_cache(maxsize=4)
def store_in(inventory: Inventory) -> tuple[str, SecretStore] | None:
    """(name of the host, declaration) of the inventory's store; None if it has none."""
    found = ((host.name, host.data.get("store")) for host in inventory)
    return next(((name, store) for name, store in found if isinstance(store, SecretStore)), None)


def _name(secret: Secret) -> str:
    return str(secret.name)
