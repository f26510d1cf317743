"""How a declared secret is made."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unterbau.declaration.secret import CertificateAuthority, Generator, Password, RandomKey

# Nothing that a shell, a URL, an INI file or a command line reads as anything but itself.
_PUNCTUATION = "+,.=^_"
ALPHABETS = {
    "letters-digits": string.ascii_letters + string.digits,
    "letters-digits-punctuation": string.ascii_letters + string.digits + _PUNCTUATION,
    "hex": "0123456789abcdef",
}


def make(kind: Generator, now: datetime) -> str:
    """A new value, from the system's random numbers."""
    return _MAKERS[type(kind).__name__](kind, now)


def described(kind: Generator) -> str:
    """What will be made, in words: 'password of 32 characters'."""
    return _WORDS[type(kind).__name__](kind)


def _password(kind: Password, now: datetime) -> str:  # noqa: ARG001  # all makers are called alike
    """Every group of characters of its alphabet is in it: many a policy wants that."""
    alphabet = ALPHABETS[kind.alphabet]
    groups = [] if kind.alphabet == "hex" else [string.ascii_lowercase, string.ascii_uppercase, string.digits]
    if kind.alphabet == "letters-digits-punctuation":
        groups.append(_PUNCTUATION)
    while True:
        value = "".join(secrets.choice(alphabet) for _ in range(kind.length))
        if all(set(group) & set(value) for group in groups):
            return value


def _random_key(kind: RandomKey, now: datetime) -> str:  # noqa: ARG001  # all makers are called alike
    return base64.b64encode(secrets.token_bytes(kind.size_bytes)).decode()


def _authority(kind: CertificateAuthority, now: datetime) -> str:
    from unterbau.secrets.pki import new_root  # noqa: PLC0415  # `cryptography` is slow to import

    return new_root(kind.common_name, kind.life_days, now).unmask()


_MAKERS: dict[str, Callable[..., str]] = {
    "Password": _password,
    "RandomKey": _random_key,
    "CertificateAuthority": _authority,
}
_WORDS: dict[str, Callable[..., str]] = {
    "Password": lambda kind: f"password of {kind.length} characters",
    "RandomKey": lambda kind: f"random key of {kind.size_bytes} bytes",
    "CertificateAuthority": lambda kind: f"authority '{kind.common_name}' for {kind.life_days} days",
}
