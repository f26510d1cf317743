"""What an interrupted run may have left of a change that could have locked us out; see operations/guard.py."""

from __future__ import annotations

GUARD_DIR = "/var/lib/unterbau/guard"


def left_command(what: str) -> str:
    """Shell text for a fact: prints `guard left` if a change was never proven nor reverted, else `guard none`."""
    return f"if test -d {GUARD_DIR}/{what}/saved; then echo guard left; else echo guard none; fi"
