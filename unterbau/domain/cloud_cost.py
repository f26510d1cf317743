"""What a month of a cloud project costs, and what a plan adds to it: net, without traffic, in the list's currency.

Servers, addresses and load balancers are billed by the hour up to a month's price, so the month's price is what a whole
month costs. Source: Hetzner Cloud API, GET /pricing; "Billing" FAQ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

Kind = Literal["server", "load_balancer", "primary_ip", "floating_ip", "volume"]
_LISTS: dict[str, tuple[str, str]] = {
    "server": ("server_types", "name"), "load_balancer": ("load_balancer_types", "name"),
    "primary_ip": ("primary_ips", "type"), "floating_ip": ("floating_ips", "type"),
}  # fmt: skip
_WORDS = {
    "server": "server", "load_balancer": "load balancer", "primary_ip": "primary IP", "floating_ip": "floating IP",
}  # fmt: skip
_CENT = Decimal("0.01")


@dataclass(frozen=True, order=True)
class Item:
    """What is paid for. `type`: a server's or load balancer's, of an address ipv4 or ipv6; `size_gb`: a volume's.

    A server's public IPv4 address is an item of its own, a primary IP: its price is not in the server's.
    """

    kind: Kind
    type: str = ""
    location: str = ""
    size_gb: int = 0

    def __str__(self) -> str:
        what = f"volume of {self.size_gb} GB" if self.kind == "volume" else f"{_WORDS[self.kind]} {self.type}"
        return f"{what} in {self.location}" if self.location else what


@dataclass(frozen=True)
class Cost:
    """A month's price; `unknown`: items that the price list has no price for, which are not in it."""

    net: Decimal
    currency: str
    unknown: tuple[Item, ...] = ()

    def __str__(self) -> str:
        said = f"{money(self.net)} {self.currency} a month, net"
        return f"{said}, without {_listed(self.unknown)}: no price is listed" if self.unknown else said


@dataclass(frozen=True)
class Delta:
    """What a plan does to a month's price."""

    before: Cost
    after: Cost
    added: tuple[Item, ...]
    removed: tuple[Item, ...]

    @property
    def net(self) -> Decimal:
        """After less before."""
        return self.after.net - self.before.net

    def __str__(self) -> str:
        """The arithmetic as the plan shows it: cents only, summed before they are rounded."""
        currency = self.after.currency
        amounts = f"{money(self.before.net)} {currency} -> {money(self.after.net)} {currency}"
        said = f"{amounts} a month, net ({signed(self.net)})"
        parts = [f"+ {_listed(self.added)}"] * bool(self.added) + [f"- {_listed(self.removed)}"] * bool(self.removed)
        unknown = tuple(sorted({*self.before.unknown, *self.after.unknown}))
        missing = f"; without {_listed(unknown)}: no price is listed" if unknown else ""
        return said + "".join(f"; {part}" for part in parts) + missing


def monthly(pricing: Mapping[str, Any], item: Item) -> Decimal | None:
    """One item's price a month; None if the list has none. `pricing`: the API's object under "pricing"."""
    if item.kind == "volume":
        return Decimal(pricing["volume"]["price_per_gb_month"]["net"]) * item.size_gb
    where, key = _LISTS[item.kind]
    prices = [price for one in pricing[where] if one[key] == item.type for price in one["prices"]]
    found = [price["price_monthly"]["net"] for price in prices if price["location"] == item.location]
    return Decimal(found[0]) if found else None


def cost(pricing: Mapping[str, Any], items: Iterable[Item]) -> Cost:
    """All items' price a month."""
    prices = [(item, monthly(pricing, item)) for item in items]
    net = sum((price for _, price in prices if price is not None), Decimal(0))
    return Cost(net, pricing["currency"], tuple(sorted(item for item, price in prices if price is None)))


def delta(pricing: Mapping[str, Any], before: Iterable[Item], after: Iterable[Item]) -> Delta:
    """What goes from `before` to `after`, item by item."""
    old, new = Counter(before), Counter(after)
    return Delta(
        cost(pricing, old.elements()), cost(pricing, new.elements()),
        tuple(sorted((new - old).elements())), tuple(sorted((old - new).elements())),
    )  # fmt: skip


def items_there(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Item]:
    """What a project has, as the facts list it: kind -> its objects; only kinds that cost something count.

    Names of types and locations are texts there. A server's own addresses are among the primary IPs.
    """
    return [item(one) for kind, item in _READ.items() for one in found.get(kind, ())]


def item_of(kind: str, found: Mapping[str, Any]) -> Item | None:
    """What an object that is there costs, as its fact shows it; None for a kind that costs nothing."""
    return _READ[kind](found) if kind in _READ else None


_READ: dict[str, Callable[[Mapping[str, Any]], Item]] = {
    "servers": lambda one: Item("server", one["server_type"], one["location"]),
    "load_balancers": lambda one: Item("load_balancer", one["load_balancer_type"], one["location"]),
    "primary_ips": lambda one: Item("primary_ip", one["type"], one["location"]),
    "floating_ips": lambda one: Item("floating_ip", one["type"], one["home_location"]),
    "volumes": lambda one: Item("volume", location=one["location"], size_gb=one["size"]),
}


def money(amount: Decimal) -> str:
    """To the cent: "12.35"."""
    return str(amount.quantize(_CENT, ROUND_HALF_UP) + 0)  # + 0: no "-0.00"


def signed(amount: Decimal) -> str:
    """As `money`, with its sign: "+12.35"."""
    return f"{amount.quantize(_CENT, ROUND_HALF_UP) + 0:+}"


def _listed(items: Iterable[Item]) -> str:
    return ", ".join(f"{number} {item}" for item, number in Counter(items).items())
