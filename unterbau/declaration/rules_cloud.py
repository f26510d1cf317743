"""Rules about cloud projects and pools: what is declared is read, named once, and keeps the quorum that it promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from unterbau.declaration.base import Declaration
from unterbau.declaration.cloud import CloudProject
from unterbau.declaration.cloud_names import sound
from unterbau.declaration.cloud_nodes import project_of
from unterbau.declaration.cloud_pool import NodePool
from unterbau.declaration.data import CLOUD, CLOUD_DELETIONS
from unterbau.declaration.endpoint import SecretStore
from unterbau.declaration.explain import near
from unterbau.declaration.fields import repeated
from unterbau.declaration.flow import CONTROLLERS, PODS
from unterbau.declaration.inventory import endpoint_of
from unterbau.declaration.problems import Problem
from unterbau.declaration.view import View
from unterbau.domain import placement
from unterbau.domain.cloud_labels import LONGEST_NAME, number_of, server_name
from unterbau.domain.quorum import needed

SERVERS = "servers"
OF_A_NODE = ("server", "data")
# As `cloud_deletions` calls what is declared under these names.
DELETABLE = {
    "network": "cloud_networks", "ssh-key": "cloud_ssh_keys", "firewall": "cloud_firewalls",
    "load-balancer": "cloud_load_balancers", "volume": "cloud_volumes", "primary-ip": "cloud_primary_ips",
    "floating-ip": "cloud_floating_ips",
}  # fmt: skip


def projects(view: View) -> list[CloudProject]:
    """Valid ones; there is one at most, which `endpoints_once` sees to."""
    return [one for one in view.endpoints if isinstance(one, CloudProject) and view.collector.valid(one)]


def pools(view: View) -> list[NodePool]:
    """Valid ones."""
    return view.of_clouds("node_pools")


def pool_names(view: View) -> list[str]:
    """Of all pools, also of those with a problem of their own."""
    return cloud_names(view, "node_pools")


def cloud_names(view: View, data_name: str) -> list[str]:
    """Names under a tuple's data name, also of declarations with a problem of their own."""
    tuples = [data.get(data_name) for data in view.endpoint_data.values()]
    found = [getattr(one, "name", None) for values in tuples if isinstance(values, tuple) for one in values]
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


def one_of(kind: str, known: list[str], name: str) -> str:
    """What is allowed where a name is one that nothing has."""
    return f"a {kind}: {', '.join(known) or 'none'}{near(name, known)}"


def cloud_secrets(view: View) -> Iterator[tuple[Declaration, str, str]]:
    """(declaration, field, name) of every secret that is named."""
    yield from ((one, "token", one.token.name) for one in projects(view))


def token_has_a_place(view: View) -> Iterator[Problem]:
    """The API's token is in the environment's store."""
    stores = [one for one in view.endpoints if isinstance(one, SecretStore)]
    for project in projects(view) if view.inventory.complete and not stores else ():
        allowed = "endpoints(SecretStore(…)) in a group of the inventory too"
        yield view.at(project, "token", "no SecretStore", allowed)


def cloud_data_read(view: View) -> Iterator[Problem]:
    """Only cloud projects read these names: elsewhere they would be nothing, silently."""
    clouds = [one for one in view.endpoints if isinstance(one, CloudProject)]
    reads = {name for one in clouds for name in view.endpoint_data.get(one.name, {})}
    every = [*view.data.values(), *view.endpoint_data.values()]
    for name in (*CLOUD, CLOUD_DELETIONS) if view.inventory.complete else ():
        if name not in reads and any(name in data for data in every):
            found = "values that no CloudProject reads" if clouds else "values without a CloudProject"
            yield view.here(name, found, _where_read(view, bool(clouds)))


def _where_read(view: View, declared: bool) -> str:
    if declared:
        return f"them in group_data/all.py, group_data/{view.inventory.path.stem}.py or the file of the project's group"
    return "endpoints(CloudProject(…)) in a group of the inventory too"


