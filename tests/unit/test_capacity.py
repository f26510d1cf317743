"""Where servers are bought, in which order, and what is said when they cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.capacity import (
    Candidate,
    Choice,
    Offer,
    Wish,
    at_purchase,
    choice,
    exhausted,
    offers,
    purchases,
    stays,
)
from unterbau.domain.location_loss import most_per_location
from unterbau.domain.quorum import needed

TYPES, LOCATIONS = ("cx32", "cpx31", "cax21"), ("fsn1", "nbg1", "hel1")
EVERYWHERE = {Candidate(one, place): Offer(True) for one in TYPES for place in LOCATIONS}
OFFERS = st.sampled_from([None, Offer(), Offer(True), Offer(False), Offer(True, "2026-01-01T00:00:00Z")])


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True))
    locations = draw(st.lists(st.sampled_from(LOCATIONS), min_size=1, max_size=3, unique=True))
    most = draw(st.none() | st.integers(0, 3))
    return Wish(tuple(types), tuple(locations), draw(st.booleans()), most)


@st.composite
def markets(draw: st.DrawFn) -> dict[Candidate, Offer]:
    found = {pair: draw(OFFERS) for pair in EVERYWHERE}
    return {pair: offer for pair, offer in found.items() if offer is not None}


def said(found: Choice) -> list[str]:
    return [str(candidate) for candidate in found.candidates]


def test_locations_come_first_and_types_in_each() -> None:
    found = choice(Wish(("cx32", "cpx31"), ("fsn1", "nbg1")), ["fsn1"], EVERYWHERE)
    assert said(found) == ["cx32 in nbg1", "cpx31 in nbg1", "cx32 in fsn1", "cpx31 in fsn1"]


def test_without_spread_types_come_first() -> None:
    found = choice(Wish(("cx32", "cpx31"), ("fsn1", "nbg1"), spread=False), ["fsn1"], EVERYWHERE)
    assert said(found) == ["cx32 in fsn1", "cx32 in nbg1", "cpx31 in fsn1", "cpx31 in nbg1"]


def test_what_is_sold_out_now_is_tried_last() -> None:
    market = EVERYWHERE | {Candidate("cx32", "fsn1"): Offer(False)}
    assert said(choice(Wish(("cx32",), ("fsn1", "nbg1")), [], market)) == ["cx32 in nbg1", "cx32 in fsn1"]


def test_what_is_deprecated_is_not_bought_and_what_the_quorum_forbids_neither() -> None:
    market = EVERYWHERE | {Candidate("cx32", "nbg1"): Offer(True, "2026-02-03T00:00:00Z")}
    del market[Candidate("cx32", "hel1")]
    found = choice(Wish(("cx32",), LOCATIONS, most_per_location=1), ["fsn1"], market)
    assert found.candidates == ()
    assert dict(found.left_out) == {
        Candidate("cx32", "fsn1"): "1 of at most 1 servers are there, else its loss would cost the quorum",
        Candidate("cx32", "nbg1"): "deprecated since 2026-02-03",
        Candidate("cx32", "hel1"): "not sold there",
    }


def better(one: Candidate, other: Candidate, wish: Wish, there: list[str], market: dict[Candidate, Offer]) -> bool:
    """The order in words, of two: used to sort by hand."""
    out, other_out = market[one].available is False, market[other].available is False
    if out != other_out:
        return other_out
    fewer = there.count(one.location) - there.count(other.location)
    place = wish.locations.index(one.location) - wish.locations.index(other.location)
    kind = wish.types.index(one.server_type) - wish.types.index(other.server_type)
    steps = (fewer, place, kind) if wish.spread else (kind, place)
    return next((step < 0 for step in steps if step), False)


@given(wishes(), st.lists(st.sampled_from(LOCATIONS), max_size=6), markets())
def test_the_order_is_that_of_comparing_each_with_each(
    wish: Wish, there: list[str], market: dict[Candidate, Offer]
) -> None:
    found = choice(wish, there, market)
    for at, one in enumerate(found.candidates):
        assert all(better(one, other, wish, there, market) for other in found.candidates[at + 1 :])
    pairs = {Candidate(one, place) for one in wish.types for place in wish.locations}
    assert {*found.candidates, *(pair for pair, _ in found.left_out)} == pairs
    assert len(found.candidates) + len(found.left_out) == len(pairs)


@given(wishes(), st.lists(st.sampled_from(LOCATIONS), max_size=6), markets())
def test_nothing_is_tried_that_is_not_sold_or_costs_the_quorum(
    wish: Wish, there: list[str], market: dict[Candidate, Offer]
) -> None:
    for pair in (Candidate(one, place) for one in wish.types for place in wish.locations):
        sold = pair in market and not market[pair].deprecated
        room = wish.most_per_location is None or there.count(pair.location) < wish.most_per_location
        assert (pair in choice(wish, there, market).candidates) == (sold and room)


@given(st.integers(1, 20), st.lists(st.sampled_from(LOCATIONS), max_size=6))
def test_many_servers_go_one_by_one_to_where_the_fewest_are(count: int, there: list[str]) -> None:
    names = [str(number) for number in range(count)]
    bought = [one.choice.candidates[0] for one in purchases(names, Wish(("cx32",), LOCATIONS), there, EVERYWHERE)]
    filled = [there.count(place) for place in LOCATIONS]
    for one in bought:
        fewest = filled.index(min(filled))
        assert one.location == LOCATIONS[fewest]
        filled[fewest] += 1


def test_a_plan_says_that_a_fallback_may_be_taken() -> None:
    first, second = purchases(["demo-a-1", "demo-a-2"], Wish(("cx32",), ("fsn1", "nbg1")), [], EVERYWHERE)
    assert str(first) == "demo-a-1: cx32 in fsn1; may fall back, if it cannot be had, to cx32 in nbg1"
    assert str(second) == "demo-a-2: cx32 in nbg1; may fall back, if it cannot be had, to cx32 in fsn1"
    alone, none = purchases(["a", "b"], Wish(("cx32",), ("fsn1",), most_per_location=1), [], EVERYWHERE)
    assert str(alone) == "a: cx32 in fsn1; there is no fallback if it cannot be had"
    assert str(none) == (
        "cannot create server b: nothing is left to try; not tried: cx32 in fsn1 (1 of at most 1 servers are there,"
        " else its loss would cost the quorum); declare another type or location for its pool"
    )


def test_many_fallbacks_are_counted_in_the_end() -> None:
    [one] = purchases(["a"], Wish(TYPES, LOCATIONS), [], EVERYWHERE)
    assert str(one).startswith("a: cx32 in fsn1; may fall back, if it cannot be had, to cpx31 in fsn1, cax21 in fsn1, ")
    assert str(one).endswith(", cax21 in nbg1, cx32 in hel1 and 2 more")


PAIRS = st.lists(st.sampled_from(list(EVERYWHERE)), unique=True, max_size=9)


@given(PAIRS, st.lists(st.sampled_from(LOCATIONS), max_size=6), st.none() | st.integers(0, 3), st.booleans())
def test_a_purchase_looks_again(planned: list[Candidate], there: list[str], most: int | None, spread: bool) -> None:
    found = at_purchase(planned, there, spread=spread, most_per_location=most)
    assert {*found.candidates, *(pair for pair, _ in found.left_out)} == set(planned)
    room = [pair for pair in planned if most is None or there.count(pair.location) < most]
    if spread:
        room = [pair for count in range(7) for pair in room if there.count(pair.location) == count]
    assert said(found) == list(map(str, room))


@given(st.integers(3, 9), st.lists(st.sets(st.sampled_from(LOCATIONS)), min_size=9, max_size=9))
def test_no_fallback_breaks_the_promise_of_a_lost_location(count: int, sold_out: list[set[str]]) -> None:
    """Whatever is sold out when, of what there is in the end no location's loss costs the quorum."""
    most = most_per_location(count)
    wish = Wish(("cx32",), LOCATIONS, most_per_location=most)
    there: list[str] = []
    for plan, gone in zip(purchases(map(str, range(count)), wish, [], EVERYWHERE), sold_out, strict=False):
        asked = at_purchase(plan.choice.candidates, there, most_per_location=most).candidates
        there += [candidate.location for candidate in asked if candidate.location not in gone][:1]
    worst = max(map(there.count, LOCATIONS))
    assert count - worst >= needed(count)


