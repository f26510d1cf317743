"""The internal PKI: roots, leaves and client certificates as PEM text. Pure: reads no file and no clock but `now`.

EC P-256 throughout. An issuer, a leaf and a client certificate are one text each: a PKCS #8 key, then its certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from unterbau.secrets.hidden import Hidden

Usage = Literal["server", "client"]

USAGES: dict[Usage, x509.ObjectIdentifier] = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}
CLOCK_TOLERANCE = timedelta(hours=1)  # a certificate is valid from this long ago: on every node whose clock is accepted
RENEWAL_SHARE = 3  # renewed when less than 1/3 of the life is left
UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
LONGEST_COMMON_NAME = 64  # characters. Source: RFC 5280, ub-common-name


class PkiError(Exception):
    """A certificate that cannot be made or read, as a sentence; it never quotes the text."""


@dataclass(frozen=True)
class Leaf:
    """What a certificate is asked to say."""

    common_name: str
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()  # IPv4 or IPv6, without a prefix length
    life: timedelta = timedelta(days=90)
    usages: tuple[Usage, ...] = ("server", "client")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Times are UTC; names are sorted; fingerprints are lower-case hex without colons."""

    subject: str  # RFC 4514: "CN=openbao"
    issuer: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    other_names: tuple[str, ...]  # what kinds of further subject alternative names there are: never in ours
    usages: tuple[str, ...]  # "server", "client", or a dotted number
    not_before: datetime
    not_after: datetime
    serial: int
    fingerprint: str  # SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` has it
    key_fingerprint: str  # SHA-256 of the public key (SubjectPublicKeyInfo, DER)
    key_id: str  # subject key identifier; "" if there is none
    issuer_key_id: str  # authority key identifier: the key_id of the issuer; "" if there is none
    is_authority: bool
    pem: str

    @property
    def life(self) -> timedelta:
        """How long it is valid altogether."""
        return self.not_after - self.not_before

    @property
    def renew_after(self) -> datetime:
        """When less than a third of the life is left."""
        return self.not_after - self.life / RENEWAL_SHARE


