from __future__ import annotations

from unterbau.declaration import (
    CloudFirewall,
    CloudFloatingIp,
    CloudNetwork,
    CloudPrimaryIp,
    CloudRoute,
    CloudSshKey,
    CloudSubnet,
    CloudVolume,
    FirewallRule,
    HealthCheck,
    LoadBalancer,
    LoadBalancerService,
    NodePool,
    PoolVolume,
    Secret,
)

secrets = (Secret(name="hcloud/token"),)
cloud_networks = (
    CloudNetwork(
        name="main",
        cidr="10.9.0.0/16",
        subnets=(CloudSubnet(cidr="10.9.0.0/24"), CloudSubnet(cidr="10.9.1.0/24", type="vswitch", vswitch_id=7)),
        routes=(CloudRoute(destination="10.42.0.0/16", gateway="10.9.0.11"),),
    ),
)
cloud_ssh_keys = (
    CloudSshKey(
        name="ada",
        public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+ClvZzC7vKi/ZHHZkAZ5jxRpMxgyKFD1SMe9J+pL/B first@example",
    ),
)
cloud_firewalls = (
    CloudFirewall(
        name="base",
        rules=(
            FirewallRule(protocol="tcp", ports=22, sources=("192.0.2.0/28", "2001:db8::/48")),
            FirewallRule(protocol="tcp", ports="6443", sources=("192.0.2.0/28",)),
            FirewallRule(protocol="udp", ports=51820, sources=("198.51.100.7/32",), description="another site"),
            FirewallRule(protocol="icmp", sources=("0.0.0.0/0", "::/0"), world=True),
        ),
        pools=("servers", "workers"),
    ),
    CloudFirewall(
        name="mail",
        rules=(FirewallRule(direction="out", protocol="tcp", ports=587, destinations=("203.0.113.25/32",)),),
        denies_egress=True,
    ),
)
node_pools = (
    NodePool(
        name="servers",
        count=3,
        types=("cx32", "cpx31"),
        locations=("fsn1", "nbg1", "hel1"),
        network="main",
        first_address="10.9.0.31",
        survives_location=True,
    ),
    NodePool(
        name="workers",
        count=2,
        types=("cpx31",),
        locations=("fsn1", "nbg1"),
        network="main",
        first_address="10.9.0.41",
        groups=("workers", "storage"),
        labels={"example.com/tier": "batch"},
        volumes=(PoolVolume(name="data", size_gib=100),),
    ),
)
cloud_load_balancers = (
    LoadBalancer(
        name="web",
        location="fsn1",
        network="main",
        targets=("workers",),
        services=(
            LoadBalancerService(
                listen_port=443, destination_port=8443, health_check=HealthCheck(protocol="http", path="/healthz")
            ),
        ),
        public=True,
    ),
)
cloud_volumes = (CloudVolume(name="archive", size_gib=50, location="nbg1", server="demo-workers-1"),)
cloud_primary_ips = (CloudPrimaryIp(name="first", location="fsn1", server="demo-servers-1", reverse_dns="a.example"),)
cloud_floating_ips = (CloudFloatingIp(name="moving", location="fsn1", type="ipv6"),)
cloud_deletions = ("server/demo-servers-4", "subnet/main/10.9.2.0/24")
