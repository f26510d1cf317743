"""The cluster that the objects live in: that all its members vote, and whose certificates may deploy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyinfra import host
from pyinfra.api import HiddenValue, operation

from facts.vault import Cluster, RaftServers
from facts.vault_access import DeployRole
from operations.config_file import Commands
from operations.vault_object import call
from unterbau import changes
from unterbau.domain.unknown import KNOWN_AFTER_APPLY, AfterApply, Unknown

STATE = "sys/storage/raft/autopilot/state"
WITHIN_S = 60  # a new member is promoted after it was stable for 10 s


@operation()
def voting(members: Sequence[str]) -> Commands:
    """A gate: all these members vote and are healthy. Waits for it, so what comes after survives the loss of one.

    Args:
        members: names of the nodes.
    """
    found = host.get_fact(RaftServers)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot see the members of {host.name}: it could not be read; see the error above")
        return
    missing = [name for name in sorted(members) if _state(found, name) != "voter, healthy"]
    if not missing:
        host.noop(f"all {len(members)} members vote and are healthy")
        return
    for name in missing:
        changes.attribute(f"raft member {name}", _state(found, name), "voter, healthy")
    yield call("AWAIT", STATE, {"until": {"voters": sorted(members), "healthy": True}, "within_s": WITHIN_S})


def _state(found: Cluster | AfterApply, name: str) -> str | None:
    if isinstance(found, AfterApply):
        return KNOWN_AFTER_APPLY
    server = found["servers"].get(name)
    if server is None:
        return None
    votes = "voter" if server["status"] in ("leader", "voter") else server["status"]
    return f"{votes}, {'healthy' if server['healthy'] else 'not healthy'}"


@operation()
def deployers(authorities: Mapping[str, HiddenValue]) -> Commands:
    """Certificates of these authorities, and of no others, may log in to deploy.

    Args:
        authorities: {how the plan names it: certificate (PEM)}; hidden, because one that this run makes differs from
            plan to plan.
    """
    found = host.get_fact(DeployRole)
    if isinstance(found, Unknown):
        yield from changes.refuse(f"cannot say who may deploy to {host.name}: its role could not be read; see above")
        return
    if not isinstance(found, AfterApply) and not found:
        yield from changes.refuse(
            f"cannot say who may deploy to {host.name}: found no role auth/deploy/certs/deploy; the cluster was not "
            "initialised by unterbau: see the runbook on starting over"
        )
        return
    bundle = "\n".join(sorted(authority.unmask().strip() for authority in authorities.values()))
    if not isinstance(found, AfterApply) and certificates_of(found["authorities"]) == certificates_of(bundle):
        host.noop(f"{len(authorities)} authorities may sign logins of deploys")
        return
    changes.attribute("deployers", _names(found, authorities), ", ".join(sorted(authorities)))
    yield call("PUT", "auth/deploy/certs/deploy", {"certificate": HiddenValue(bundle)})


def _names(found: Mapping[str, str] | AfterApply, authorities: Mapping[str, HiddenValue]) -> str:
    return KNOWN_AFTER_APPLY if isinstance(found, AfterApply) else names_in(found["authorities"], authorities)


def names_in(bundle: str, authorities: Mapping[str, HiddenValue]) -> str:
    """Which of these authorities a bundle (PEM) holds, by name, and how many others."""
    there = certificates_of(bundle)
    known = {name: certificates_of(authority.unmask()) for name, authority in authorities.items()}
    names = sorted(name for name, certificates in known.items() if certificates <= there)
    others = len(there - set().union(*known.values()))
    return ", ".join([*names, *([f"{others} others"] if others else [])])


def certificates_of(pem: str) -> set[str]:
    """The certificates of a bundle, each as its base64 text."""
    blocks = pem.split("-----BEGIN CERTIFICATE-----")[1:]
    return {"".join(block.partition("-----END CERTIFICATE-----")[0].split()) for block in blocks}
