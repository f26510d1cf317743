# The platform's defaults, for every environment. An environment's own file (group_data/ENV.py) replaces a whole name
# and keeps the others, so flows and kernel values have several: `flows` itself is the environment's.
from __future__ import annotations

from unterbau.declaration import (
    CertificateAuthority,
    Flow,
    Journal,
    Kernel,
    Password,
    Pki,
    RandomKey,
    Secret,
    SecurityUpgrades,
    SshServer,
)

base_packages = (
    "ca-certificates",
    "chrony",
    "conntrack",
    "iproute2",
    "kmod",
    "nftables",
    "procps",
    "sudo",
    "unattended-upgrades",
)

kernel = Kernel(
    sysctl={
        # What the kubelet checks with --protect-kernel-defaults. Source: K3s CIS hardening guide.
        "vm.panic_on_oom": 0,
        "vm.overcommit_memory": 1,
        "kernel.panic": 10,
        "kernel.panic_on_oops": 1,
        # Pods are routed. Source: Kubernetes setup pages.
        "net.ipv4.ip_forward": 1,
        # A full table drops new connections of the whole node: 262144 entries are about 80 MiB.
        "net.netfilter.nf_conntrack_max": 262144,
        # Kubelet, containerd and every pod's log reader watch files; the defaults (8192, 128) run out.
        "fs.inotify.max_user_watches": 524288,
        "fs.inotify.max_user_instances": 8192,
        # No core dumps: they hold keys and passwords. Source: core(5), CIS Debian Linux benchmark.
        "fs.suid_dumpable": 0,
        "kernel.core_pattern": "|/bin/false",
        # Links and FIFOs in world-writable directories are not followed for others. Source: Linux fs sysctl.
        "fs.protected_fifos": 1,
        "fs.protected_regular": 2,
        "fs.protected_hardlinks": 1,
        "fs.protected_symlinks": 1,
        "kernel.kptr_restrict": 1,
        "kernel.dmesg_restrict": 1,
        # Loose, not strict: pod traffic may leave by another interface than it came. Source: RFC 3704 2.4.
        "net.ipv4.conf.all.rp_filter": 2,
        "net.ipv4.conf.all.accept_redirects": 0,
        "net.ipv4.conf.all.send_redirects": 0,
        "net.ipv4.conf.all.accept_source_route": 0,
        "net.ipv4.tcp_syncookies": 1,
        # A node that died says nothing. A connection to it is given up after 3 s (7 s on Linux 6.5 and later), not
        # after 2 minutes: MinIO takes a server for offline only when the kernel says so within 10 s. Source: ip-sysctl.
        "net.ipv4.tcp_syn_retries": 1,
    },
)

# Modules, and what exists only with them: a machine that may load none declares `kernel_modules = Kernel()`.
kernel_modules = Kernel(
    modules=("overlay", "br_netfilter", "nf_conntrack"),
    sysctl={
        # What crosses a bridge meets the pod network's rules. Source: Kubernetes setup pages.
        "net.bridge.bridge-nf-call-iptables": 1,
        "net.bridge.bridge-nf-call-ip6tables": 1,
    },
)

ssh_server = SshServer()

security_upgrades = SecurityUpgrades(reboot_window_start="02:00", reboot_window_minutes=120, slot_minutes=20)

journal = Journal(max_use_mib=512, keep_free_mib=1024, max_retention_days=30)

flows_ssh = (Flow(name="ssh", source="controllers", target="all", protocol="tcp", ports=(22,)),)

# For `island="servers"`; an environment with another island, or none, sets this name itself.
flows_time = (Flow(name="ntp", source="all", target="servers", protocol="udp", ports=(123,)),)

# Whoever reads Vault does so through a member's API; members speak among themselves on the cluster's port.
flows_vault = (
    Flow(name="vault-api", source="all", target="servers", protocol="tcp", ports=(8200,)),
    Flow(name="vault-raft", source="servers", target="servers", protocol="tcp", ports=(8201,)),
)

pki = Pki()

# Periods: NIST SP 800-57 part 1, 5.3 (a cryptoperiod per kind of key).
secrets_platform = (
    Secret(name="keyed-hash", kind=RandomKey()),
    Secret(name="pki/root", kind=CertificateAuthority(common_name="unterbau root"), rotate_after_days=1825),
    Secret(name="vault/seal-key", kind=RandomKey(size_bytes=32), rotate_after_days=365),
    Secret(name="vault/deployers", kind=CertificateAuthority(common_name="unterbau deployers"), rotate_after_days=365),
)

# No period: servers that hold different ones cannot speak with each other (root), nor read what they wrote (kms-key).
secrets_storage = (
    Secret(name="storage/root", kind=Password(length=40)),
    Secret(name="storage/kms-key", kind=RandomKey(size_bytes=32)),
)

# The API and its supervisor, etcd among servers, every kubelet (logs, probes of the API), and pods' packets in VXLAN.
# An environment with another way between its nodes than VXLAN sets `flows_k3s` itself.
flows_k3s = (
    Flow(name="k3s-api", source="all", target="servers", protocol="tcp", ports=(6443,)),
    Flow(name="k3s-api-pods", source="pods", target="servers", protocol="tcp", ports=(6443,)),
    Flow(name="k3s-etcd", source="servers", target="servers", protocol="tcp", ports=("2379-2380",)),
    Flow(name="k3s-kubelet", source="all", target="all", protocol="tcp", ports=(10250,)),
    Flow(name="k3s-vxlan", source="all", target="all", protocol="udp", ports=(8472,)),
)

# A server's token is also what an etcd snapshot is read with: the store keeps those that were replaced.
secrets_k3s = (
    Secret(name="k3s/token", kind=Password(length=48), rotate_after_days=365),
    Secret(name="k3s/agent-token", kind=Password(length=48), rotate_after_days=365),
)
