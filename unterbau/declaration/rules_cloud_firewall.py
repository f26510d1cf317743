"""Rules about a cloud project's firewalls: every public address has one, and none opens what is not the world's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from unterbau.declaration.cloud_firewall import API, SSH, CloudFirewall
from unterbau.declaration.cloud_names import is_world, sound
from unterbau.declaration.endpoint import KubernetesEndpoint
from unterbau.declaration.problems import Problem
from unterbau.declaration.rules_cloud import one_of, pool_names, pools
from unterbau.declaration.ssh import SshServer
from unterbau.declaration.view import View
from unterbau.domain.cloud_quota import FIREWALLS, FIREWALLS_A_SERVER


def _firewalls(view: View) -> list[CloudFirewall]:
    return view.of_clouds("cloud_firewalls")


def firewall_pools_there(view: View) -> Iterator[Problem]:
    """A firewall for a pool that is not there would protect nothing."""
    known = pool_names(view)
    for firewall in _firewalls(view):
        for name in firewall.pools:
            if name not in known:
                yield view.at(firewall, "pools", repr(name), one_of("NodePool", known, name))


def public_pools_guarded(view: View) -> Iterator[Problem]:
    """A public address without a firewall is open to the world. Source: Hetzner Cloud, "Firewalls" FAQ."""
    every = [data.get("cloud_firewalls", ()) for data in view.endpoint_data.values()]
    whole = all(isinstance(values, tuple) and all(map(view.collector.valid, values)) for values in every)
    guarded = {name for firewall in _firewalls(view) for name in firewall.pools}
    for pool in pools(view) if whole and view.readable else ():
        if (pool.public_ipv4 or pool.public_ipv6) and pool.name not in guarded:
            allowed = f'CloudFirewall(…, pools=("{pool.name}",)), or public_ipv4=False and public_ipv6=False'
            yield view.at(pool, "public_ipv4", "public addresses without a firewall", allowed)


def firewalls_fit(view: View) -> Iterator[Problem]:
    """Source: Hetzner Cloud, "Firewalls" FAQ: 5 a server, 50 a project."""
    firewalls = _firewalls(view)
    for firewall in firewalls[FIREWALLS : FIREWALLS + 1]:
        yield view.at(firewall, "name", f"{len(firewalls)} firewalls", f"at most {FIREWALLS} in a project")
    for pool in pools(view):
        own = [firewall.name for firewall in firewalls if pool.name in firewall.pools]
        if len(own) > FIREWALLS_A_SERVER:
            found = f"{len(own)} firewalls ({', '.join(own)})"
            yield view.at(pool, "name", found, f"at most {FIREWALLS_A_SERVER} for a server")


def own_ports_stay_shut(view: View) -> Iterator[Problem]:
    """SSH and the cluster's API are never the world's, wherever they listen; their usual ports no rule takes at all."""
    ports = _own_ports(view) - {SSH, API}
    for firewall in _firewalls(view):
        for one in (one for one in sound(firewall.rules) if one.direction == "in" and one.protocol == "tcp"):
            wide = [str(source) for source in one.sources if is_world(source)]
            for port in sorted(port for port in ports if wide and one.covers(port, port)):
                allowed = "ranges of your own: SSH and the cluster's API are never the world's"
                yield view.at(one, "sources", f"{wide[0]} to port {port}", allowed)


def _own_ports(view: View) -> set[int]:
    every = [data.get("ssh_server") for data in (*view.data.values(), *view.endpoint_data.values())]
    ssh = {one.port for one in every if isinstance(one, SshServer) and view.collector.valid(one)}
    api = {one.port for one in view.endpoints if isinstance(one, KubernetesEndpoint) and view.collector.valid(one)}
    return ssh | api


cloud_firewall_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    firewall_pools_there, public_pools_guarded, firewalls_fit, own_ports_stay_shut,
)  # fmt: skip
