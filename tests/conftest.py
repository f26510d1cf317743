"""What holds for every test."""

import pyinfra_cli  # noqa: F401  # isort: skip  # first, as in the program: it makes the standard library cooperative

from hypothesis import settings

settings.register_profile("house", deadline=None)  # no test asserts a time
settings.load_profile("house")
