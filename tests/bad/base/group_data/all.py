from __future__ import annotations

from unterbau.declaration import Flow, Journal, Kernel, SecurityUpgrades, SshServer, TimeSync

base_packages = ("ca-certificates", "nftables")
kernel = Kernel(
    modules=("br_netfilter",),
    sysctl={"net.ipv4.ip_forward": 1, "net.bridge.bridge-nf-call-iptables": 1},
)
ssh_server = SshServer(port=22)
security_upgrades = SecurityUpgrades(reboot_window_start="02:00", reboot_window_minutes=120, slot_minutes=20)
journal = Journal(max_use_mib=512)
time_sync = TimeSync(servers=("ntp.example",), island="servers")
flows_ssh = (Flow(name="ssh", source="controllers", target="all", protocol="tcp", ports=(22,)),)
flows_time = (Flow(name="ntp", source="all", target="servers", protocol="udp", ports=(123,)),)
