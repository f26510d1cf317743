from __future__ import annotations

from unterbau.declaration import Flow, Network, Operator

network = Network(cidr="10.9.0.0/24", domain="demo.internal", controllers=("10.9.0.1/32", "192.0.2.0/28"))
operators = (
    Operator(
        name="ada",
        authorized_keys=(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID+ClvZzC7vKi/ZHHZkAZ5jxRpMxgyKFD1SMe9J+pL/B first@example",
        ),
    ),
)
flows = (
    Flow(name="metrics", source="servers", target="workers", protocol="tcp", ports=(9100,)),
    Flow(name="nodeports", source="203.0.113.0/24", target="workers", protocol="tcp", ports=("30000-32767",)),
)
