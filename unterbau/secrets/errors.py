"""What can go wrong with the bootstrap store."""

from __future__ import annotations


class StoreError(Exception):
    """A sentence: cannot + object + what was found + what to do next. It never quotes a value or a key."""
