"""Secrets by name: what is made when it is missing, and how long it may be used. Never a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from unterbau.declaration.base import Declaration, made_of
from unterbau.declaration.explain import rule
from unterbau.declaration.fields import matching
from unterbau.declaration.problems import Inert

SecretName = Annotated[
    str,
    Field(max_length=128),
    matching(r"[a-z0-9-]+(/[a-z0-9-]+)*", "a secret's name: a-z, 0-9 and '-', with '/' between (vault/seal-key)"),
]
Alphabet = Literal["letters-digits", "letters-digits-punctuation", "hex"]
CommonName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", "a common name: 1 to 64 letters, digits, ' ._-'")
]


@dataclass(frozen=True)
class SecretRef:
    """The name of a secret in the environment's store; its value is read when a run needs it."""

    name: str

    def to_json(self) -> str:
        """As pyinfra's own JSON output shows it."""
        return f"SecretRef({self.name})"


def _reference(value: object) -> object:
    """Whatever else stands there may be the secret itself: it is not shown."""
    if not isinstance(value, SecretRef | Inert):
        told = {"found": "no SecretRef (not shown)", "allowed": 'SecretRef("NAME"): a secret\'s name, never its value'}
        raise PydanticCustomError("reference", "{allowed}", told)
    return value


Ref = Annotated[SecretRef, PlainValidator(_reference)]


class Password(Declaration):
    """A random password."""

    length: int = Field(32, ge=16, le=256, description="characters")
    alphabet: Alphabet = Field("letters-digits", description='"letters-digits", "letters-digits-punctuation" or "hex"')


class RandomKey(Declaration):
    """Random bytes, kept as base64 text."""

    size_bytes: int = Field(32, ge=16, le=512, description="bytes before they are written as base64")


class CertificateAuthority(Declaration):
    """A key (EC P-256) and the certificate of an authority that signs for itself."""

    common_name: CommonName = Field(description="the authority's name in its certificate")
    life_days: int = Field(3650, ge=2, le=7300, description="how long its certificate is valid")


Generator = Annotated[Password | RandomKey | CertificateAuthority, made_of(Password, RandomKey, CertificateAuthority)]


class Secret(Declaration):
    """One secret. With a `kind` it is made when it is missing, and anew when its period is over."""

    name: SecretName = Field(description="its name in the store, for example vault/seal-key")
    kind: Generator | None = Field(None, description="how it is made; None: by `unterbau secrets set NAME --env ENV`")
    rotate_after_days: int | None = Field(None, ge=1, le=7300, description="its period; None: rotated by hand only")

    @model_validator(mode="after")
    def _outlives_its_period(self) -> Secret:
        """An authority that ends before it is replaced would leave leaves without one."""
        period, kind = self.rotate_after_days, self.kind
        if isinstance(kind, CertificateAuthority) and period is not None and period >= kind.life_days:
            raise rule("rotate_after_days", str(period), f"fewer days than its life of {kind.life_days}")
        return self


def is_secrets(name: str) -> bool:
    """Whether a data name holds secrets: `secrets`, or `secrets_` and the layer they belong to."""
    return name == "secrets" or name.startswith("secrets_")


def secrets_of(host_data: Any) -> tuple[Secret, ...]:
    """All secrets of a host's data, by name, so that an environment replaces only what differs.

    `host_data` is pyinfra's `host.data` or a mapping.
    """
    data: Mapping[str, Any] = host_data if isinstance(host_data, Mapping) else host_data.dict()
    secrets = {id(secret): secret for name in sorted(data) if is_secrets(name) for secret in data[name]}
    return tuple(sorted(secrets.values(), key=lambda secret: str(secret.name)))


class Pki(Declaration):
    """The internal certificates: who signs, how long they live."""

    root: SecretName = Field("pki/root", description="the secret with the root authority")
    leaf_life_days: int = Field(90, ge=1, le=397, description="life of a leaf; renewed in its last third")
    root_overlap_days: int = Field(30, ge=1, le=3650, description="how long a replaced root stays trusted")
