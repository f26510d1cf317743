"""What holds for every test."""

import unterbau.cooperative  # noqa: F401  # isort: skip  # first, as in the program: it makes the standard library cooperative

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # none asserts a time
settings.load_profile("house")


@pytest.fixture(autouse=True)
def no_run_of_another_test() -> Iterator[None]:
    """pyinfra keeps the run it is in for the whole process: what one test ran is none of the next one's."""
    yield
    for context in (ctx_state, ctx_inventory, ctx_config, ctx_host):
        context.reset()
