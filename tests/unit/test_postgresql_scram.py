"""The verifier that goes to PostgreSQL in a password's place, against the example of the RFC and PostgreSQL's own."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unterbau.domain import scram

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)
RFC_MESSAGE = (  # RFC 7677, 3: user "user", password "pencil"
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
RFC_PROOF = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
RFC_SERVER = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def parts(verifier: str) -> tuple[bytes, bytes, bytes]:
    """(salt, stored key, server key)."""
    kind, salt, keys = verifier.split("$")
    assert kind == "SCRAM-SHA-256"
    iterations, _, encoded = salt.partition(":")
    assert iterations == "4096"
    stored, _, server = keys.partition(":")
    return base64.b64decode(encoded), base64.b64decode(stored), base64.b64decode(server)


def test_the_example_of_the_rfc_logs_in_with_it() -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    found_salt, stored, server = parts(scram.verifier("pencil", salt))
    signature = hmac.digest(stored, RFC_MESSAGE, "sha256")
    client_key = bytes(a ^ b for a, b in zip(RFC_PROOF, signature, strict=True))
    assert found_salt == salt
    assert hashlib.sha256(client_key).digest() == stored
    assert hmac.digest(server, RFC_MESSAGE, "sha256") == RFC_SERVER


@pytest.mark.parametrize("password", ["", "pässword", "two\nlines", "nul\0", "\u00a0"])
def test_what_saslprep_might_change_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        scram.verifier(password, b"0" * 16)


@given(PRINTABLE, st.binary(min_size=16, max_size=16))
def test_a_verifier_needs_no_quoting_and_does_not_show_the_password(password: str, salt: bytes) -> None:
    made = scram.verifier(password, salt)
    assert parts(made)[0] == salt
    assert set(made) <= set("SCRAM-256$:+/=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert made != scram.verifier(password + "x", salt)
