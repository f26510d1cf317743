"""Certificates on a node: what a service's file holds, which roots are trusted, what a running process serves.

A private key never leaves the node: it is compared there, and only the digest of its public half is sent.
"""

from __future__ import annotations

import base64
import shlex
from datetime import datetime
from typing import TypedDict

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.config_file import FileState, parsed, reading
from unterbau.domain.unknown import UNKNOWN, Unknown
from unterbau.secrets.pki import Certificate, PkiError, read_certificate

FOLDERS = ("/etc/unterbau", "/etc/unterbau/pki")
BUNDLE = f"{FOLDERS[-1]}/ca.pem"
WITHOUT_TLS = "without TLS"
# OpenSSL 3.0 reads all of the system's authorities at each start of these two, though nothing is verified: 25 ms.
WITHOUT_AUTHORITIES = "SSL_CERT_FILE=/dev/null"
HANDSHAKE_S = 10  # on the node itself: whoever has not answered by then hangs


class CertificateState(TypedDict):
    """What a certificate says; times as "2026-11-22T00:36:29Z"."""

    subject: str
    issuer: str
    dns_names: list[str]
    addresses: list[str]
    not_before: str
    not_after: str
    renew_after: str  # from then on less than a third of its life is left
    fingerprint: str  # SHA-256, hex, as `Served` has it
    key_fingerprint: str  # SHA-256 of the public key, hex
    pem: str


class LeafState(TypedDict):
    """One service's file. Certificate and key are None if they are absent or damaged."""

    file: FileState  # without content
    leftovers: list[str]  # new files that a killed run left beside it
    blocks: list[str]  # what the file holds, in order: ["PRIVATE KEY", "CERTIFICATE"]
    certificate: CertificateState | None  # the first
    key_fingerprint: str | None  # of the public half of the first private key
    now_s: float  # the node's clock, seconds since 1970


def path_of(service: str) -> str:
    """Where the key and the certificate of a service lie."""
    return f"{FOLDERS[-1]}/{service}.pem"


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _state(found: Certificate) -> CertificateState:
    return {
        "subject": found.subject,
        "issuer": found.issuer,
        "dns_names": list(found.dns_names),
        "addresses": list(found.addresses),
        "not_before": _iso(found.not_before),
        "not_after": _iso(found.not_after),
        "renew_after": _iso(found.renew_after),
        "fingerprint": found.fingerprint,
        "key_fingerprint": found.key_fingerprint,
        "pem": found.pem,
    }


def _certificate(encoded: str) -> CertificateState | None:
    try:
        return _state(read_certificate(base64.b64decode(encoded, validate=True).decode()))
    except (ValueError, PkiError):
        return None


class Leaf(FactBase[LeafState | Unknown]):
    """The key and certificate of `service`. UNKNOWN without openssl, or if the file cannot be read."""

    @override
    @staticmethod
    def default() -> LeafState | Unknown:
        return UNKNOWN

    @override
    def command(self, service: str) -> str:
        """The text is held in a variable and given to openssl by the shell itself: it is in no argument."""
        path = path_of(service)
        left = f"find {FOLDERS[-1]} -maxdepth 1 -type f -name {shlex.quote(f'.{service}.pem.????????')}"
        text = r"""printf '%s\n' "$text" | """
        return (
            f"openssl version >/dev/null && date +now=%s.%N && {reading([path], content=False)} && "
            f"if [ -d {FOLDERS[-1]} ]; then {left} -printf 'left=%p\\n'; fi && f={shlex.quote(path)} && "
            'if [ -f "$f" ] && [ ! -L "$f" ]; then text=$(cat "$f") || exit 1; '
            rf"{text}sed -n 's/^-----BEGIN \([A-Z0-9 ]*\)-----$/block=\1/p'; "
            f"printf 'certificate=%s\\n' \"$({text}{WITHOUT_AUTHORITIES} openssl x509 2>/dev/null | base64 -w0)\"; "
            f"if key=$({text}openssl pkey -passin pass: -pubout 2>/dev/null); then "
            r"""digest=$(printf '%s\n' "$key" | openssl pkey -pubin -outform DER | sha256sum) || exit 1; """
            "printf 'key=%s\\n' \"${digest%% *}\"; fi; fi"
        )

    @override
    def process(self, output: list[str]) -> LeafState | Unknown:
        said = [line.partition("=")[::2] for line in output if line[:1] != "/"]
        values = dict(said)
        try:
            [(_, file)] = [parsed(line) for line in output if line.startswith("/")]
            now = float(values["now"])
        except (KeyError, ValueError) as error:
            raise FactProcessError(
                f"cannot read the state of a certificate: {error}; found {sorted(values)}"
            ) from error
        return {
            "file": file,
            "leftovers": sorted(value for name, value in said if name == "left"),
            "blocks": [value for name, value in said if name == "block"],
            "certificate": _certificate(values.get("certificate", "")),
            "key_fingerprint": values.get("key"),
            "now_s": now,
        }


class Trusted(FactBase[dict[str, FileState] | Unknown]):
    """{path: state} of the roots' bundle, with its content, and of the folders that it lies in."""

    @override
    @staticmethod
    def default() -> dict[str, FileState] | Unknown:
        return UNKNOWN

    @override
    def command(self) -> str:
        return reading([*FOLDERS, BUNDLE])

    @override
    def process(self, output: list[str]) -> dict[str, FileState] | Unknown:
        return dict(map(parsed, output))


class Served(FactBase[str | Unknown | None]):
    """The fingerprint (as `CertificateState` has it) of the certificate that a process of the node serves.

    None if nothing listens; WITHOUT_TLS if what listens offers no certificate; UNKNOWN if it does not answer.
    """

    @override
    @staticmethod
    def default() -> str | Unknown | None:
        return UNKNOWN

    @override
    def command(self, address: str, port: int, starttls: str | None = None, server_name: str | None = None) -> str:
        """`starttls`: "postgres", or None. Connection refused is errno 111 on Linux."""
        place = f"[{address}]:{int(port)}" if ":" in address else f"{address}:{int(port)}"
        protocol = f" -starttls {shlex.quote(starttls)}" if starttls else ""
        name = f"-servername {shlex.quote(server_name)}" if server_name else "-noservername"
        ask = f"openssl s_client -connect {shlex.quote(place)} {name}{protocol}"
        asked = f"{WITHOUT_AUTHORITIES} timeout {HANDSHAKE_S} {ask} </dev/null 2>&1"
        return (
            f"openssl version >/dev/null && said=$({asked}); code=$?; "
            "case $said in *'-----BEGIN CERTIFICATE-----'*) "
            rf"""printf '%s\n' "$said" | {WITHOUT_AUTHORITIES} openssl x509 -noout -fingerprint -sha256;; """
            "*connect:errno=111*) echo nothing listens;; "
            "*'no peer certificate available'*) echo without TLS;; "
            r"""*) printf 'no answer (exit %s): %s\n' "$code" "$said" >&2; exit 1;; esac"""
        )

    @override
    def process(self, output: list[str]) -> str | Unknown | None:
        if output in (["nothing listens"], [WITHOUT_TLS]):
            return WITHOUT_TLS if output == [WITHOUT_TLS] else None
        kind, _, fingerprint = output[-1].partition("=")
        if not kind.lower().startswith("sha256 fingerprint"):
            raise FactProcessError(f"cannot read which certificate is served: found {output[-1]!r}")
        return fingerprint.replace(":", "").lower()
