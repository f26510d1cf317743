"""A declared cloud project becomes a real one: planned, made, left alone, shrunk, with the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cloud_checkout import SERVERS, WORKERS, Checkout, checkout


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Checkout]:
    with checkout(tmp_path) as found:
        yield found


def test_an_empty_project_is_planned_and_made_and_the_next_plan_finds_nothing(cloud: Checkout) -> None:
    cloud.declare(SERVERS, WORKERS.format(count=2))
    planned = cloud.plan(2)
    print(planned.out, planned.err)
    done = cloud.apply()
    print(done.out, done.err)
    again = cloud.plan(0)
    print(again.out)
    assert "No changes." in again.out
    assert max(again.lists.values()) == 1, again.lists
    print(again.lists)
