"""In what the certificates of a node are not as declared, in words of the plan. Pure: facts in, sentences out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from facts.certificate import BUNDLE, LeafState, path_of
from facts.config_file import FileState
from unterbau.secrets import pki
from unterbau.secrets.pki import Certificate, PkiError

BLOCKS = ["PRIVATE KEY", "CERTIFICATE"]
SHORT = 12  # hex digits of a fingerprint that people compare


class Difference(NamedTuple):
    """One attribute of a service's file, in words of the plan."""

    subject: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Declared:
    """What a service's file should be."""

    service: str
    issuer_name: str
    accepted: Mapping[str, str]
    leaf: pki.Leaf
    user: str
    group: str

    @property
    def path(self) -> str:
        """Where it lies."""
        return path_of(self.service)

    @property
    def names(self) -> str:
        """Its subject alternative names, in words."""
        return _names(self.leaf.dns_names, self.leaf.addresses)

    @property
    def validity(self) -> str:
        """In days: a plan says the same whatever the time of day it is made at."""
        return f"{self.leaf.life.days} days from its issue"


def _names(dns_names: Sequence[str], addresses: Sequence[str], others: Sequence[str] = ()) -> str:
    return ", ".join([*sorted(dns_names), *sorted(addresses), *others]) or "none"


def _dates(found: Certificate) -> str:
    return f"{found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d}"


def _root(found: Certificate) -> str:
    return f"{found.subject}, sha256 {found.fingerprint[:SHORT]}, {_dates(found)}"


def differences_of_leaf(state: LeafState, declared: Declared) -> list[Difference]:
    """Everything in which a service's file is not as declared; the validity is judged by the node's clock."""
    path, file = declared.path, state["file"]
    if not file["exists"]:
        return [Difference(path, None, f"{declared.names}; signed by {declared.issuer_name}; {declared.validity}")]
    if file["kind"] != "file":
        return [Difference(f"{path} kind", file["kind"], "file")]
    owner, wanted_owner = f"{file['user']}:{file['group']}", f"{declared.user}:{declared.group}"
    found = [
        Difference(f"{path} owner", owner, wanted_owner),
        Difference(f"{path} mode", file["mode"], "600"),
        Difference(f"{path} content", " + ".join(state["blocks"]) or "no PEM text", " + ".join(BLOCKS)),
        *_of_certificate(state, declared),
    ]
    return [difference for difference in found if difference.old != difference.new]


def _of_certificate(state: LeafState, declared: Declared) -> Iterator[Difference]:
    path, leaf = declared.path, declared.leaf
    if state["certificate"] is None:
        yield Difference(f"{path} certificate", "damaged", "intact")
        return
    found = pki.read_certificate(state["certificate"]["pem"])
    matches = state["key_fingerprint"] == found.key_fingerprint
    key = "damaged" if state["key_fingerprint"] is None else "the certificate's" if matches else "another one's"
    yield Difference(f"{path} key", key, "the certificate's")
    names = _names(found.dns_names, found.addresses, found.other_names)
    yield Difference(f"{path} names", names, declared.names)
    yield Difference(f"{path} subject", found.subject, f"CN={leaf.common_name}")
    usages = [*found.usages, *(["authority"] if found.is_authority else [])]
    yield Difference(f"{path} usages", ", ".join(usages) or "none", ", ".join(sorted(set(leaf.usages))))
    if pki.signed_by(found, declared.accepted.values()) is None:
        yield Difference(f"{path} issuer", _issuer(found, declared), declared.issuer_name)
    now = datetime.fromtimestamp(state["now_s"], UTC)
    if not found.not_before <= now <= found.renew_after or found.life > leaf.life:
        yield Difference(f"{path} validity", f"{_dates(found)}, due {found.renew_after:%Y-%m-%d}", declared.validity)


def _issuer(found: Certificate, declared: Declared) -> str:
    """Who has signed it, as far as it says so itself."""
    ours = {pki.read_certificate(pem).key_id for pem in declared.accepted.values()}
    forged = ", forged" if found.issuer_key_id in ours else ""
    return f"{found.issuer}, key {found.issuer_key_id[:SHORT] or 'unnamed'}{forged}"


def differences_of_bundle(found: FileState, roots: Mapping[str, str]) -> list[Difference]:
    """A new root goes by its name: one that is made by this run has another fingerprint in each plan."""
    said: list[Difference] = []
    if found["kind"] == "file":
        owner = f"{found['user']}:{found['group']} {found['mode']}"
        said = [Difference(f"{BUNDLE} owner and mode", owner, "root:root 644")]
    elif found["exists"]:
        said = [Difference(f"{BUNDLE} kind", found["kind"], "file")]
    try:
        there = {root.fingerprint: root for root in pki.read_certificates(found["content"] or "")}
    except PkiError:
        there = {}
        said.append(Difference(f"{BUNDLE} content", "damaged", "as declared"))
    wanted = {pki.read_certificate(pem).fingerprint: name for name, pem in roots.items()}
    said += [Difference(f"{BUNDLE} root", _root(root), None) for mark, root in there.items() if mark not in wanted]
    said += [Difference(f"{BUNDLE} root", None, name) for mark, name in wanted.items() if mark not in there]
    return [difference for difference in said if difference.old != difference.new]
