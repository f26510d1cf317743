"""A server from the first of several (type, location) that can be had: a listed price is no stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.hcloud_client import ApiError
from unterbau.connectors.hcloud_objects import Objects

SOLD_OUT = ("resource_unavailable", "placement_error")
NOT_OFFERED = ("unsupported location", "server type")  # words of `invalid_input`: not sold there, or no more


def bought(objects: Objects, body: Mapping[str, Any]) -> dict[str, Any]:
    """The server, created from the first candidate that is not sold out; EndpointError says what was tried."""
    wanted = {key: value for key, value in body.items() if key != "candidates"}
    tried = []
    for server_type, location in body["candidates"]:
        try:
            return objects.created("servers", {**wanted, "server_type": server_type, "location": location})
        except ApiError as error:
            if not _elsewhere(error):
                raise
            tried.append(f"{server_type} in {location} ({error.code}: {error.message})")
    raise EndpointError(
        f"cannot create server {wanted['name']}: tried {len(tried)}, none can be had: {', '.join(tried)}; declare more "
        "types or locations, or plan again later"
    )


def _elsewhere(error: ApiError) -> bool:
    """Whether another type or location may do."""
    said = error.message.lower()
    return error.code in SOLD_OUT or (error.code == "invalid_input" and any(words in said for words in NOT_OFFERED))