def new_root(common_name: str, life_days: int, now: datetime) -> Hidden:
    """A self-signed root that signs leaves only (no authority below it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, start = _name(common_name), _seconds(now) - CLOCK_TOLERANCE
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(name, key, start, start + timedelta(days=life_days))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return _together(key, builder.sign(key, hashes.SHA256()))


def issue(issuer: Hidden, leaf: Leaf, now: datetime) -> Hidden:
    """A new key and its certificate, signed by `issuer`. It ends with its issuer if that ends sooner.

    Errors: PkiError if the issuer is none, or not valid now, or the names are not names.
    """
    authority_key, authority = _issuer(issuer, now)
    key, start = ec.generate_private_key(ec.SECP256R1()), _seconds(now) - CLOCK_TOLERANCE
    end = min(start + leaf.life, authority.not_valid_after_utc)
    builder = (
        _builder(_name(leaf.common_name), key, start, end)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([USAGES[usage] for usage in sorted(set(leaf.usages))]), critical=False)
        .add_extension(_identifier_of(authority), critical=False)
    )
    names = _alternative_names(leaf)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _together(key, builder.sign(authority_key, hashes.SHA256()))


def client_certificate(ca: Hidden, common_name: str, life: timedelta, now: datetime | None = None) -> Hidden:
    """A key and a certificate to log in with: no names of servers, client authentication only.

    `life` counts from now: what the tolerance of clocks adds lies in the past.
    """
    leaf = Leaf(common_name, life=life + CLOCK_TOLERANCE, usages=("client",))
    return issue(ca, leaf, now or datetime.now(UTC))


def root_certificate(authority: Hidden) -> str:
    """The public half of an issuer: its certificate, PEM. Errors: PkiError."""
    return _pem(_authority(authority.unmask()))


def read_certificate(pem: str) -> Certificate:
    """The first certificate of a text, whatever stands around it. Errors: PkiError."""
    return _read(_first(pem))


def read_certificates(pem: str) -> list[Certificate]:
    """Every certificate of a bundle, in its order; [] if there is none. Errors: PkiError if one is damaged."""
    if "-----BEGIN CERTIFICATE-----" not in pem:
        return []
    try:
        return [_read(found) for found in x509.load_pem_x509_certificates(pem.encode())]
    except ValueError:
        raise PkiError(
            "cannot read a certificate: found damaged PEM text in its bundle; replace it by `unterbau apply`"
        ) from None


def signed_by(certificate: Certificate, authorities: Iterable[str]) -> Certificate | None:
    """The authority (PEM) whose key has really signed `certificate`, or None: a name or an identifier is no proof."""
    leaf = _first(certificate.pem)
    for pem in authorities:
        authority = _first(pem)
        try:
            leaf.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return _read(authority)
    return None


def canonical_addresses(addresses: Sequence[str]) -> tuple[str, ...]:
    """Addresses as `Certificate.addresses` has them: shortest spelling, sorted. Errors: PkiError."""
    try:
        return tuple(sorted({str(ip_address(address)) for address in addresses}))
    except ValueError as error:
        raise PkiError(f"cannot issue a certificate for an address: {error}; write one such as 10.0.0.1") from None


def _seconds(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0)  # certificates know no fractions


def _name(common_name: str) -> x509.Name:
    if not 0 < len(common_name) <= LONGEST_COMMON_NAME:
        raise PkiError(
            f"cannot name a certificate {common_name!r}: found {len(common_name)} characters, X.509 allows 1 to "
            f"{LONGEST_COMMON_NAME}; choose a shorter common name"
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, crl_sign=crl_sign,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _identifier_of(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _alternative_names(leaf: Leaf) -> list[x509.GeneralName]:
    try:
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in sorted(set(leaf.dns_names))]
    except ValueError as error:
        raise PkiError(f"cannot issue a certificate for a name: {error}; write an ASCII host name") from None
    return [*names, *(x509.IPAddress(ip_address(address)) for address in canonical_addresses(leaf.addresses))]


def _issuer(issuer: Hidden, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    pem: str = issuer.unmask()
    certificate = _authority(pem)
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise PkiError(
            f"cannot sign with {certificate.subject.rfc4514_string()}: found no key of its own beside the certificate; "
            "set the secret to a PKCS #8 key followed by its certificate, or rotate it"
        )
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise PkiError(
            f"cannot sign with {certificate.subject.rfc4514_string()}: found it valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d} only; "
            "rotate it with `unterbau secrets rotate NAME --env ENV`"
        )
    return key, certificate


def _printable(text: str) -> str:
    """Names in a stranger's certificate may hold anything, also what moves a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _first(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise PkiError("cannot read a certificate: found no intact one in the PEM text; issue it again") from None


def _authority(pem: str) -> x509.Certificate:
    try:
        return _first(pem)
    except PkiError:
        raise PkiError(
            "cannot use an authority: found no intact certificate in its secret; set it to a PKCS #8 key followed "
            "by its certificate, or rotate it"
        ) from None


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _together(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Hidden:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Hidden(private + _pem(certificate))


def _read(found: x509.Certificate) -> Certificate:
    try:
        extensions = {type(extension.value): extension.value for extension in found.extensions}
        public = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UNREADABLE as error:
        raise PkiError(f"cannot read a certificate: {_printable(str(error))}; issue it again") from None
    names = extensions.get(x509.SubjectAlternativeName, x509.SubjectAlternativeName([]))
    usages = extensions.get(x509.ExtendedKeyUsage, ())
    own, authority = extensions.get(x509.SubjectKeyIdentifier), extensions.get(x509.AuthorityKeyIdentifier)
    constraints = extensions.get(x509.BasicConstraints)
    known = {oid: usage for usage, oid in USAGES.items()}
    return Certificate(
        subject=_printable(found.subject.rfc4514_string()),
        issuer=_printable(found.issuer.rfc4514_string()),
        dns_names=tuple(sorted(map(_printable, names.get_values_for_type(x509.DNSName)))),
        addresses=tuple(sorted(str(address) for address in names.get_values_for_type(x509.IPAddress))),
        other_names=tuple(sorted(type(n).__name__ for n in names if not isinstance(n, x509.DNSName | x509.IPAddress))),
        usages=tuple(sorted(known.get(oid, oid.dotted_string) for oid in usages)),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        serial=found.serial_number,
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
        key_fingerprint=hashlib.sha256(public).hexdigest(),
        key_id=own.digest.hex() if own else "",
        issuer_key_id=(authority.key_identifier or b"").hex() if authority else "",
        is_authority=bool(constraints and constraints.ca),
        pem=_pem(found),
    )
