"""SSH keys, placement groups, and what the catalogue has: kinds without work behind them."""

from __future__ import annotations

import base64
import binascii
import hashlib

from unterbau.lab.cloud import bodies, catalogue, relations, shown
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.routing import Call, Kind, Reply


def create_ssh_key(call: Call) -> Reply:
    """POST /ssh_keys: name and key are the project's only ones."""
    body, project = call.read(bodies.SshKey), call.project
    project.check_new("ssh_keys", body.name)
    fingerprint = _fingerprint(body.public_key)
    project.check_unused_value("ssh_keys", "fingerprint", fingerprint)
    record = project.add("ssh_keys", {
        "name": body.name, "public_key": body.public_key.strip(), "fingerprint": fingerprint, "labels": body.labels,
        "created": project.now(),
    })  # fmt: skip
    return 201, {"ssh_key": record}


def _fingerprint(public_key: str) -> str:
    """Of the key's bytes, as `ssh-keygen -E md5 -l` prints it."""
    kind, _, rest = public_key.strip().partition(" ")
    try:
        content = base64.b64decode(rest.partition(" ")[0], validate=True)
    except binascii.Error as error:
        raise invalid("public_key", "it is not in OpenSSH's format") from error
    if not content[4:].startswith(kind.encode()) or not kind:
        raise invalid("public_key", "it is not in OpenSSH's format")
    digits = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def delete_ssh_key(call: Call, key: Record) -> Reply:
    """DELETE: servers that were made with it keep it."""
    call.project.remove("ssh_keys", key["id"])
    return 204, None


def create_placement_group(call: Call) -> Reply:
    """POST /placement_groups."""
    body, project = call.read(bodies.PlacementGroup), call.project
    project.check_new("placement_groups", body.name)
    record = project.add("placement_groups", {**body.model_dump(), "created": project.now()})
    return 201, {"placement_group": shown.placement_group(project, record), "action": None}


def delete_placement_group(call: Call, group: Record) -> Reply:
    """DELETE: refused while it has servers."""
    if relations.members(call.project, group["id"]):
        raise ApiError("resource_in_use", f"placement group {group['name']} has servers")
    call.project.remove("placement_groups", group["id"])
    return 204, None


def pricing(call: Call) -> Reply:  # noqa: ARG001  # every handler's signature
    """GET /pricing."""
    return 200, {"pricing": catalogue.pricing()}


SIMPLE_KINDS = (
    Kind(
        "ssh_keys", "ssh_key", filters=("name", "fingerprint"), create=create_ssh_key, changed=bodies.Changed,
        delete=delete_ssh_key,
    ),
    Kind(
        "placement_groups", "placement_group", shown.placement_group, filters=("name", "type"),
        create=create_placement_group, changed=bodies.Changed, delete=delete_placement_group,
    ),
    Kind("server_types", "server_type", shown.server_type, sorts=("id", "name")),
    Kind("load_balancer_types", "load_balancer_type", sorts=("id", "name")),
    Kind("locations", "location", sorts=("id", "name")),
    Kind("images", "image", filters=("name", "type", "status", "architecture", "bound_to")),
    Kind("isos", "iso", filters=("name", "architecture"), sorts=("id", "name")),
    Kind("certificates", "certificate", filters=("name", "type")),
)  # fmt: skip
