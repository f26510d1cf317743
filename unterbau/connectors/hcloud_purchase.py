"""A server from the first of several (type, location) that can be had: a listed price is no stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.hcloud_client import ApiError
from unterbau.connectors.hcloud_objects import Objects
from unterbau.domain.capacity import Candidate, Choice, at_purchase, exhausted
from unterbau.domain.cloud_labels import POOL

OWN = ("candidates", "spread", "most_per_location", "pin")  # of a command, not of the API
SOLD_OUT = ("resource_unavailable", "placement_error")
NOT_OFFERED = ("unsupported location", "server type")  # words of `invalid_input`: not sold there, or no more


def bought(objects: Objects, body: Mapping[str, Any]) -> dict[str, Any]:
    """The server, created from the first candidate that is not sold out; EndpointError says what was tried."""
    wanted = {key: value for key, value in body.items() if key not in OWN}
    choice, tried = _choice(objects, body), []
    for candidate in choice.candidates:
        where = {"server_type": candidate.server_type, "location": candidate.location}
        try:
            return objects.created("servers", {**wanted, **where})
        except ApiError as error:
            if not _elsewhere(error):
                raise
            tried.append((candidate, f"{error.code}: {error.message}"))
    raise EndpointError(exhausted(str(wanted["name"]), tried, choice))


def _choice(objects: Objects, body: Mapping[str, Any]) -> Choice:
    """The plan's candidates, once more: servers before this one may have been had elsewhere than planned."""
    planned = [Candidate(server_type, location) for server_type, location in body["candidates"]]
    there = objects.locations(body["labels"][POOL]) if POOL in body["labels"] else []
    return at_purchase(
        planned, there, spread=body.get("spread", False), most_per_location=body.get("most_per_location")
    )


def _elsewhere(error: ApiError) -> bool:
    """Whether another type or location may do."""
    said = error.message.lower()
    return error.code in SOLD_OUT or (error.code == "invalid_input" and any(words in said for words in NOT_OFFERED))