def nodes_of_a_project(view: View) -> Iterator[Problem]:
    """`nodes_of` names a project that is declared; else its group would have no nodes, silently."""
    known = [str(one.name) for one in view.endpoints if isinstance(one, CloudProject)]
    for group, value in view.inventory.names.items() if view.inventory.complete else ():
        for project in filter(None, map(project_of, value if isinstance(value, list) else ())):
            if project not in known:
                yield view.here(group, f"nodes_of({project!r})", one_of("CloudProject", known, project))


def allowances_of_nobody(view: View) -> Iterator[Problem]:
    """What may be deleted is declared no more: else an old allowance meets a later slip in a pool's count or prefix."""
    for project in projects(view):
        there = {
            f"{kind}/{name}"
            for kind, data_name in DELETABLE.items()
            for name in (one.name for one in view.of_clouds(data_name))
        }
        there |= {
            f"{kind}/{name}" for pool in pools(view) for name in pool.servers(project.cluster) for kind in OF_A_NODE
        }
        for name in view.endpoint_data.get(project.name, {}).get(CLOUD_DELETIONS, ()):
            if name in there:
                yield view.here(CLOUD_DELETIONS, f"{name!r}, which is declared", "only what is declared no more")


def cloud_names_once(view: View) -> Iterator[Problem]:
    """Objects of a project are known by name, each kind by itself; a key may be there under one name only."""
    for data_name in CLOUD:
        for again in repeated(view.of_clouds(data_name), lambda one: one.name):
            yield view.at(again, "name", f"{again.name!r} again", "each name once")
    for again in repeated(view.of_clouds("cloud_ssh_keys"), lambda one: one.public_key):
        yield view.at(again, "public_key", "a key again", "each key once: the API refuses it under another name")


def pool_groups_free(view: View) -> Iterator[Problem]:
    """A group of a pool means its servers, and nothing else."""
    reserved = ("all", CONTROLLERS, PODS, view.inventory.path.stem)
    lists = {name: value for name, value in view.inventory.names.items() if isinstance(value, list)}
    of_endpoints = [name for name, value in lists.items() if any(map(endpoint_of, value))]
    for pool in pools(view):
        for group in pool.every_group:
            if group in (*reserved, *of_endpoints):
                field = "groups" if group in pool.groups else "name" if group == pool.name else "server_groups"
                yield view.at(pool, field, repr(group), "another group's name: this one means something else already")


def server_names_fit(view: View) -> Iterator[Problem]:
    """A server's name is a host name of one label, and its volumes' begin with it. Source: RFC 1123 2.1."""
    for project in projects(view):
        for pool in pools(view):
            longest = server_name(pool.named(project.cluster), max(pool.count, 1))
            names = [longest, *(f"{longest}-{volume.name}" for volume in sound(pool.volumes))]
            for name in (name for name in names if len(name) > LONGEST_NAME):
                found = (
                    f"{name!r}, {len(name)} characters, for one of its {'servers' if name == longest else 'volumes'}"
                )
                yield view.at(
                    pool, "name", found, f"names that leave it at {LONGEST_NAME}: shorten the pool's or cluster's"
                )


def server_groups_of_servers(view: View) -> Iterator[Problem]:
    """Groups of single servers are those of servers that the pool has."""
    for project in projects(view):
        for pool in pools(view):
            servers = list(pool.servers(project.cluster))
            for name in (name for name in pool.server_groups if name not in servers):
                yield view.at(pool, "server_groups", repr(name), one_of("server of the pool", servers, name))


def pool_servers_odd(view: View) -> Iterator[Problem]:
    """Raft majority, n//2+1: an even member adds a vote to win and no loss to survive. Source: etcd FAQ."""
    voting = [pool for pool in pools(view) if SERVERS in pool.inventory_groups]
    count, what = sum(pool.count for pool in voting), " + ".join(f"{pool.count} ({pool.name})" for pool in voting)
    if voting and count % 2 == 0:
        total = f"{what} = {count}" if len(voting) > 1 else str(count)
        survives = f"quorum {needed(count)}, survives {max(count - needed(count), 0)} down"
        allowed = (
            f"an odd number of servers ({count - 1} or {count + 1})" if count else "an odd number of servers (1 or 3)"
        )
        yield view.at(voting[-1], "count", f"{total} servers: {survives}", allowed)
    for pool in voting if len(voting) > 1 else ():
        if pool.survives_location:
            found = f"True in one of {len(voting)} pools of the group {SERVERS}"
            yield view.at(pool, "survives_location", found, "one pool for all who vote: each alone is no majority")


