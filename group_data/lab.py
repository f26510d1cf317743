# The lab: five machines on one host, with no way out but to Debian's packages.
from __future__ import annotations

from unterbau.declaration import Kernel, Network, Operator, TimeSync, public_key_file

network = Network(cidr="10.77.0.0/24", domain="lab.internal", controllers=("10.77.0.1/32",))

# Nothing outside to ask, and one clock for all machines, the host's, which is not theirs to set.
time_sync = TimeSync(servers=(), island="servers", control_clock=False)

# The machines share the host's kernel and can load no modules. Of the platform's other values, the lab gives each
# machine a copy of its own where they are not per network namespace, so the host's stay as they are.
kernel_modules = Kernel()

operators = (
    Operator(
        name="operator",
        authorized_keys=(public_key_file("/var/lib/unterbau/lab/ssh/id_ed25519.pub", made_by="run `unterbau lab up`"),),
    ),
)
