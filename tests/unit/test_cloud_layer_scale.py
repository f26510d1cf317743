"""A hundred and twenty servers: groups of ten, pages of fifty, and no request more than these take."""

from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path

from tests.unit.cloud_checkout import KINDS, Checkout, Ran, checkout
from unterbau.domain.cloud_labels import labels

ONE = 'NodePool(name="servers", count=1, first_address="10.0.1.11", placement="none", **_three)'
LEFT = 'NodePool(name="left", count={each}, first_address="10.0.0.11", public_ipv6=False, **_three)'
RIGHT = (
    LEFT.replace("left", "right").replace("10.0.0", "10.1.0").replace("**_three", '**_three | {{"network": "more"}}')
)
PAGE = 50


def declared(cloud: Checkout, each: int) -> None:
    """Two pools, each in a network of its own: one takes a hundred servers at most."""
    cloud.declare(ONE, LEFT.format(each=each), RIGHT.format(each=each))


def pages(cloud: Checkout) -> dict[str, int]:
    """{path: requests that list all of the kind}."""
    return {f"/{kind}": max(1, math.ceil(len(cloud.all(kind)) / PAGE)) for kind in KINDS}


def looked(cloud: Checkout, servers: int) -> Ran:
    """A plan of that many that finds nothing to do."""
    began_s = time.monotonic()
    plan = cloud.plan(0)
    took_s = time.monotonic() - began_s
    print(f"{servers} servers: planned in {took_s:.1f} s with {len(plan.asked)} requests")  # noqa: T201
    assert plan.lists == {**pages(cloud), "/server_types": 1, "/pricing": 1}
    return plan


def test_requests_grow_with_pages_only(tmp_path: Path) -> None:
    with checkout(tmp_path) as cloud:
        declared(cloud, 30)
        cloud.apply()
        few = looked(cloud, 61)
        declared(cloud, 60)
        cloud.apply()
        many = looked(cloud, 121)
        assert len(many.asked) - len(few.asked) == 2  # one page more of servers, and one of addresses
        servers = cloud.all("servers")
        assert len(servers) == 121
        placed = Counter(one["placement_group"]["name"] for one in servers if one["placement_group"])
        assert Counter(placed.values()) == {10: 12}
        for one in servers:
            pool = one["name"].split("-")[1]
            assert labels("prod", pool, [pool]).items() <= one["labels"].items()
