"""A cloud project with one object of each kind: declared, made in the lab's cloud, looked at, changed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from operations import (
    hcloud_firewall,
    hcloud_floating_ip,
    hcloud_load_balancer,
    hcloud_network,
    hcloud_placement_group,
    hcloud_primary_ip,
    hcloud_server,
    hcloud_ssh_key,
    hcloud_volume,
)
from operations.hcloud_firewall import Firewall, Rule
from operations.hcloud_floating_ip import FloatingIp
from operations.hcloud_load_balancer import LoadBalancer
from operations.hcloud_network import Network, Subnet
from operations.hcloud_primary_ip import PrimaryIp
from operations.hcloud_server import Server
from operations.hcloud_volume import Volume
from tests.unit.hcloud_run import Cloud, Ran, ran
from unterbau.domain.cloud_labels import selector

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHmVYyPwpVpbiCwPAZ5m1fSSgBbcLGXN1oYm9wPl8QcJ ops"

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK9XvvTj4Qbm5XKbRzXqB1Q2uWvK0cHcUz9Jd3oB7m2S other"

POOL = {"pool": "servers", "group-servers": "true"}

PLACES = (("cx32", "fsn1"), ("cx32", "nbg1"), ("cpx31", "hel1"))

MONTHLY = "6.80 EUR a month, net"

NETWORK = Network("prod", "10.0.0.0/16", [Subnet("10.0.0.0/24")], (("10.9.0.0/24", "10.0.0.7"),))

FIREWALL = Firewall(
    "prod-servers",
    [Rule("in", "tcp", "22", ["192.0.2.0/24"], description="SSH"), Rule("in", "icmp", sources=["0.0.0.0/0", "::/0"])],
    (selector("prod", "servers"),),
)

HTTPS: dict[str, Any] = {
    "protocol": "tcp",
    "listen_port": 443,
    "destination_port": 8443,
    "proxyprotocol": True,
    "health_check": {"protocol": "tcp", "port": 8443, "interval": 15, "timeout": 10, "retries": 3},
}

BALANCER = LoadBalancer("prod-web", "lb11", "fsn1", (HTTPS,), (selector("prod", "servers"),), "prod", public=False)


def server(number: int = 1, **more: Any) -> Server:
    wanted = {"ssh_keys": ("ops",), "labels": POOL, "networks": {"prod": f"10.0.0.{10 + number}"}, **more}
    wanted = {"placement_group": "prod-servers-1", **wanted}
    return Server(f"prod-servers-{number}", PLACES, "debian-12", **wanted)


STEPS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (hcloud_ssh_key.declared, ({"ops": KEY},)),
    (hcloud_network.declared, ([NETWORK],)),
    (hcloud_placement_group.declared, ({"prod-servers-1": {"pool": "servers"}},)),
    (hcloud_firewall.declared, ([FIREWALL],)),
    (hcloud_primary_ip.declared, ([PrimaryIp("prod-entry", "ipv4", "fsn1", "entry.example")],)),
    (hcloud_server.declared, ([server(1), server(2, reverse_dns={"ipv4": "two.example", "ipv6": "two.example"})],)),
    (hcloud_volume.declared, ([Volume("prod-data", 50, "prod-servers-1", format="xfs")],)),
    (hcloud_floating_ip.declared, ([FloatingIp("prod-float", "ipv4", "fsn1", "prod-servers-1", "float.example")],)),
    (hcloud_load_balancer.declared, ([BALANCER],)),
]

DECLARED = {
    "ssh_keys": ["ops"],
    "networks": ["prod"],
    "placement_groups": ["prod-servers-1"],
    "firewalls": ["prod-servers"],
    "primary_ips": ["prod-entry"],
    "servers": ["prod-servers-1", "prod-servers-2"],
    "volumes": ["prod-data"],
    "floating_ips": ["prod-float"],
    "load_balancers": ["prod-web"],
}

KINDS = list(DECLARED)


def site(cloud: Cloud) -> list[Ran]:
    """Every step, to the first that fails."""
    done: list[Ran] = []
    for operation, arguments in STEPS:
        done.append(ran(cloud, operation, *arguments))
        if done[-1].error or done[-1].refused:
            break
    return done


def failures(done: list[Ran]) -> list[str]:
    return [one.error or one.refused for one in done if one.error or one.refused]


def prepared(cloud: Cloud) -> None:
    """All that servers need."""
    for operation, arguments in STEPS[:4]:
        done = ran(cloud, operation, *arguments)
        assert not done.error + done.refused
    cloud.again()


def whole(cloud: Cloud) -> None:
    """All that is declared, as it was made."""
    assert failures(site(cloud)) == []
    cloud.again()


def changed(cloud: Cloud, operation: Callable[..., Any], *arguments: Any, **more: Any) -> Ran:
    """Run it, and see that another run has nothing to do."""
    done = ran(cloud, operation, *arguments, **more)
    assert done.commands
    assert not done.error + done.refused
    cloud.again()
    assert ran(cloud, operation, *arguments, **more).commands == []
    return done


def the(cloud: Cloud, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in cloud.all(kind) if one["name"] == name)


def act(cloud: Cloud, kind: str, name: str, action: str, **body: Any) -> None:
    """Somebody's doing in the console."""
    cloud.do("POST", f"{kind}/{the(cloud, kind, name)['id']}/actions/{action}", **body)