def placement_fits(view: View) -> Iterator[Problem]:
    """Source: Hetzner Cloud, "Placement Groups": 10 servers a group, 50 groups a project."""
    spread = {pool.name: pool.count for pool in pools(view) if pool.placement == "spread"}
    verdict = placement.fits(spread)
    if not verdict.passed:
        last = next(pool for pool in reversed(pools(view)) if pool.name in spread)
        arithmetic, _, instead = verdict.arithmetic.partition("; ")
        yield view.at(last, "placement", arithmetic, instead)


def keys_for_pools(view: View) -> Iterator[Problem]:
    """A server that is made without a key gets a root password, by mail. Source: Hetzner Cloud API, POST /servers."""
    for project in projects(view) if pools(view) and view.readable else ():
        if not cloud_names(view, "cloud_ssh_keys"):
            yield view.at(project, "name", "pools without cloud_ssh_keys", "a CloudSshKey for new servers to let in")


def cloud_keys_readable(view: View) -> Iterator[Problem]:
    """Keys in files are there and are public keys."""
    for key in view.of_clouds("cloud_ssh_keys"):
        try:
            _ = key.line
        except ValueError as error:
            yield view.at(key, "public_key", str(error), "a file with an OpenSSH public key")


def attached_to_servers(view: View) -> Iterator[Problem]:
    """What is attached names a server of a pool, at a place where that may be."""
    for project in projects(view):
        for data_name in ("cloud_volumes", "cloud_primary_ips", "cloud_floating_ips"):
            for one in (one for one in view.of_clouds(data_name) if one.server):
                yield from _attached(view, project, one, data_name)


def _attached(view: View, project: CloudProject, one: Any, data_name: str) -> Iterator[Problem]:
    found = [pool for pool in pools(view) if number_of(one.server, pool.named(project.cluster))]
    servers = [f"{server_name(pool.named(project.cluster), 1)} …" for pool in pools(view)]
    if not found and len(pool_names(view)) == len(servers):
        yield view.at(one, "server", repr(one.server), f"a server of a pool: {', '.join(servers) or 'none'}")
    for pool in found:
        if data_name != "cloud_floating_ips" and one.location not in pool.locations:
            allowed = f"a location of the pool {pool.name}: {', '.join(pool.locations)}"
            yield view.at(one, "location", f"{one.location!r} for {one.server}", allowed)
        if data_name == "cloud_primary_ips" and not getattr(pool, f"public_{one.type}"):
            yield view.at(
                one, "server", f"{one.server}, without public_{one.type}", f"public_{one.type}=True for {pool.name}"
            )


def primary_ips_once(view: View) -> Iterator[Problem]:
    """A server has one public address of a kind."""
    attached = [one for one in view.of_clouds("cloud_primary_ips") if one.server]
    for again in repeated(attached, lambda one: (one.server, one.type)):
        yield view.at(again, "server", f"{again.server!r} with a second {again.type} address", "one of a kind a server")


def volume_names_apart(view: View) -> Iterator[Problem]:
    """A pool's volumes are called <server>-<name>: no other one may be."""
    for project in projects(view):
        for volume in view.of_clouds("cloud_volumes"):
            for pool in pools(view):
                ends = [f"-{one.name}" for one in pool.volumes]
                servers = [volume.name.removesuffix(end) for end in ends if volume.name.endswith(end)]
                if any(number_of(server, pool.named(project.cluster)) for server in servers):
                    yield view.at(
                        volume, "name", repr(volume.name), f"a name that no volume of the pool {pool.name} has"
                    )


cloud_rules: tuple[Callable[[View], Iterator[Problem]], ...] = (
    token_has_a_place, nodes_of_a_project, allowances_of_nobody, cloud_data_read, cloud_names_once, pool_groups_free,
    server_names_fit, server_groups_of_servers, pool_servers_odd, placement_fits, keys_for_pools, cloud_keys_readable,
    attached_to_servers, primary_ips_once, volume_names_apart,
)  # fmt: skip
