"""The internal PKI: every node trusts our roots; a service's layer asks for its certificate with `leaf`."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, inventory
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta

from deploys.secrets import keyring
from operations import certificate
from unterbau.domain.root_rotation import signing
from unterbau.secrets.hidden import Hidden
from unterbau.secrets.pki import Usage


@deploy("pki")
def trust() -> OperationMeta:
    """Before any layer that asks for a certificate: a new root is known everywhere before it signs.

    `.will_change` of what is returned tells a service that reads roots only when it starts. A run that leaves nodes out
    retires no root: theirs may be what the left-out nodes still show.
    """
    trusted = roots()
    kept = {} if covers_every_node() else {name: root for name, root in all_roots().items() if name not in trusted}
    return certificate.trusted(roots=trusted, kept=kept, name="trusted roots")


@deploy("certificates")
def leaf(  # noqa: PLR0913  # the service, its account, and what it is reached by
    service: str,
    *,
    user: str,
    group: str,
    dns_names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    usages: Sequence[Usage] = ("server", "client"),
) -> OperationMeta:
    """Key and certificate of `service` on this node, /etc/unterbau/pki/<service>.pem, for the node's names and these.

    `.will_change` of what is returned tells the service's own operation that it will have to read the file again in
    this run; after a run that was killed, `facts.certificate.Served` tells it.
    """
    trusted = roots()
    names = list(trusted)
    rule = signing(len(trusted), every_node=covers_every_node())
    node = host.data.node
    return certificate.leaf(
        service=service,
        issuer=trusted[names[rule.signer]],
        issuer_name=names[rule.signer],
        accepted_issuers={name: trusted[name] for name in names[: rule.accepted]},
        dns_names=[node.name, f"{node.name}.{host.data.network.domain}", *dns_names],
        addresses=[str(node.address), *addresses],
        life_days=host.data.pki.leaf_life_days,
        user=user,
        group=group,
        usages=usages,
        all_nodes_trust_it=rule.all_nodes_trust_it,
        name=service,
        _serial=True,
    )


def covers_every_node() -> bool:
    """Whether no --limit leaves a node out of this run."""
    return all(host.state.is_host_in_limit(member) for member in inventory if member.data.get("node"))


def roots() -> dict[str, Hidden]:
    """Every root that is trusted now: see `_named`."""
    return _named(keyring().within(str(host.data.pki.root), host.data.pki.root_overlap_days))


def all_roots() -> dict[str, Hidden]:
    """Every root that there ever was: see `_named`."""
    secret = str(host.data.pki.root)
    return _named(keyring().versions(secret, keyring().version(secret)))


def _named(newest_first: Sequence[Hidden]) -> dict[str, Hidden]:
    """{name for the plan: key and certificate}, newest first."""
    secret = str(host.data.pki.root)
    newest = keyring().version(secret)
    return {f"{secret} version {newest - age}": root for age, root in enumerate(newest_first)}
