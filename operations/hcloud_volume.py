"""Volumes of a Hetzner Cloud project: storage that outlives its server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from facts.hcloud import Servers
from facts.hcloud_asset import Volumes
from operations.config_file import Commands
from operations.hcloud_object import VOLUME, Thing, act, by_name, present
from unterbau import changes
from unterbau.domain.unknown import Unknown


@dataclass(frozen=True)
class Volume:
    """One volume as it should be.

    Args:
        name: of it.
        size_gb: as the API counts; it may grow.
        server: the name of the server that has it, in whose location it is made; "" for none.
        location: of one that no server has; "" for its server's.
        format: what a new one is formatted as: "xfs", "ext4", or "" for nothing.
        labels: besides our marks.
        protected: from deletion.
    """

    name: str
    size_gb: int
    server: str = ""
    location: str = ""
    format: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    protected: bool = True


@operation()
def declared(volumes: list[Volume], *, cluster: str) -> Commands:
    """Each of these volumes is there, and its server has it.

    Args:
        volumes: one that another server has goes over to its own.
        cluster: whose they are.
    """
    found, servers = host.get_fact(Volumes), host.get_fact(Servers)
    if isinstance(servers, Unknown):
        yield from changes.refuse(f"cannot converge volumes: {host.name} could not be read; see the error above")
        return
    there, names = by_name(found), {one["id"]: name for name, one in by_name(servers).items()}
    things = [_thing(volume, there.get(volume.name), names) for volume in volumes]
    yield from present(VOLUME, things, found, cluster)


def _thing(volume: Volume, found: Mapping[str, Any] | None, names: Mapping[int, str]) -> Thing:
    formatted = {"format": volume.format} if volume.format else {}
    where = {"server": volume.server, "automount": False} if volume.server else {"location": volume.location}
    new = {"format": volume.format, "location": volume.location} if found is None else {}
    return Thing(
        volume.name,
        attributes={"size": f"{volume.size_gb} GB", "server": volume.server, **(new or {"status": "available"})},
        now=_now(found, names) if found else {},
        create={"size": volume.size_gb, **where, **formatted},
        corrections=_corrections(volume, found) if found else {},
        labels=volume.labels,
        until={"size": volume.size_gb, "status": "available"},
        protected=volume.protected,
    )


def _now(found: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, str]:
    server = names.get(found["server"] or 0, "")
    return {"size": f"{found['size']} GB", "server": server, "status": found["status"]}


def _corrections(volume: Volume, found: Mapping[str, Any]) -> dict[str, list[StringCommand]]:
    """It never shrinks: what is not here is refused. One that is being made is waited for."""
    grown = {"size": [act(VOLUME, volume.name, "resize", {"size": volume.size_gb})]}
    taken = [act(VOLUME, volume.name, "detach")] if found["server"] is not None else []
    given = [act(VOLUME, volume.name, "attach", {"server": volume.server, "automount": False})]
    return {
        "status": [],
        "server": taken + (given if volume.server else []),
        **(grown if volume.size_gb > found["size"] else {}),
    }
