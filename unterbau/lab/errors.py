"""What the lab says when it can't."""

from __future__ import annotations


class LabError(Exception):
    """A sentence for the operator: cannot + object + what was found + what to do next."""
