# The lab's project in its own cloud: the five machines, as two pools. They have private addresses only, as nothing of
# the lab is for the world; a pool's servers are known by name and address before they exist.
from __future__ import annotations

from unterbau.declaration import (
    CloudNetwork,
    CloudSshKey,
    CloudSubnet,
    NodePool,
    Secret,
    public_key_file,
)

secrets_hcloud = (Secret(name="hcloud/token"),)

cloud_networks = (
    CloudNetwork(name="lab", cidr="10.77.0.0/24", subnets=(CloudSubnet(cidr="10.77.0.0/24", zone="eu-central"),)),
)

cloud_ssh_keys = (
    CloudSshKey(
        name="operator",
        public_key=public_key_file("/var/lib/unterbau/lab/ssh/id_ed25519.pub", made_by="run `unterbau lab cloud up`"),
    ),
)

node_pools = (
    NodePool(
        name="servers",
        prefix="srv",
        count=3,
        types=("cx32", "cpx31"),
        locations=("fsn1", "nbg1", "hel1"),
        network="lab",
        first_address="10.77.0.11",
        groups=("servers", "storage"),
        public_ipv4=False,
        public_ipv6=False,
        survives_location=True,
    ),
    NodePool(
        name="workers",
        prefix="wrk",
        count=2,
        types=("cx32", "cpx31"),
        locations=("fsn1", "nbg1", "hel1"),
        network="lab",
        first_address="10.77.0.21",
        groups=("workers", "storage"),
        server_groups={"wrk-1": ("postgresql",)},
        public_ipv4=False,
        public_ipv6=False,
    ),
)
