"""What a project holds, before the first thing is created."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain.cloud_quota import attachments, preflight

KINDS = ["servers", "primary_ips", "volumes"]


def test_the_arithmetic_is_said() -> None:
    there, more = {"servers": 8, "primary_ips": 8, "volumes": 0, "firewalls": 49}, {"servers": 4, "primary_ips": 4}
    servers, addresses = preflight(there, more, {"servers": 10})
    assert (servers.passed, servers.arithmetic) == (
        False,
        "servers: 8 there + 4 to create = 12, 2 more than the project's 10; have the limit raised, or declare less",
    )
    assert (addresses.passed, addresses.arithmetic) == (
        True,
        "primary ips: 8 there + 4 to create = 12, the project's limit is not declared",
    )
    [firewalls] = preflight(there, {"firewalls": 2}, {})
    assert not firewalls.passed


def test_a_number_that_is_not_known_is_not_none() -> None:
    with pytest.raises(ValueError, match="cannot check the quota of volumes: how many there are is not known"):
        preflight({"servers": 1}, {"servers": 1, "volumes": 2}, {})


@given(
    st.fixed_dictionaries({kind: st.integers(0, 20) for kind in KINDS}),
    st.dictionaries(st.sampled_from(KINDS), st.integers(-5, 20)),
    st.dictionaries(st.sampled_from(KINDS), st.integers(0, 30)),
)
def test_no_more_than_the_limit_and_less_never_refused(
    there: dict[str, int], more: dict[str, int], limits: dict[str, int]
) -> None:
    found = preflight(there, more, limits)
    grows = [kind for kind, number in more.items() if number > 0]
    fine = [len([*range(there[kind]), *range(more[kind])]) <= limits.get(kind, 10**6) for kind in grows]
    assert [verdict.passed for verdict in found] == fine


@pytest.mark.parametrize(
    ("servers", "balancers", "passed", "said"),
    [
        ({"servers": 3, "workers": 97}, 0, True, "3 (servers) + 97 (workers) = 100 attachments, a network has 100"),
        ({"servers": 3, "workers": 97}, 1, False, "3 (servers) + 97 (workers) + 1 load balancer = 101 attachments, a "),
        ({}, 2, True, "2 load balancers = 2 attachments, a network has 100"),
        ({}, 0, True, "0 = 0 attachments, a network has 100"),
    ],
)
def test_attachments(servers: dict[str, int], balancers: int, passed: bool, said: str) -> None:
    verdict = attachments(servers, balancers)
    assert verdict.passed is passed
    assert verdict.arithmetic.startswith(said)
