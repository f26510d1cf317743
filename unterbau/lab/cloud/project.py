"""A project's state: tables of what it has, as plain JSON values, and how they are looked up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Network

from unterbau.lab.cloud import catalogue
from unterbau.lab.cloud.answer import ApiError, Record, invalid
from unterbau.lab.cloud.limits import Limits
from unterbau.lab.cloud.machines import Health

# What a project holds, and what each is called alone.
SINGULAR = {
    "servers": "server", "ssh_keys": "ssh_key", "networks": "network", "placement_groups": "placement_group",
    "firewalls": "firewall", "load_balancers": "load_balancer", "volumes": "volume", "primary_ips": "primary_ip",
    "floating_ips": "floating_ip", "actions": "action",
}  # fmt: skip
PLURAL = {singular: plural for plural, singular in SINGULAR.items()}
FIRST_ID = 1001
PUBLIC_IPV4 = IPv4Network("198.18.0.0/16")  # for benchmarks, so nobody's on the internet. Source: RFC 2544

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock on the wall."""
    return datetime.now(UTC)


class Project:
    """Tables by kind and id, the work that is left to do, and the faults that are on.

    One counter numbers all kinds, so that an id of one kind is never found in another.
    """

    def __init__(self, state: Record | None = None, clock: Clock = utc_now, limits: Limits | None = None) -> None:
        state = state or {}
        tables = state.get("tables", {})
        self.tables = {kind: {one["id"]: one for one in tables.get(kind, ())} for kind in SINGULAR}
        self.pending: list[Record] = state.get("pending", [])
        self.faults: list[Record] = state.get("faults", [])
        self.next_id: int = state.get("next_id", FIRST_ID)
        self.clock = clock
        self.limits = limits or Limits()
        self.public_ipv4 = PUBLIC_IPV4
        self.health: Callable[[int, int], Health] = lambda *_: "unknown"

    def state(self) -> Record:
        """All of it, to be saved."""
        return {
            "tables": {kind: list(table.values()) for kind, table in self.tables.items()},
            "pending": self.pending, "faults": self.faults, "next_id": self.next_id,
        }  # fmt: skip

    def now(self) -> str:
        """The time, as the API writes it."""
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def all(self, kind: str) -> list[Record]:
        """Everything of a kind, the catalogue's kinds included."""
        return list(self.tables[kind].values()) if kind in self.tables else catalogue.TABLES[kind]

    def find(self, kind: str, wanted: int | str) -> Record | None:
        """By id, or by name; a name that is a number is an id first, as in the API."""
        for record in self.all(kind):
            if str(record["id"]) == str(wanted):
                return record
        return next((record for record in self.all(kind) if record.get("name") == wanted), None)

    def get(self, kind: str, number: int) -> Record:
        """By id, or not_found."""
        found = self.tables[kind].get(number) if kind in self.tables else self.find(kind, number)
        if found is None:
            raise ApiError("not_found", f"{kind.removesuffix('s')} with ID '{number}' not found")
        return found

    def choose(self, kind: str, wanted: int | str, field: str) -> Record:
        """By id or name, or invalid_input for the field that names it."""
        found = self.find(kind, wanted)
        if found is None:
            raise invalid(field, f"there is no {kind.removesuffix('s')} {wanted!r}")
        return found

    def add(self, kind: str, record: Record) -> Record:
        """Give it an id and keep it."""
        record = {"id": self.next_id, **record}
        self.next_id += 1
        self.tables[kind][record["id"]] = record
        return record

    def remove(self, kind: str, number: int) -> None:
        """It is gone."""
        self.tables[kind].pop(number, None)

    def check_new(self, kind: str, name: str | None) -> None:
        """One more of a kind: refuse it over the limit, or with a name that is taken."""
        self.limits.check(kind, len(self.tables[kind]) + 1)
        if name is not None:
            self.check_name(kind, name)

    def check_name(self, kind: str, name: str, own: int | None = None) -> None:
        """uniqueness_error if another one of the kind has the name."""
        if any(one["name"] == name and one["id"] != own for one in self.tables[kind].values()):
            raise ApiError("uniqueness_error", f"{SINGULAR[kind]} name is already used", {"fields": [{"name": "name"}]})

    def check_unused_value(self, kind: str, field: str, value: str) -> None:
        """uniqueness_error if one of the kind has this value already."""
        if any(one[field] == value for one in self.tables[kind].values()):
            raise ApiError("uniqueness_error", f"{field} is already used", {"fields": [{"name": field}]})

    def location(self, wanted: int | str) -> str:
        """A location's name, whether its id or its name is given."""
        name: str = self.choose("locations", wanted, "location")["name"]
        return name
