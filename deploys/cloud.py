"""A Hetzner Cloud project: what servers stand in, the servers, what they get; and at the very end what is left over."""

from __future__ import annotations

from pyinfra import host, inventory
from pyinfra.api import deploy

from operations import (
    hcloud_firewall,
    hcloud_floating_ip,
    hcloud_load_balancer,
    hcloud_network,
    hcloud_placement_group,
    hcloud_pool,
    hcloud_primary_ip,
    hcloud_project,
    hcloud_quota,
    hcloud_ssh_key,
    hcloud_volume,
    hcloud_withdrawal,
)
from operations.hcloud_declared import Declared, declared
from unterbau.declaration import CloudProject


@deploy("cloud")
def cloud() -> None:
    """On the project's host. Each kind after what it stands on."""
    wanted, cluster = _wanted(), _project().cluster
    hcloud_project.told(declared=wanted, cluster=cluster, deletions=_deletions(), name="the project")
    hcloud_quota.enough(
        declared={kind: names for kind, names in wanted.names.items() if kind in hcloud_quota.FACTS},
        limits={str(kind): limit for kind, limit in _project().limits.items()},
        addresses=wanted.addresses,
        name="limits",
    )
    hcloud_network.declared(networks=wanted.networks, cluster=cluster, deletions=_deletions(), name="networks")
    hcloud_ssh_key.declared(keys=wanted.ssh_keys, cluster=cluster, name="SSH keys")
    hcloud_placement_group.declared(groups=wanted.placement_groups, cluster=cluster, name="placement groups")
    hcloud_firewall.declared(firewalls=wanted.firewalls, cluster=cluster, name="firewalls")
    hcloud_primary_ip.declared(addresses=wanted.primary_ips, cluster=cluster, name="primary IPs")
    hcloud_pool.servers(pools=wanted.pools, cluster=cluster, name="servers")
    hcloud_volume.declared(volumes=wanted.volumes, cluster=cluster, name="volumes")
    hcloud_floating_ip.declared(addresses=wanted.floating_ips, cluster=cluster, name="floating IPs")
    hcloud_load_balancer.declared(load_balancers=wanted.load_balancers, cluster=cluster, name="load balancers")


@deploy("cloud withdrawal")
def withdrawals() -> None:
    """On the project's host, after all other layers: whoever is deleted has left its clusters before."""
    hcloud_withdrawal.exactly(
        declared=_wanted().names,
        cluster=_project().cluster,
        deletions=_deletions(),
        nodes={one.data.node.name: host.state.is_host_in_limit(one) for one in inventory if one.data.get("leaving")},
        whole=all(host.state.is_host_in_limit(one) for one in inventory if one.data.get("node")),
        name="what is left over",
    )


def _project() -> CloudProject:
    found: CloudProject = host.data.cloud
    return found


def _wanted() -> Declared:
    names = ("networks", "ssh_keys", "firewalls", "load_balancers", "volumes", "primary_ips", "floating_ips")
    data = {name: host.data.get(name) for name in ("node_pools", *(f"cloud_{name}" for name in names))}
    return declared(_project(), data)


def _deletions() -> tuple[str, ...]:
    return host.data.get("cloud_deletions") or ()
