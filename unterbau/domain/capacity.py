"""Where a pool's next server is bought, and what is tried if it cannot be had there.

The order, while servers are spread: the location with the fewest of the pool's servers first, as declared between
equals, and in it the types as declared. So a pool would rather have its second type where it has no server yet than
its first where it has one: what is in one location is lost together, what is of one type is not. Without spread the
type comes first: the first type wherever it is sold, then the second. What the API says is sold out now is tried last,
for its word may be old. What is deprecated is never bought anew, and stays where it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SHOWN = 6  # candidates a sentence names


class Candidate(NamedTuple):
    """What may be asked for."""

    server_type: str
    location: str

    def __str__(self) -> str:
        return f"{self.server_type} in {self.location}"


@dataclass(frozen=True)
class Offer:
    """What the API says of a type in a location. `available` None: it does not say; `deprecated` "": it is not.

    Both times are the API's own, ISO 8601 in UTC.
    """

    available: bool | None = None
    deprecated: str = ""
    unavailable_after: str = ""


@dataclass(frozen=True)
class Wish:
    """What a pool takes, both in order of preference. `most_per_location` None: any number of servers."""

    types: tuple[str, ...]
    locations: tuple[str, ...]
    spread: bool = True
    most_per_location: int | None = None


@dataclass(frozen=True)
class Choice:
    """Candidates in the order in which they are tried, and what is not tried, with the reason."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[tuple[Candidate, str], ...] = ()


@dataclass(frozen=True)
class Purchase:
    """A server that is to be bought."""

    name: str
    choice: Choice

    def __str__(self) -> str:
        """The plan's sentence: what is asked for first, and that something else may be taken."""
        if not self.choice.candidates:
            return f"cannot create server {self.name}: nothing is left to try{_reasons(self.choice)}; {_NEXT}"
        first, *others = self.choice.candidates
        if not others:
            return f"{self.name}: {first}; there is no fallback if it cannot be had"
        return f"{self.name}: {first}; may fall back, if it cannot be had, to {_listed(others)}"


_NEXT = "declare another type or location for its pool"


def offers(server_types: Iterable[Mapping[str, Any]]) -> dict[Candidate, Offer]:
    """What is sold where, from the API's `server_types`. What is not in it is not sold.

    A type's own `deprecation` holds for all of its locations, besides what each of them says. Source: Hetzner Cloud
    API, `server_types[].locations`, since 2025-09-24; `available` since 2026-04-01.
    """
    return {
        Candidate(one["name"], place["name"]): _offer(place, one.get("deprecation"))
        for one in server_types
        for place in one["locations"]
    }


def _offer(place: Mapping[str, Any], of_the_type: Mapping[str, Any] | None) -> Offer:
    deprecation = place.get("deprecation") or of_the_type or {}
    return Offer(place.get("available"), deprecation.get("announced", ""), deprecation.get("unavailable_after") or "")


def choice(wish: Wish, there: Sequence[str], market: Mapping[Candidate, Offer]) -> Choice:
    """What to try for the pool's next server. `there`: the location of each server that it has."""
    count = Counter(there)
    pairs = [Candidate(server_type, location) for location in wish.locations for server_type in wish.types]
    reasons = {pair: _left_out(pair, wish, count, market) for pair in pairs}
    tried = sorted((pair for pair in pairs if not reasons[pair]), key=lambda pair: _rank(pair, wish, count, market))
    return Choice(tuple(tried), tuple((pair, reason) for pair, reason in reasons.items() if reason))


def _left_out(pair: Candidate, wish: Wish, count: Mapping[str, int], market: Mapping[Candidate, Offer]) -> str:
    offer, most = market.get(pair), wish.most_per_location
    if offer is None:
        return "not sold there"
    if offer.deprecated:
        return f"deprecated since {offer.deprecated[:10]}"
    if most is not None and count.get(pair.location, 0) >= most:
        return _full(count.get(pair.location, 0), most)
    return ""


def _full(count: int, most: int | None) -> str:
    return f"{count} of at most {most} servers are there, else its loss would cost the quorum"


def _rank(
    pair: Candidate, wish: Wish, count: Mapping[str, int], market: Mapping[Candidate, Offer]
) -> tuple[int | bool, ...]:
    sold_out = market[pair].available is False
    by_type, by_location = wish.types.index(pair.server_type), wish.locations.index(pair.location)
    if wish.spread:
        return sold_out, count.get(pair.location, 0), by_location, by_type
    return sold_out, by_type, by_location


def purchases(
    names: Iterable[str], wish: Wish, there: Sequence[str], market: Mapping[Candidate, Offer]
) -> list[Purchase]:
    """What a plan says of several servers: each as if the ones before it were had where they are asked for first.

    When they are bought, `choice` is asked again for each, with what there really is.
    """
    locations, found = list(there), []
    for name in names:
        found.append(Purchase(name, choice(wish, locations, market)))
        locations += [candidate.location for candidate in found[-1].choice.candidates[:1]]
    return found


def at_purchase(
    planned: Sequence[Candidate], there: Sequence[str], *, spread: bool = True, most_per_location: int | None = None
) -> Choice:
    """A plan's candidates once more, when the server is bought; `there` as it is then.

    Servers before it may have been had elsewhere than planned: where most are now is tried last, and where its
    loss would cost the quorum is not tried at all. Between equals the plan's order stays.
    """
    count = Counter(there)
    full = [one for one in planned if most_per_location is not None and count[one.location] >= most_per_location]
    left = [one for one in planned if one not in full]
    tried = sorted(left, key=lambda one: count[one.location]) if spread else left
    return Choice(tuple(tried), tuple((one, _full(count[one.location], most_per_location)) for one in full))


def exhausted(name: str, tried: Sequence[tuple[Candidate, str]], left: Choice) -> str:
    """The error when nothing could be had. `tried`: each with the API's code or message, in the order of trying."""
    answers = ", ".join(f"{candidate} ({answer})" for candidate, answer in tried) or "nothing"
    return f"cannot create server {name}: tried {answers}{_reasons(left)}; {_NEXT}, or apply again later"


def _reasons(left: Choice) -> str:
    reasons = ", ".join(f"{candidate} ({reason})" for candidate, reason in left.left_out)
    return f"; not tried: {reasons}" if reasons else ""


def _listed(candidates: Sequence[Candidate]) -> str:
    more = len(candidates) - SHOWN
    return ", ".join(map(str, candidates[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def stays(name: str, runs: Candidate, wish: Wish, market: Mapping[Candidate, Offer]) -> str:
    """Why a server that is there is not as it would be bought now; "" if it is. It stays either way."""
    offer = market.get(runs)
    if offer is not None and offer.deprecated:
        end = f", not sold after {offer.unavailable_after[:10]}" if offer.unavailable_after else ""
        return f"{name} runs {runs}, deprecated since {offer.deprecated[:10]}{end}: it stays, and is not bought anew"
    if offer is None:
        return f"{name} runs {runs}, which is sold no more: it stays, and is not bought anew"
    if runs.server_type not in wish.types or runs.location not in wish.locations:
        return f"{name} runs {runs}, which its pool does not declare: it stays; replace it by name to change that"
    return ""
