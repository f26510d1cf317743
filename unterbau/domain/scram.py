"""SCRAM-SHA-256 verifiers: what PostgreSQL keeps of a password, made here so that the password never goes there."""

from __future__ import annotations

import base64
import hashlib
import hmac

ITERATIONS = 4096  # what PostgreSQL takes itself. Source: scram-common.h, SCRAM_SHA_256_DEFAULT_ITERATIONS
SALT_BYTES = 16


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """`SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`, all in base64. Source: RFC 5802, 5803, 7677.

    ValueError for what SASLprep might change (RFC 4013): anything but printable ASCII.
    """
    if not password or not all(" " <= character <= "~" for character in password):
        raise ValueError("a password must be of printable ASCII characters, one at least")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
