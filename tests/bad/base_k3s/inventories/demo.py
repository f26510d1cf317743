from __future__ import annotations

from unterbau.declaration import KubernetesEndpoint, Node, S3Endpoint, SecretStore, endpoints, hosts

servers = hosts(
    Node(name="srv-1", address="10.9.0.11", known_hosts="known_hosts"),
    Node(name="srv-2", address="10.9.0.12", known_hosts="known_hosts"),
    Node(name="srv-3", address="10.9.0.13", known_hosts="known_hosts"),
)
workers = hosts(
    Node(name="wrk-1", address="10.9.0.21", known_hosts="known_hosts"),
    Node(name="wrk-2", address="10.9.0.22", known_hosts="known_hosts"),
)
others = hosts(Node(name="box-1", address="10.9.0.31", known_hosts="known_hosts"))
cluster = servers + workers
store = endpoints(SecretStore(path="secrets/demo.age", identity="~/.config/demo.txt"))
s3 = endpoints(S3Endpoint(url="https://s3.example.com", engine="aws", secret="s3/writer"))
kubernetes = endpoints(KubernetesEndpoint())
