"""The arguments that every operation takes, looked up once.

pyinfra evaluates their type hints at each call of an operation, a deploy and a fact, hundreds of times a plan.
"""

from __future__ import annotations

from functools import cache

from pyinfra.api import arguments, facts

_known = cache(arguments.all_global_arguments)


def use_known_arguments() -> None:
    """Make pyinfra use them in this process."""
    for module in (arguments, facts):
        module.all_global_arguments = _known  # type: ignore[attr-defined]
