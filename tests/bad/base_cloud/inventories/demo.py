from __future__ import annotations

from unterbau.declaration import CloudProject, Node, SecretRef, SecretStore, endpoints, hosts

servers = hosts(
    Node(name="srv-1", address="10.9.0.11", known_hosts="known_hosts"),
    Node(name="srv-2", address="10.9.0.12", known_hosts="known_hosts"),
    Node(name="srv-3", address="10.9.0.13", known_hosts="known_hosts"),
)
workers = hosts(
    Node(name="wrk-1", address="10.9.0.21", known_hosts="known_hosts"),
)
store = endpoints(SecretStore(path="secrets/demo.age", identity="~/.config/demo.txt"))
hcloud = endpoints(
    CloudProject(
        name="cloud", token=SecretRef("hcloud/token"), cluster="demo", known_hosts="known_hosts", limits={"servers": 20}
    ),
)
