"""Volumes. Source: Hetzner Cloud API, "Volumes"."""

from __future__ import annotations

from unterbau.lab.cloud import bodies, limits, relations, shown, work
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.project import Project
from unterbau.lab.cloud.routing import Call, Kind, Reply, check_deletable
from unterbau.lab.cloud.server_actions import changing, started
from unterbau.lab.cloud.servers import attaching, check_volume
from unterbau.lab.cloud.work import Effect, Key


def create(call: Call) -> Reply:
    """POST /volumes: creating, with the actions that make it available, and attached if a server is named."""
    body, project = call.read(bodies.Volume), call.project
    project.check_new("volumes", body.name)
    record = project.add("volumes", {
        "name": body.name, "size": body.size, "format": body.format, "labels": body.labels, "server": None,
        "location": _location(project, body), "status": "creating", "created": project.now(),
        "protection": {"delete": False},
    })  # fmt: skip
    own: Key = ("volumes", record["id"])
    action = work.start(project, "create_volume", changing("volumes", record, {"status": "available"}), own)
    following = []
    if body.server is not None:
        effect = attaching(record["id"], body.server)
        following = [work.start(project, "attach_volume", effect, own, ("servers", body.server), after=action)]
    return 201, {"volume": shown.volume(project, record), "action": action, "next_actions": following}


def _location(project: Project, body: bodies.Volume) -> str:
    if (body.location is None) == (body.server is None):
        raise invalid("location", "either a location or a server is needed")
    if body.location is not None:
        return project.location(body.location)
    assert body.server is not None  # noqa: S101  # one of the two is there
    server = project.get("servers", body.server)
    _check_room(project, server)
    location: str = server["location"]
    return location


def _check_room(project: Project, server: Record) -> None:
    work.check_free(project, "servers", server["id"])
    if len(relations.volumes_of(project, server["id"])) >= limits.VOLUMES_A_SERVER:
        raise ApiError("resource_limit_exceeded", f"a server has {limits.VOLUMES_A_SERVER} volumes at most")


def attach(call: Call, volume: Record) -> Reply:
    """attach: to a server at the same location."""
    number = call.read(bodies.VolumeAttached).server
    server = call.project.get("servers", number)
    check_volume(call.project, volume, server["location"])
    _check_room(call.project, server)
    return started(
        call, "attach_volume", attaching(volume["id"], number), ("volumes", volume["id"]), ("servers", number)
    )


def detach(call: Call, volume: Record) -> Reply:
    """detach."""
    number = volume["server"]
    if number is None:
        raise ApiError("invalid_input", f"volume {volume['name']} is attached to no server")
    work.check_free(call.project, "servers", number)
    effect = changing("volumes", volume, {"server": None}, (number,))
    return started(call, "detach_volume", effect, ("volumes", volume["id"]), ("servers", number))


def resize(call: Call, volume: Record) -> Reply:
    """resize: to more only."""
    size = call.read(bodies.VolumeResized).size
    if size <= volume["size"]:
        raise invalid("size", f"{size} is not more than the volume's {volume['size']} GB")
    servers = () if volume["server"] is None else (volume["server"],)
    return started(
        call, "resize_volume", changing("volumes", volume, {"size": size}, servers), ("volumes", volume["id"])
    )


def change_protection(call: Call, volume: Record) -> Reply:
    """change_protection."""
    values = {**volume["protection"], **call.read(bodies.Protection).model_dump(exclude_none=True)}
    effect: Effect = changing("volumes", volume, {"protection": values})
    return started(call, "change_protection", effect, ("volumes", volume["id"]))


def delete(call: Call, volume: Record) -> Reply:
    """DELETE: refused while it is attached."""
    check_deletable(call, "volumes", volume)
    if volume["server"] is not None:
        raise ApiError("resource_in_use", f"volume {volume['name']} is attached to server {volume['server']}")
    call.project.remove("volumes", volume["id"])
    return 204, None


VOLUMES = Kind(
    "volumes", "volume", shown.volume, filters=("name", "status"), create=create, changed=bodies.Changed, delete=delete,
    actions={"attach": attach, "detach": detach, "resize": resize, "change_protection": change_protection},
)  # fmt: skip