def test_the_error_says_what_was_tried_and_what_was_not() -> None:
    found = Choice((), ((Candidate("cx32", "hel1"), "not sold there"),))
    tried = [(Candidate("cx32", "fsn1"), "resource_unavailable"), (Candidate("cx32", "nbg1"), "placement_error")]
    assert exhausted("demo-a-1", tried, found) == (
        "cannot create server demo-a-1: tried cx32 in fsn1 (resource_unavailable), cx32 in nbg1 (placement_error); not"
        " tried: cx32 in hel1 (not sold there); declare another type or location for its pool, or apply again later"
    )


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (("cx32", "fsn1"), ""),
        (("cpx31", "fsn1"), "a runs cpx31 in fsn1, which its pool does not declare: it stays; replace it by name to "),
        (
            ("cx31", "fsn1"),
            "a runs cx31 in fsn1, deprecated since 2025-09-01, not sold after 2025-12-01: it stays, and",
        ),
        (("cx11", "fsn1"), "a runs cx11 in fsn1, which is sold no more: it stays, and is not bought anew"),
    ],
)
def test_what_runs_stays(runs: tuple[str, str], words: str) -> None:
    old = {Candidate("cx31", "fsn1"): Offer(True, "2025-09-01T00:00:00Z", "2025-12-01T00:00:00Z")}
    found = stays("a", Candidate(*runs), Wish(("cx32", "cx31"), LOCATIONS), EVERYWHERE | old)
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_offers_are_read_from_the_api() -> None:
    gone = {"announced": "2026-03-01T00:00:00Z", "unavailable_after": "2026-06-01T00:00:00Z"}
    read = offers(
        [
            {
                "name": "cx32",
                "deprecation": None,
                "locations": [
                    {"id": 1, "name": "fsn1", "available": True, "recommended": True, "deprecation": None},
                    {"id": 2, "name": "nbg1", "available": False, "recommended": False, "deprecation": gone},
                ],
            },
            {"name": "cx31", "deprecation": gone, "locations": [{"id": 3, "name": "hel1", "deprecation": None}]},
        ]
    )
    assert read == {
        Candidate("cx32", "fsn1"): Offer(True),
        Candidate("cx32", "nbg1"): Offer(False, "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"),
        Candidate("cx31", "hel1"): Offer(None, "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"),
    }
