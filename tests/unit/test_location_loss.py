"""What a lost location leaves of a majority."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.location_loss import locations_needed, loss, most_per_location, spread


def distributions(servers: int, locations: int) -> Iterator[tuple[int, ...]]:
    """Every way to put servers into locations."""
    if locations == 1:
        yield (servers,)
        return
    for here in range(servers + 1):
        yield from ((here, *rest) for rest in distributions(servers - here, locations - 1))


def survives(counts: tuple[int, ...]) -> bool:
    return all(2 * (sum(counts) - lost) > sum(counts) for lost in counts if lost)


@pytest.mark.parametrize("locations", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("servers", range(1, 10))
def test_even_spread_survives_if_any_does(servers: int, locations: int) -> None:
    assert spread(servers, locations).passed == any(map(survives, distributions(servers, locations)))


@pytest.mark.parametrize("servers", range(1, 12))
def test_as_many_locations_as_it_takes(servers: int) -> None:
    enough = [count for count in range(1, servers + 1) if spread(servers, count).passed]
    assert locations_needed(servers) == min(enough, default=None)


@given(st.dictionaries(st.sampled_from(["fsn1", "nbg1", "hel1", "ash"]), st.integers(0, 6)))
def test_a_loss_is_what_counting_gives(servers: dict[str, int]) -> None:
    assert loss(servers).passed == survives(tuple(servers.values()))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_a_majority_is_left_as_long_as_no_location_has_more_than_the_most(counts: list[int]) -> None:
    allowed = all(count <= most_per_location(sum(counts)) for count in counts)
    assert allowed == survives(tuple(counts))


def test_the_arithmetic_is_said() -> None:
    assert loss({"fsn1": 2, "nbg1": 1}).arithmetic == "losing fsn1 leaves 1 of 3 servers, quorum needs 2"
    assert loss({}).arithmetic == "there are no servers: no location to lose"
    assert spread(5, 3).arithmetic == "5 servers in 3 locations: losing one leaves 3 of 5, quorum needs 3"
    assert spread(4, 3).arithmetic.endswith("losing one leaves 2 of 4, quorum needs 3; 4 locations at least")
