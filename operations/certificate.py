"""Certificates: the trusted roots on every node, and one file with key and certificate for each service.

A key is made by the controller, travels on stdin once, and is never read back. Whatever is wrong with a service's file,
it is replaced whole, key included. See docs/adr/0006-internal-pki.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pyinfra import host
from pyinfra.api import HiddenValue, StringCommand, operation

from facts.certificate import BUNDLE, FOLDERS, Leaf, LeafState, Trusted, path_of
from facts.config_file import FileState
from operations import config_file
from operations.certificate_drift import Declared, Difference, differences_of_bundle, differences_of_leaf
from operations.config_file import Commands, Wanted
from unterbau import changes
from unterbau.domain.unknown import Unknown
from unterbau.secrets import pki
from unterbau.secrets.errors import StoreError
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.pki import PkiError, Usage


def controller_clock() -> datetime:
    """The time here."""
    return datetime.now(UTC)


def clocks_differ(now_s: float, here: datetime) -> str | None:
    """Why nothing can be said about certificates: the clocks are too far apart. None if they are not."""
    there = datetime.fromtimestamp(now_s, UTC)
    if abs(there - here) <= pki.CLOCK_TOLERANCE:
        return None
    return (
        f"cannot judge certificates on {host.name}: found its clock at {there:%Y-%m-%d %H:%M} UTC, the controller's at "
        f"{here:%Y-%m-%d %H:%M} UTC, more than an hour apart; set the wrong one (`chronyc tracking` on the node)"
    )


def _wrong_arguments(service: str, leaf: pki.Leaf) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", service) or path_of(service) == BUNDLE:
        return f"cannot name a certificate's file by {service!r}: use a-z, 0-9 and '-', and not 'ca', the roots' own"
    if not leaf.usages or not (leaf.dns_names or leaf.addresses):
        return f"cannot issue a certificate for {service}: found no usage or no name at all; name a node or an address"
    return None


@operation()
def trusted(roots: Mapping[str, Hidden], *, kept: Mapping[str, Hidden] | None = None) -> Commands:
    """Every program of the node that is told so trusts these roots, and no other: /etc/unterbau/pki/ca.pem.

    Args:
        roots: {name for the plan: key and certificate, PEM}, newest first; only certificates are sent.
        kept: older ones that stay where they are, and are added nowhere.
    """
    state = host.get_fact(Trusted)
    if isinstance(state, Unknown):
        yield from changes.refuse(f"cannot converge {BUNDLE} on {host.name}: it could not be read; see above")
        return
    if sentence := _in_the_way(state):
        yield from changes.refuse(sentence)
        return
    try:
        wanted = _certificates(roots) | _still_there(state[BUNDLE], _certificates(kept or {}))
    except (PkiError, StoreError) as error:
        yield from changes.refuse(f"cannot make {host.name} trust the roots: {error}")
        return
    commands = [*_folders(state), *_bundle(state[BUNDLE], wanted)]
    if not commands:
        host.noop(f"{BUNDLE} has the trusted roots: {', '.join(wanted)}")
    yield from commands


def _certificates(roots: Mapping[str, Hidden]) -> dict[str, str]:
    """Here, not in a deploy: while a run executes, a root that was not stored raises StoreError."""
    return {name: pki.root_certificate(root) for name, root in roots.items()}


def _still_there(bundle: FileState, kept: Mapping[str, str]) -> dict[str, str]:
    return {name: pem for name, pem in kept.items() if pem in (bundle["content"] or "")}


def _in_the_way(state: Mapping[str, FileState]) -> str | None:
    for folder in FOLDERS:
        if state[folder]["kind"] not in ("directory", "absent"):
            return (
                f"cannot make the folder {folder} on {host.name}: found a {state[folder]['kind']} there; move it away"
            )
    return config_file.obstacle({BUNDLE: state[BUNDLE]})


def _folders(state: Mapping[str, FileState]) -> Iterator[StringCommand]:
    """Services look for their files in them; only root may put files there."""
    for folder in FOLDERS:
        found = state[folder]
        old = f"{found['user']}:{found['group']} {found['mode']}" if found["exists"] else None
        if old != "root:root 755":
            changes.attribute(folder, old, "root:root 755")
            yield StringCommand(f"install -d -o root -g root -m 755 {folder}")


def _bundle(found: FileState, roots: Mapping[str, str]) -> list[StringCommand]:
    wanted = Wanted(HiddenValue("".join(roots.values())))  # a new root's length differs from plan to plan
    said = differences_of_bundle(found, roots)
    if not said and found["sha256"] != wanted.sha256:
        said = [Difference(f"{BUNDLE} content", "other text or another order", "as declared")]
    _say(said)
    return [config_file.write(BUNDLE, wanted)] if said else []


def _say(differences: Sequence[Difference]) -> None:
    for difference in differences:
        changes.attribute(*difference)


@operation()
def leaf(  # noqa: PLR0913  # what a certificate says, and to whom it belongs
    service: str,
    issuer: Hidden,
    issuer_name: str,
    accepted_issuers: Mapping[str, Hidden],
    *,
    dns_names: Sequence[str],
    addresses: Sequence[str],
    life_days: int,
    user: str,
    group: str,
    usages: Sequence[Usage] = ("server", "client"),
    all_nodes_trust_it: bool = True,
) -> Commands:
    """`service` has a key and a certificate in /etc/unterbau/pki/<service>.pem, that nobody else can read.

    Args:
        service: the file's name and the certificate's common name.
        issuer: who signs a new one: key and certificate, PEM.
        issuer_name: its name for the plan.
        accepted_issuers: {name: key and certificate}; what any of them signed stays until its last third.
        dns_names: what it is reached by; one of them or of the addresses at least.
        addresses: IPv4 or IPv6.
        life_days: of a new one; one that lives longer is replaced.
        user: the service's account.
        group: its group.
        usages: "server", "client".
        all_nodes_trust_it: False for a root that is new to the nodes: then nothing is signed once one of them failed.
    """
    state = host.get_fact(Leaf, service=service)
    if isinstance(state, Unknown):
        yield from changes.refuse(
            f"cannot converge the certificate of {service} on {host.name}: it could not be read; see the error above"
        )
        return
    try:
        asked = pki.Leaf(
            service, tuple(dns_names), pki.canonical_addresses(addresses), timedelta(days=life_days), tuple(usages)
        )
        declared = Declared(service, issuer_name, _certificates(accepted_issuers), asked, user, group)
        yield from _converge(state, declared, issuer, all_nodes_trust_it)
    except (PkiError, StoreError) as error:
        yield from changes.refuse(f"cannot issue the certificate of {service} for {host.name}: {error}")


def _converge(state: LeafState, declared: Declared, issuer: Hidden, all_nodes_trust_it: bool) -> Commands:
    said = differences_of_leaf(state, declared)
    here = controller_clock()
    if sentence := _refusal(state, declared, here, waiting=bool(said) and not all_nodes_trust_it):
        yield from changes.refuse(sentence)
        return
    commands = [_issued(declared, issuer, here)] if said else []
    _say(said)
    for path in state["leftovers"]:
        changes.attribute(path, "left by a run that was killed", None)
        commands.append(StringCommand("rm", "-f", shlex.quote(path)))
    if not commands:
        host.noop(f"{declared.path} is as declared")
    yield from commands


def _issued(declared: Declared, issuer: Hidden, now: datetime) -> StringCommand:
    """It replaces the old one only if this node, by its own roots and its own clock, would accept it."""
    check = f"openssl verify -x509_strict -no-CApath -no-CAstore -CAfile {BUNDLE}"
    text = pki.issue(issuer, declared.leaf, now)
    return config_file.write(declared.path, Wanted(text, "600", declared.user, declared.group, check))


def _refusal(state: LeafState, declared: Declared, here: datetime, *, waiting: bool) -> str | None:
    failed = sorted(str(member.name) for member in host.state.failed_hosts) if waiting else []
    if failed:
        return (
            f"cannot sign the certificate of {declared.service} on {host.name} with {declared.issuer_name}: "
            f"{', '.join(failed)} failed in this run and may not trust it yet; put that right and apply again"
        )
    return (
        _wrong_arguments(declared.service, declared.leaf)
        or clocks_differ(state["now_s"], here)
        or config_file.obstacle({declared.path: state["file"]})
    )
