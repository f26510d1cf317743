"""A found value as a report may show it: short, and never a secret."""

from __future__ import annotations

import re

PRIVATE_KEY = "(a private key, not shown)"
SENSITIVE = "(sensitive value)"
_PRIVATE = re.compile(r"PRIVATE KEY|b3BlbnNzaC1rZXktdjE|AGE-SECRET-KEY")
_SECRET_NAME = re.compile(r"passw|passphrase|secret|token|credential|private|api_?key", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9+/=_]{32,}")


def _token(match: re.Match[str]) -> str:
    text = match.group()
    mixed = re.search(r"[0-9]", text) and re.search(r"[a-z]", text) and re.search(r"[A-Z]", text)
    return f"({len(text)} characters, not shown)" if mixed else text


def plain(text: str, longest: int = 60) -> str:
    """Text without private keys and long tokens, on one line and at most so many characters of it."""
    if _PRIVATE.search(text):
        return PRIVATE_KEY
    line = _TOKEN.sub(_token, " ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def shown(value: object, name: str = "") -> str:
    """A value as found: its repr, masked. `name` is the field's: one that sounds secret is never shown."""
    if value is None:
        return "None"
    if _SECRET_NAME.search(name) and not isinstance(value, int):  # a number is a life, a length or a count
        return SENSITIVE
    if type(value).__name__ in {"HiddenValue", "SecretRef"}:
        return SENSITIVE
    if isinstance(value, dict):
        return "a dict"
    if type(value).__module__.startswith("unterbau.declaration"):
        return f"a {type(value).__name__}"
    return plain(repr(value))
