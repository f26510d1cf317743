# The lab: five machines on one host, with no way out but to Debian's packages.
from __future__ import annotations

from unterbau.declaration import Kernel, Network, Operator, TimeSync, public_key_file

network = Network(cidr="10.77.0.0/24", domain="lab.internal", controllers=("10.77.0.1/32",))

# Nothing outside to ask, and one clock for all machines, the host's, which is not theirs to set.
time_sync = TimeSync(servers=(), island="servers", control_clock=False)

# The platform's values but for net.bridge.*: the machines share the host's kernel and can load no modules. Of what is
# not per network namespace, the lab gives each machine a copy of its own, so the host's values stay as they are.
kernel = Kernel(
    modules=(),
    sysctl={
        "vm.panic_on_oom": 0,
        "vm.overcommit_memory": 1,
        "kernel.panic": 10,
        "kernel.panic_on_oops": 1,
        "net.ipv4.ip_forward": 1,
        "net.netfilter.nf_conntrack_max": 262144,
        "fs.inotify.max_user_watches": 524288,
        "fs.inotify.max_user_instances": 8192,
        "fs.suid_dumpable": 0,
        "kernel.core_pattern": "|/bin/false",
        "fs.protected_fifos": 1,
        "fs.protected_regular": 2,
        "fs.protected_hardlinks": 1,
        "fs.protected_symlinks": 1,
        "kernel.kptr_restrict": 1,
        "kernel.dmesg_restrict": 1,
        "net.ipv4.conf.all.rp_filter": 2,
        "net.ipv4.conf.all.accept_redirects": 0,
        "net.ipv4.conf.all.send_redirects": 0,
        "net.ipv4.conf.all.accept_source_route": 0,
        "net.ipv4.tcp_syncookies": 1,
    },
)

operators = (
    Operator(
        name="operator",
        authorized_keys=(public_key_file("/var/lib/unterbau/lab/ssh/id_ed25519.pub", made_by="run `unterbau lab up`"),),
    ),
)
