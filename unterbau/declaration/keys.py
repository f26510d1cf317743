"""OpenSSH public keys: what is one, and one that lies in a file."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from unterbau.declaration.masking import PRIVATE_KEY, plain

_TYPES = (
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
)  # fmt: skip
_LINE = re.compile(rf"({'|'.join(map(re.escape, _TYPES))}) ([A-Za-z0-9+/]+={{0,2}})( [^\0\r\n]*)?")
_RSA_BITS = 3072
EXPECTED = "an OpenSSH public key on one line, TYPE BASE64 COMMENT, such as ssh-ed25519 AAAA… name@host"


def public_key(text: str) -> str:
    """The line as given. Refuses private keys, options, damaged and weak keys with one sentence each."""
    line = _LINE.fullmatch(text)
    if not line:
        private = "PRIVATE KEY" in text
        raise ValueError("the public half: the file that ends in .pub" if private else EXPECTED)
    parts = _parts(line[2])
    if not parts or parts[0] != line[1].encode():
        raise ValueError(f"{EXPECTED} (the base64 part is damaged)")
    _strong(line[1], parts)
    return text


def _parts(blob: str) -> list[bytes]:
    """The length-prefixed fields of a key; [] if they don't add up. Source: RFC 4253 6.6, RFC 4251 5."""
    try:
        rest = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return []
    parts = []
    while rest:
        size = int.from_bytes(rest[:4])
        if len(rest) < 4 + size:
            return []
        parts.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return parts if len(parts) > 1 else []


def _strong(kind: str, parts: list[bytes]) -> None:
    """RSA of 3072 bits or more. Source: NIST SP 800-57 part 1, table 2 (128 bits of security)."""
    bits = int.from_bytes(parts[-1]).bit_length()
    if kind == "ssh-rsa" and bits < _RSA_BITS:
        raise ValueError(f"an RSA key of {_RSA_BITS} bits or more, or better ed25519 (this one has {bits})")


@dataclass(frozen=True)
class PublicKeyFile:
    """A public key that is read when it is used, so that other environments load without the file."""

    path: str
    made_by: str = ""

    def read(self) -> str:
        """The key's line; ValueError with what to do if it can't be had."""
        try:
            text = Path(self.path).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not text"
            raise ValueError(f"cannot read the public key {self.path}: {reason}{self._next_step()}") from None
        try:
            return public_key(text)
        except ValueError as error:
            raise ValueError(f"cannot use the public key {self.path}: {_kind(text)}; allowed: {error}") from None

    def _next_step(self) -> str:
        return f"; {self.made_by}" if self.made_by else ""


def _kind(text: str) -> str:
    shown = plain(text)
    return shown if shown == PRIVATE_KEY else "it is not a public key"


def public_key_file(path: str, made_by: str = "") -> PublicKeyFile:
    """A key in a file on the operator's machine. `made_by` says how it comes to be: "run `unterbau lab up`"."""
    return PublicKeyFile(path, made_by)
