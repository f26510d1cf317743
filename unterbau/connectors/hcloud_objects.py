"""Objects of a cloud project by name: lists that are asked for once, and writes to what carries our marks only.

In commands a name stands wherever the API wants a number. It is looked up among what is ours, so no command can name
anything else; where an object is deleted, its marks are read once more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import IPv6Network
from typing import Any
from urllib.parse import unquote

import gevent

from unterbau.connectors.endpoint import EndpointError
from unterbau.connectors.hcloud_client import ApiError, CloudClient, UnansweredError
from unterbau.domain.cloud_labels import labels, ours

OBJECTS = (
    "servers", "networks", "ssh_keys", "placement_groups", "firewalls", "load_balancers", "volumes", "primary_ips",
    "floating_ips",
)  # fmt: skip
CATALOGUE = ("server_types", "locations", "images", "load_balancer_types")
WITHOUT_ACTIONS = ("ssh_keys", "placement_groups")
REFERENCES = {
    "network": "networks", "networks": "networks", "placement_group": "placement_groups", "volumes": "volumes",
    "firewall": "firewalls", "server": "servers", "assignee_id": "servers", "ipv4": "primary_ips",
    "ipv6": "primary_ips",
}  # fmt: skip
NO_REFERENCES = ("labels", "ip")
TAKEN = "uniqueness_error"
LOOK_AGAIN_S = 4.0


class Objects:
    """See the module."""

    def __init__(self, client: CloudClient, cluster: str, servers: list[dict[str, Any]] | None = None) -> None:
        """`servers` as this run has listed them already, if it has."""
        self._client, self._cluster = client, cluster
        self._lists: dict[str, list[dict[str, Any]]] = {} if servers is None else {"servers": servers}
        self._ids: dict[tuple[str, str], int] = {}  # of ours; an id never changes
        self._servers = {one["name"]: one for one in servers or ()}  # as last listed, and those made since

    def listed(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind, ours or not; asked for anew only after a write."""
        if kind not in (*OBJECTS, *CATALOGUE):
            raise EndpointError(f"cannot list {kind[:40]!r}: there are {', '.join((*OBJECTS, *CATALOGUE))}")
        if kind not in self._lists:
            self._lists[kind] = self._client.every(kind)
            if kind == "servers":
                self._servers = {one["name"]: one for one in self._lists[kind]}
        return self._lists[kind]

    def locations(self, pool: str) -> list[str]:
        """The location of each server of a pool of ours, without asking for those that this run made."""
        wanted = labels(self._cluster, pool)
        there = [one for one in self._servers.values() if wanted.items() <= (one.get("labels") or {}).items()]
        return [one["location"]["name"] for one in there]

    def created(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The new object once it is ready. One of ours that has the name already is taken over, as it is."""
        if kind not in OBJECTS or not ours(body.get("labels") or {}, self._cluster):
            raise EndpointError(f"cannot create {kind[:40]!r} without the labels {labels(self._cluster)}")
        found = self._created(kind, str(body["name"]), body)
        if kind == "servers":
            self._servers[found["name"]] = found
        return found

    def _created(self, kind: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._client.call("POST", f"/{kind}", self._numbers(body))
        except (ApiError, UnansweredError) as error:
            if isinstance(error, ApiError) and error.code != TAKEN:
                raise
            return self._taken_over(kind, name, error)
        finally:
            self._changed()
        self._ids[kind, name] = answer[kind[:-1]]["id"]
        self._client.ended(f"create {kind[:-1]} {name}", answer)
        return dict(answer[kind[:-1]])  # not the rest: it may have a root password

    def put(self, kind: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Name and labels as given; of one that is ours and stays so."""
        if "labels" in body and not ours(body["labels"], self._cluster):
            raise EndpointError(f"cannot change {kind}/{name}: without the labels {labels(self._cluster)}")
        answer = self._write("PUT", f"/{kind}/{self.number(kind, name)}", body)
        return dict(answer[kind[:-1]])

    def acted(self, kind: str, name: str, action: str, body: Mapping[str, Any]) -> None:
        """An action of one of ours, ended."""
        number = self.number(kind, name)
        wanted = self._numbers(body)
        if wanted.get("ip") in ("ipv4", "ipv6"):
            wanted["ip"] = self._address(self._read(kind, number), str(wanted["ip"]))
        answer = self._write("POST", f"/{kind}/{number}/actions/{action}", wanted or None)  # {} is no body to send
        self._client.ended(f"{action} {kind}/{name}", answer)

    def deleted(self, kind: str, name: str) -> None:
        """One of ours is gone, or was."""
        try:
            number = self.number(kind, name)
            found = self._read(kind, number)
        except ApiError as error:
            if error.code != "not_found":
                raise
            self._gone(kind, name)
            return
        if not ours(found.get("labels") or {}, self._cluster) or found["name"] != name:
            raise EndpointError(
                f"cannot delete {kind}/{name}: found it renamed, or without our labels, meanwhile; plan again"
            )
        answer = self._write("DELETE", f"/{kind}/{number}", None)
        self._gone(kind, name)
        self._client.ended(f"delete {kind}/{name}", answer)

    def awaited(self, kind: str, name: str, until: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        """The object, once its fields have these values: `within_s` after the last of its actions at the latest."""
        deadline_s, number = None, self.number(kind, name)
        while True:
            found = self._read(kind, number)
            left = {field: found.get(field) for field, value in until.items() if not _has(found.get(field), value)}
            if not left:
                return found
            if deadline_s is None:
                self._settled(kind, name, number)
                deadline_s = time.monotonic() + within_s
                continue
            if time.monotonic() >= deadline_s:
                raise EndpointError(
                    f"cannot go on: {kind}/{name} is not as it was set within {within_s:g} s, found "
                    f"{', '.join(f'{field} {value}' for field, value in left.items())}; look at it in the project's "
                    "console"
                )
            gevent.sleep(LOOK_AGAIN_S)

    def knows(self, kind: str, name: str) -> bool:
        """Whether this run has seen, or made, one of ours with that name."""
        return (kind, name) in self._ids

    def number(self, kind: str, name: str) -> int:
        """The id of the one of ours with that name; ApiError not_found."""
        if kind not in OBJECTS:
            raise EndpointError(f"cannot change {kind[:40]!r}: there are {', '.join(OBJECTS)}")
        if (kind, name) not in self._ids:
            there = [one for one in self.listed(kind) if ours(one.get("labels") or {}, self._cluster)]
            self._ids |= {(kind, one["name"]): one["id"] for one in there}
        if (kind, name) not in self._ids:
            said = f"cannot find {kind}/{name}: none of ours has that name; plan again"
            raise ApiError(said, "not_found", "none of ours")
        return self._ids[kind, name]

    def _taken_over(self, kind: str, name: str, error: EndpointError) -> dict[str, Any]:
        """What an earlier attempt made, whose answer was lost; its actions ended."""
        there = self._client.call("GET", f"/{kind}", params={"name": name})[kind]
        found = next((one for one in there if ours(one.get("labels") or {}, self._cluster)), None)
        if found is None:
            raise error
        self._ids[kind, name] = found["id"]
        self._settled(kind, name, found["id"])
        return dict(found)

    def _settled(self, kind: str, name: str, number: int) -> None:
        """Return once no action of one of ours runs any more; EndpointError if such a one fails."""
        if kind not in WITHOUT_ACTIONS:
            running = self._client.call("GET", f"/{kind}/{number}/actions", params={"status": "running"})
            self._client.ended(f"go on with {kind}/{name}", running)

    def _read(self, kind: str, number: int) -> dict[str, Any]:
        return dict(self._client.call("GET", f"/{kind}/{number}")[kind[:-1]])

    def _write(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            return self._client.call(method, path, body)
        finally:
            self._changed()

    def _changed(self) -> None:
        """What is written to one kind shows in others too: a server in its network, a selector's firewalls."""
        self._lists = {kind: found for kind, found in self._lists.items() if kind in CATALOGUE}

    def _gone(self, kind: str, name: str) -> None:
        self._ids.pop((kind, name), None)
        if kind == "servers":
            self._servers.pop(name, None)

    def _numbers(self, value: Any, kind: str = "") -> Any:
        """`value` with the id of each object of ours in place of its name."""
        match value:
            case Mapping():
                return {
                    key: one
                    if key in NO_REFERENCES
                    else self._numbers(one, REFERENCES.get(key, kind if key == "id" else ""))
                    for key, one in value.items()
                }
            case list():
                return [self._numbers(one, kind) for one in value]
            case str() if kind:
                return self.number(kind, value)
        return value

    @staticmethod
    def _address(found: Mapping[str, Any], family: str) -> str:
        """The address whose reverse DNS can be set; the first of an IPv6 network."""
        public = (found.get("public_net") or {}).get(family) or found
        text = str(public.get("ip") or "")
        if not text:
            raise EndpointError(f"cannot set the reverse DNS of {found['name']}: found no {family} address")
        return str(IPv6Network(text)[1]) if "/" in text else text


def taken_apart(path: str) -> tuple[str, str, str]:
    """(kind, name, action) of `servers/prod-servers-1/actions/poweron`; EndpointError for another path."""
    match [unquote(part) for part in path.split("/")]:
        case [kind]:
            return kind, "", ""
        case [kind, name] if name:
            return kind, name, ""
        case [kind, name, "actions", action] if name and action.replace("_", "").isalpha():
            return kind, name, action
    raise EndpointError(f"cannot ask for {path[:80]!r}: a path is kind, kind/name or kind/name/actions/action")


def _has(found: Any, wanted: Any) -> bool:
    """Whether an answer has all that was set; the order of a list is the API's own affair."""
    match wanted:
        case Mapping():
            return isinstance(found, Mapping) and all(_has(found.get(key), value) for key, value in wanted.items())
        case list():
            if not isinstance(found, list) or len(found) != len(wanted):
                return False
            return all(any(_has(one, value) for one in found) for value in wanted)
    return bool(found == wanted)
