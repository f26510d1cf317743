"""Cloud projects that are fine, and what their declarations come to."""

from __future__ import annotations

import shutil
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unterbau.declaration import (
    CloudFirewall,
    CloudNetwork,
    CloudProject,
    CloudRoute,
    CloudSubnet,
    DeclarationError,
    FirewallRule,
    NodePool,
    PoolVolume,
    SecretRef,
    endpoints,
    load,
)
from unterbau.declaration.cloud_names import is_world
from unterbau.domain.capacity import Candidate, Wish

BAD = Path(__file__).parent.parent / "bad"
INVENTORY, DATA = "inventories/demo.py", "group_data/hcloud.py"


def laid(tmp_path: Path, *bases: str) -> Path:
    root = Path(shutil.copytree(BAD / "base", tmp_path / "base"))
    for base in bases:
        shutil.copytree(BAD / base, root, dirs_exist_ok=True)
    return root


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return laid(tmp_path, "base_cloud")


def replaced(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def problems(root: Path) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        load("demo", root)
    return [str(problem) for problem in caught.value.problems]


def project(**more: object) -> CloudProject:
    return CloudProject(name="production", token=SecretRef("hcloud/token"), cluster="prod", known_hosts="k", **more)  # type: ignore[arg-type]


def pool(**more: object) -> NodePool:
    told = {"name": "servers", "count": 3, "types": ["cx32"], "locations": ["fsn1", "nbg1", "hel1"], "network": "main"}
    told |= {"first_address": "10.9.0.31"}
    return NodePool(**(told | more))


def test_a_project_is_a_host_of_its_own() -> None:
    [(name, data)] = endpoints(project())
    assert name == "@hcloud/production"
    assert data["cloud"].endpoint == "https://api.hetzner.cloud/v1"


@pytest.mark.parametrize(
    "url", ["https://10.77.0.1:8443/v1", "https://cloud.lab.internal", "http://127.0.0.1:8080/v1", "http://127.0.0.1"]
)
def test_the_api_may_be_the_labs(url: str) -> None:
    assert project(endpoint=url, ca="pki/lab.pem").endpoint == url


@pytest.mark.parametrize(
    "url", ["http://10.77.0.1:8080/v1", "https://a:b@api.example", "https://api.example/v1/", "ftp://api.example", ""]
)
def test_a_token_goes_nowhere_else(url: str) -> None:
    with pytest.raises(DeclarationError, match=r"endpoint: found another one \(not shown\)"):
        project(endpoint=url)


def test_an_environment_may_have_no_nodes_yet(base: Path) -> None:
    """Before the first cloud stage there are none: groups are those that pools will fill."""
    text = (base / INVENTORY).read_text()
    (base / INVENTORY).write_text(text[: text.index("servers =")] + text[text.index("store =") :])
    environment = load("demo", base)
    assert environment.nodes == ()
    assert {"servers", "workers", "storage"} <= environment.groups.keys()


def test_without_a_pool_for_them_servers_are_missed(base: Path) -> None:
    text = (base / INVENTORY).read_text()
    (base / INVENTORY).write_text(text[: text.index("servers =")] + text[text.index("store =") :])
    replaced(base, DATA, 'name="servers",\n        count', 'name="masters",\n        count')
    replaced(base, DATA, 'pools=("servers", ', 'pools=("masters", ')
    replaced(base, DATA, 'server="demo-servers-1"', 'server="demo-masters-1"')
    found = problems(base)
    assert "inventories/demo.py: environment demo: servers: found no group of this name" in "\n".join(found)


@pytest.mark.parametrize("file", ["group_data/all.py", "group_data/demo.py", "group_data/hcloud.py"])
def test_a_project_reads_what_pyinfra_gives_its_host(base: Path, file: str) -> None:
    replaced(base, DATA, "cloud_floating_ips = (", "_unused = (")
    text = (base / file).read_text()
    name = 'CloudFloatingIp(name="moving", location="nowhere")'
    (base / file).write_text(
        f"{text}\nfrom unterbau.declaration import CloudFloatingIp\ncloud_floating_ips = ({name},)\n"
    )
    [problem] = problems(base)
    assert problem.startswith(f"{file}:")


def test_the_file_of_its_group_wins(base: Path) -> None:
    (base / "group_data/all.py").write_text((base / "group_data/all.py").read_text() + "\nnode_pools = ()\n")
    assert load("demo", base).groups["storage"] == ()


def test_networks_of_pods_and_services_are_apart_from_the_clouds(tmp_path: Path) -> None:
    root = laid(tmp_path, "base_cloud", "base_k3s")
    project = 'CloudProject(name="cloud", token=SecretRef("app/key"), cluster="demo", known_hosts="k")'
    (root / INVENTORY).write_text(
        (root / INVENTORY).read_text()
        + f"\nfrom unterbau.declaration import CloudProject, SecretRef\nhcloud = endpoints({project})\n"
    )
    replaced(root, DATA, 'secrets = (Secret(name="hcloud/token"),)\n', "")
    replaced(root, DATA, 'cidr="10.9.0.0/16"', 'cidr="10.0.0.0/8"')
    replaced(root, DATA, 'destination="10.42.0.0/16"', 'destination="192.168.0.0/24"')
    (root / "group_data/all.py").write_text(
        (root / "group_data/all.py").read_text()
        + '\nfrom unterbau.declaration import Secret\nsecrets = (Secret(name="app/key"),)\n'
    )
    found = [problem for problem in problems(root) if "CloudNetwork" in problem]
    assert [problem.partition("found ")[2] for problem in found] == [
        "10.0.0.0/8, which overlaps cluster_cidr 10.42.0.0/16 of K3s demo; allowed: a network apart from those of pods"
        " and services",
        "10.0.0.0/8, which overlaps service_cidr 10.43.0.0/16 of K3s demo; allowed: a network apart from those of pods"
        " and services",
    ]


def test_a_pool_says_what_is_asked_for() -> None:
    assert pool().wish == Wish(("cx32",), ("fsn1", "nbg1", "hel1"))
    assert pool(survives_location=True).wish.most_per_location == 1
    assert pool(count=5, survives_location=True).wish.most_per_location == 2
    assert pool(spread_locations=False).wish.spread is False


def test_a_pool_says_what_its_servers_cost_and_take() -> None:
    volumes = (PoolVolume(name="a", size_gib=10), PoolVolume(name="b", size_gib=20))
    found = pool(volumes=volumes, public_ipv6=False)
    assert list(map(str, found.items(Candidate("cx32", "nbg1")))) == [
        "server cx32 in nbg1", "primary IP ipv4 in nbg1", "volume of 10 GB in nbg1", "volume of 20 GB in nbg1",
    ]  # fmt: skip
    assert found.quota(4) == {"servers": 4, "primary_ips": 4, "volumes": 8}
    assert pool().quota(3) == {"servers": 3, "primary_ips": 6, "volumes": 0}


def test_a_pool_says_what_a_lost_location_leaves() -> None:
    assert pool().location_loss == "3 servers in 3 locations: losing one leaves 2 of 3, quorum needs 2"
    assert pool(locations=["fsn1", "nbg1"]).location_loss.endswith(
        "leaves 1 of 3, quorum needs 2; 3 locations at least"
    )
    assert pool(spread_locations=False).location_loss.startswith("3 servers in 1 location: losing one leaves 0 of 3")


def test_a_pools_groups_are_its_name_or_what_it_says() -> None:
    assert pool().inventory_groups == ("servers",)
    assert pool(groups=["etcd", "web"]).inventory_groups == ("etcd", "web")


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_what_cannot_survive_promises_nothing(count: int) -> None:
    with pytest.raises(DeclarationError, match="survives_location"):
        pool(count=count, survives_location=True)


def test_ports_are_written_as_the_api_writes_them() -> None:
    def rule(protocol: str, **more: object) -> FirewallRule:
        return FirewallRule(protocol=protocol, sources=["192.0.2.0/28"], **more)  # type: ignore[arg-type]

    assert rule("tcp", ports=22) == rule("tcp", ports="22")
    assert rule("tcp", ports=22).written_ports == "22"
    assert rule("udp", ports="51820-51830").written_ports == "51820-51830"
    assert rule("icmp").written_ports is None


@given(st.integers(1, 65535), st.integers(1, 65535))
@example(29999, 29999)
@example(29000, 30000)
@example(32767, 40000)
@example(32768, 40000)
def test_a_rule_is_refused_if_one_of_its_ports_is_a_node_port(first: int, last: int) -> None:
    low, high = sorted((first, last))
    has_one = any(low <= port <= high for port in range(30000, 32768))
    try:
        FirewallRule(protocol="udp", ports=f"{low}-{high}", sources=("192.0.2.0/28",))
    except DeclarationError:
        assert has_one
    else:
        assert not has_one


@given(st.integers(0, 32), st.integers(0, 65535), st.integers(1, 65535), st.sampled_from([True, False]))
def test_what_is_never_the_worlds(prefix: int, first: int, last: int, said: bool) -> None:
    """Whatever the rest of the rule: SSH and the API are open to ranges only, and nothing to the world unsaid."""
    low, high = sorted((max(first, 1), last))
    source = str(ip_network(f"0.0.0.0/{prefix}"))
    try:
        FirewallRule(protocol="tcp", ports=f"{low}-{high}", sources=(source,), world=said)
    except DeclarationError:
        return
    wide = prefix < 8
    assert wide == said
    assert not (wide and (low <= 22 <= high or low <= 6443 <= high))


@pytest.mark.parametrize(
    ("network", "world"),
    [("0.0.0.0/0", True), ("128.0.0.0/1", True), ("12.0.0.0/7", True), ("10.0.0.0/8", False), ("::/0", True),
     ("2000::/3", True), ("2001::/16", False), ("2001:db8::/32", False)],
)  # fmt: skip
def test_the_world_is_known_by_its_width(network: str, world: bool) -> None:
    assert is_world(ip_network(network)) is world


def test_a_firewall_without_rules_lets_nothing_in() -> None:
    assert CloudFirewall(name="shut", pools=["servers"]).rules == ()


def test_limits_may_be_reached() -> None:
    def rules(count: int, cidrs: int) -> tuple[FirewallRule, ...]:
        sources = tuple(f"198.51.100.{number}/32" for number in range(cidrs))
        return tuple(FirewallRule(protocol="tcp", ports=1000 + port, sources=sources) for port in range(count))

    assert sum(one.effective for one in CloudFirewall(name="a", rules=rules(5, 100)).rules) == 500
    assert len(CloudFirewall(name="a", rules=rules(50, 10)).rules) == 50
    subnets = tuple(CloudSubnet(cidr=f"10.0.{number}.0/24") for number in range(50))
    assert len(CloudNetwork(name="main", cidr="10.0.0.0/16", subnets=subnets).subnets) == 50


def test_limits_of_a_project_may_be_reached(base: Path) -> None:
    """5 firewalls a server, 50 a project; 100 attachments a network; 75 targets and 15 services of an lb21."""
    more = '*(CloudFirewall(name=f"more-{n}", pools=("servers",) if n < 4 else ()) for n in range(48)),'
    replaced(base, DATA, "cloud_firewalls = (", f"cloud_firewalls = (\n    {more}")
    replaced(base, DATA, "count=2", "count=75")
    pool = 'NodePool(name="more", count=21, types=("cx22",), locations=("fsn1",), network="main", public_ipv4=False, '
    pool += 'first_address="10.9.0.150", '
    replaced(base, DATA, "node_pools = (", f"node_pools = (\n    {pool}public_ipv6=False),")
    more = "*(LoadBalancerService(listen_port=8000 + n, destination_port=8443) for n in range(14)),"
    replaced(base, DATA, "        services=(\n", f'        type="lb21",\n        services=(\n{more}\n')
    assert len(load("demo", base).endpoints) == 2


def test_a_route_to_everywhere_may_overlap_others() -> None:
    routes = [CloudRoute(destination=to, gateway="10.0.1.2") for to in ("0.0.0.0/0", "192.168.0.0/16")]
    subnets = [CloudSubnet(cidr="10.0.1.0/24")]
    assert len(CloudNetwork(name="main", cidr="10.0.0.0/16", subnets=subnets, routes=routes).routes) == 2
    with pytest.raises(DeclarationError, match="destinations that do not overlap"):
        CloudNetwork(name="main", cidr="10.0.0.0/16", subnets=subnets, routes=[*routes, routes[0]])


def test_a_broken_part_is_one_problem_and_not_two(base: Path) -> None:
    """What is wrong with a subnet or a rule says nothing of the network or the firewall that it is in."""
    replaced(base, DATA, 'CloudSubnet(cidr="10.9.0.0/24")', 'CloudSubnet(cidr="10.9.0.1/24", zone="us")')
    replaced(base, DATA, 'ports=22, sources=("192.0.2.0/28", "2001:db8::/48")', 'ports=22, sources=("192.0.2.1/28",)')
    found = problems(base)
    assert [problem.split(": ")[1:3] for problem in found] == [
        ["CloudSubnet", "cidr"], ["CloudSubnet", "zone"], ["FirewallRule", "sources[0]"],
    ]  # fmt: skip


@pytest.mark.parametrize("laid_over", ["base_vault", "base_k3s", "base_storage"])
def test_layers_may_be_declared_before_their_nodes_are_there(tmp_path: Path, laid_over: str) -> None:
    """Their groups are those of pools, and what their nodes read may lie in files of these groups."""
    root = laid(tmp_path, "base_cloud", laid_over)
    text = (root / INVENTORY).read_text()
    names = "CloudProject, KubernetesEndpoint, S3Endpoint, SecretRef, SecretStore, VaultEndpoint, endpoints"
    project = 'CloudProject(name="cloud", token=SecretRef("hcloud/token"), cluster="demo", known_hosts="k")'
    inventory = [
        f"from unterbau.declaration import {names}",
        text[text.index("store =") :],
        f"hcloud = endpoints({project})",
    ]
    (root / INVENTORY).write_text("\n".join(inventory).replace("s3/writer", "hcloud/token"))
    replaced(root, DATA, '("workers", "storage")', '("workers", "storage", "cluster", "others", "postgresql")')
    replaced(root, DATA, 'Secret(name="hcloud/token"),', 'Secret(name="hcloud/token"), Secret(name="storage/root"),')
    environment = load("demo", root)
    assert not environment.nodes
    assert {"servers", "cluster"} <= environment.groups.keys()
