# The machines that `unterbau lab up` makes. What holds for them is in group_data/lab.py.
from __future__ import annotations

from unterbau.declaration import KubernetesEndpoint, Node, S3Endpoint, SecretStore, VaultEndpoint, endpoints, hosts

_ssh = {
    "ssh_key": "/var/lib/unterbau/lab/ssh/id_ed25519",
    "known_hosts": "/var/lib/unterbau/lab/ssh/known_hosts",
}

servers = hosts(
    Node(name="srv-1", address="10.77.0.11", **_ssh),
    Node(name="srv-2", address="10.77.0.12", **_ssh),
    Node(name="srv-3", address="10.77.0.13", **_ssh),
)

workers = hosts(
    Node(name="wrk-1", address="10.77.0.21", **_ssh),
    Node(name="wrk-2", address="10.77.0.22", **_ssh),
)

postgresql = workers[:1]

storage = servers + workers

store = endpoints(
    SecretStore(
        path="/var/lib/unterbau/lab/secrets/store.age",
        identity="/var/lib/unterbau/lab/secrets/identity.txt",
    ),
)

vault = endpoints(VaultEndpoint(members="servers"))

s3 = endpoints(S3Endpoint(members="storage"))

kubernetes = endpoints(KubernetesEndpoint(members="servers"))
