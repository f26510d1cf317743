# The servers of the lab's cloud, `unterbau lab cloud up`. What holds for them is in group_data/lab.py, the pools in
# group_data/hcloud.py.
from __future__ import annotations

from unterbau.declaration import (
    CloudProject,
    KubernetesEndpoint,
    S3Endpoint,
    SecretRef,
    SecretStore,
    VaultEndpoint,
    endpoints,
    nodes_of,
)

store = endpoints(
    SecretStore(
        path="/var/lib/unterbau/lab/secrets/store.age",
        identity="/var/lib/unterbau/lab/secrets/identity.txt",
    ),
)

hcloud = endpoints(
    CloudProject(
        name="cloud",
        token=SecretRef("hcloud/token"),
        cluster="lab",
        endpoint="http://127.77.0.1:8080/v1",
        known_hosts="/var/lib/unterbau/lab/cloud/known_hosts",
        ssh_key="/var/lib/unterbau/lab/ssh/id_ed25519",
    ),
)

nodes = nodes_of("cloud")

vault = endpoints(VaultEndpoint(members="servers"))

s3 = endpoints(S3Endpoint(members="storage"))

kubernetes = endpoints(KubernetesEndpoint(members="servers"))
