"""A month's price, and what a plan does to it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.cloud_cost import Item, cost, delta, items_there, money, monthly, signed


def price(net: str) -> dict[str, str]:
    return {"net": net, "gross": "0.0000000000"}


def prices(**by_location: str) -> list[dict[str, Any]]:
    return [
        {"location": place, "price_hourly": price("0.0100000000"), "price_monthly": price(net)}
        for place, net in by_location.items()
    ]


# The shape of the API's own example; the numbers are none of the provider's.
PRICING: dict[str, Any] = {
    "currency": "EUR",
    "vat_rate": "19.000000",
    "server_types": [
        {"id": 1, "name": "cx32", "prices": prices(fsn1="6.3000000000", nbg1="6.3050000000")},
        {"id": 2, "name": "cpx31", "prices": prices(fsn1="13.1000000000", ash="15.0000000000")},
    ],
    "load_balancer_types": [{"id": 1, "name": "lb11", "prices": prices(fsn1="5.3900000000")}],
    "primary_ips": [
        {"type": "ipv4", "prices": prices(fsn1="0.5000000000", nbg1="0.5000000000")},
        {"type": "ipv6", "prices": prices(fsn1="0.0000000000")},
    ],
    "floating_ips": [{"type": "ipv4", "prices": prices(fsn1="3.0000000000")}],
    "volume": {"price_per_gb_month": price("0.0440000000")},
}
LISTED = [
    Item("server", "cx32", "fsn1"), Item("server", "cx32", "nbg1"), Item("server", "cpx31", "ash"),
    Item("load_balancer", "lb11", "fsn1"), Item("primary_ip", "ipv4", "fsn1"), Item("primary_ip", "ipv6", "fsn1"),
    Item("floating_ip", "ipv4", "fsn1"), Item("volume", location="fsn1", size_gb=100),
]  # fmt: skip
UNLISTED = [Item("server", "cx32", "hel1"), Item("server", "cx99", "fsn1"), Item("floating_ip", "ipv6", "fsn1")]
ITEMS = st.lists(st.sampled_from([*LISTED, *UNLISTED]), max_size=12)


@pytest.mark.parametrize(
    ("item", "net"),
    list(zip(LISTED, ["6.30", "6.305", "15", "5.39", "0.5", "0", "3", "4.4"], strict=True)),
    ids=str,
)
def test_what_each_costs(item: Item, net: str) -> None:
    assert monthly(PRICING, item) == Decimal(net)


def test_what_has_no_price_is_not_free() -> None:
    found = cost(PRICING, [*LISTED[:1], *UNLISTED])
    assert (found.net, found.unknown) == (Decimal("6.30"), tuple(sorted(UNLISTED)))
    assert str(found) == (
        "6.30 EUR a month, net, without 1 floating IP ipv6 in fsn1, 1 server cx32 in hel1, 1 server cx99 in fsn1: no"
        " price is listed"
    )


def by_hand(items: list[Item]) -> Fraction:
    """Cents of cents, item by item, without Decimal."""
    total = Fraction(0)
    for item in items:
        if item.kind == "volume":
            total += Fraction(44, 1000) * item.size_gb
            continue
        lists = {"server": "server_types", "load_balancer": "load_balancer_types"}
        for one in PRICING[lists.get(item.kind, f"{item.kind}s")]:
            for at in one["prices"]:
                if item.type in (one.get("name"), one.get("type")) and at["location"] == item.location:
                    total += Fraction(at["price_monthly"]["net"])
    return total


@given(ITEMS)
def test_a_sum_is_that_of_its_parts_whatever_the_order(items: list[Item]) -> None:
    found = cost(PRICING, items)
    assert Fraction(found.net) == by_hand(items)
    assert cost(PRICING, reversed(items)) == found
    assert sorted(found.unknown) == sorted(item for item in items if item in UNLISTED)


@given(ITEMS, ITEMS)
def test_a_delta_is_the_difference_and_turns_round(before: list[Item], after: list[Item]) -> None:
    found, back = delta(PRICING, before, after), delta(PRICING, after, before)
    assert Fraction(found.net) == by_hand(after) - by_hand(before)
    assert (back.net, back.added, back.removed) == (-found.net, found.removed, found.added)
    assert sorted([*before, *found.added]) == sorted([*after, *found.removed])


def test_what_is_there_is_read_from_facts() -> None:
    found = items_there(
        {
            "servers": [{"id": 1, "name": "a", "server_type": "cx32", "location": "fsn1"}],
            "load_balancers": [{"load_balancer_type": "lb11", "location": "fsn1"}],
            "primary_ips": [{"type": "ipv4", "location": "fsn1", "assignee_id": 1}],
            "floating_ips": [{"type": "ipv4", "home_location": "fsn1", "server": None}],
            "volumes": [{"size": 100, "location": "fsn1"}],
            "networks": [{"name": "main"}],
        }
    )
    assert found == [LISTED[0], LISTED[3], LISTED[4], LISTED[6], LISTED[7]]


def test_the_plan_shows_the_arithmetic() -> None:
    one, other = LISTED[0], LISTED[2]
    assert str(delta(PRICING, [one], [one, one, other])) == (
        "6.30 EUR -> 27.60 EUR a month, net (+21.30); + 1 server cpx31 in ash, 1 server cx32 in fsn1"
    )
    assert str(delta(PRICING, [LISTED[7], UNLISTED[0]], [])) == (
        "4.40 EUR -> 0.00 EUR a month, net (-4.40); - 1 server cx32 in hel1, 1 volume of 100 GB in fsn1; without"
        " 1 server cx32 in hel1: no price is listed"
    )
    assert str(delta(PRICING, [one], [one])) == "6.30 EUR -> 6.30 EUR a month, net (+0.00)"


@pytest.mark.parametrize(
    ("amount", "shown", "change"),
    [
        ("0.005", "0.01", "+0.01"),
        ("-0.001", "0.00", "+0.00"),
        ("1234.5", "1234.50", "+1234.50"),
        ("-2", "-2.00", "-2.00"),
    ],
)
def test_amounts_are_shown_to_the_cent(amount: str, shown: str, change: str) -> None:
    assert money(Decimal(amount)) == shown
    assert signed(Decimal(amount)) == change


def test_cents_are_lost_only_in_what_is_shown() -> None:
    """Two of 6.305 are 12.61, not 2 x 6.31."""
    assert money(cost(PRICING, [LISTED[1]] * 2).net) == "12.61"
