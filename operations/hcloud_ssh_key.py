"""Public keys that new servers of a Hetzner Cloud project let in."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host
from pyinfra.api import operation

from facts.hcloud import SshKeys
from operations.config_file import Commands
from operations.hcloud_object import SSH_KEY, Thing, by_name, present
from unterbau import changes


@operation()
def declared(keys: Mapping[str, str], *, cluster: str) -> Commands:
    """Each of these keys is in the project. A key that changes is another one: servers keep those they were made with.

    Args:
        keys: {name: public key as OpenSSH writes it}.
        cluster: whose they are.
    """
    found = host.get_fact(SshKeys)
    there = by_name(found)
    for name, key in keys.items():
        if other := next(
            (one for one in there.values() if one["name"] != name and _same(one["public_key"], key)), None
        ):
            yield from changes.refuse(
                f"cannot make the ssh_key {name}: found the same key as {other['name']}, and a project has each key "
                "once; declare that name"
            )
            return
    things = [_thing(name, key, there.get(name, {}).get("public_key", "")) for name, key in keys.items()]
    yield from present(SSH_KEY, things, found, cluster)


def _thing(name: str, key: str, now: str) -> Thing:
    return Thing(
        name,
        attributes={"public key": _bare(key)},
        now={"public key": _bare(now)},
        create={"public_key": key},
        until={"public_key": key} if not now else {},
    )


def _bare(key: str) -> str:
    """Without its comment."""
    return " ".join(key.split()[:2])


def _same(one: str, other: str) -> bool:
    return _bare(one) == _bare(other)
