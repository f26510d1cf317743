"""The servers of the lab's cloud are machines: what the API says of one is so on this host, and nothing stays of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hcloud import Client
from hcloud.firewalls import BoundFirewall, FirewallResource, FirewallRule
from hcloud.images import Image
from hcloud.load_balancer_types import LoadBalancerType
from hcloud.load_balancers import LoadBalancerHealthCheck, LoadBalancerService, LoadBalancerTarget
from hcloud.locations import Location
from hcloud.networks import BoundNetwork, NetworkSubnet
from hcloud.server_types import ServerType
from hcloud.servers import BoundServer
from hcloud.ssh_keys import BoundSSHKey

from tests.lab.conftest import LabCommand
from tests.lab.test_lab_lifecycle import eventually, output, traces
from unterbau.lab import lifecycle
from unterbau.lab.cloud import kept, service
from unterbau.lab.command import run
from unterbau.lab.drive import OBJECTS
from unterbau.lab.layout import Lab
from unterbau.lab.process import answers
from unterbau.secrets.store import Store

pytestmark = pytest.mark.lab

FIRST, SECOND, MOVED, BALANCED = "10.78.250.101", "10.78.250.102", "10.78.250.103", "10.78.250.104"
CX32, DEBIAN = ServerType(name="cx32"), Image(name="debian-12")
ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1)"
METADATA = "http://169.254.169.254/hetzner/v1/metadata"


def client_of(lab: Lab) -> Client:
    token = Store(lab.store, lab.identity).version(service.TOKEN).value
    return Client(token, api_endpoint=lab.cloud_endpoint, poll_interval=0.05, poll_max_retries=1200)


@pytest.fixture(scope="module")
def cloud(spare_command: LabCommand) -> Iterator[LabCommand]:
    """A lab beside the usual one that has a cloud, and none of the five machines."""
    spare_command.must("down")
    spare_command.must("cloud", "up")
    yield spare_command
    spare_command.must("down")
    assert traces(spare_command.lab) == []


@pytest.fixture(scope="module")
def client(cloud: LabCommand) -> Client:
    return client_of(cloud.lab)


@pytest.fixture(scope="module")
def network(client: Client) -> BoundNetwork:
    return client.networks.create("private", "10.78.250.0/24", [NetworkSubnet("10.78.250.0/24", "cloud", "eu-central")])


@pytest.fixture(scope="module")
def operator(client: Client, cloud: LabCommand) -> BoundSSHKey:
    return client.ssh_keys.create("operator", cloud.lab.key.with_suffix(".pub").read_text())


@pytest.fixture(scope="module")
def host_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("keys") / "pinned"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "first", "-f", str(key))
    return key


def cloud_config(key: Path) -> str:
    public = key.with_suffix(".pub").read_text()
    return "#cloud-config\n" + json.dumps(
        {"ssh_keys": {"ed25519_private": key.read_text(), "ed25519_public": public}, "runcmd": ["touch /ran"]}
    )


def finish(*actions: Any) -> None:
    for action in actions:
        action.wait_until_finished()


def bought(client: Client, name: str, key: BoundSSHKey, user_data: str | None = None, **more: Any) -> BoundServer:
    made = client.servers.create(
        name, CX32, DEBIAN, location=Location(name="fsn1"), ssh_keys=[key],
        user_data=user_data, **more,
    )  # fmt: skip
    finish(made.action, *made.next_actions)
    made.server.reload()
    return made.server


def joined(server: BoundServer, network: BoundNetwork, ip: str) -> BoundServer:
    """As the platform makes a server: created off, given its address, powered on."""
    finish(server.attach_to_network(network, ip=ip))
    finish(server.power_on())
    server.reload()
    assert eventually(lambda: answers(ip, 22, 0.5), 60)
    return server


@pytest.fixture(scope="module")
def web(client: Client, network: BoundNetwork, operator: BoundSSHKey, host_key: Path) -> BoundServer:
    """A server with a public and a private interface."""
    made = bought(client, "web-1", operator, cloud_config(host_key), start_after_create=False)
    return joined(made, network, FIRST)


@pytest.fixture(scope="module")
def other(client: Client, network: BoundNetwork, operator: BoundSSHKey, host_key: Path) -> BoundServer:
    made = bought(client, "web-2", operator, cloud_config(host_key), start_after_create=False)
    return joined(made, network, SECOND)


def public(server: BoundServer) -> str:
    server.reload()
    assert server.public_net is not None
    return str(server.public_net.ipv4.ip)  # type: ignore[union-attr]


def number_of(server: BoundServer) -> int:
    assert server.id is not None
    return server.id


def logs_in(cloud: LabCommand, address: str, key: Path) -> bool:
    """Whether a login works with the host key that was pinned before the server was asked for, and no other one."""
    pinned = key.with_name("known_hosts")
    pinned.write_text(f"{address} {key.with_suffix('.pub').read_text()}")
    options = {"UserKnownHostsFile": pinned, "BatchMode": "yes", "StrictHostKeyChecking": "yes", "ConnectTimeout": 5}
    said = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    command = ["ssh", "-F", "none", "-i", str(cloud.lab.key), *said, f"root@{address}", "true"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def rows(cloud: LabCommand) -> dict[str, dict[str, Any]]:
    """What `lab status --json` says, without another Python."""
    return {row["name"]: row for row in lifecycle.status(cloud.lab)}


def greeting(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=5) as client:
        return client.recv(100).decode()


def connects(cloud: LabCommand, name: str, address: str, port: int = 22) -> bool:
    return cloud("shell", name, "--", "python3", "-c", CONNECT, address, str(port)).returncode == 0


def left_of(lab: Lab, server: int) -> list[str]:
    """Everything on this host that says that there is or was such a server."""
    place = str(kept.folder(lab, server))
    found = [line.name for line in Path("/sys/class/net").iterdir() if f"{lab.name}-{server}" in line.name]
    found += [line for line in output("losetup", "-a").splitlines() if place in line]
    found += [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith(f"{lab.group}/cloud-{server}")]
    found += [line for line in output("nft", "list", "ruleset").splitlines() if f"{lab.name}-{server}" in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if place in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += [process.name] if place in (process / "cmdline").read_text(errors="replace") else []
        except OSError:
            continue  # that process has ended
    return found + ([place] if Path(place).exists() else [])


def test_a_second_up_changes_nothing(cloud: LabCommand) -> None:
    said = json.loads(cloud.must("cloud", "up", "--json"))
    assert (said["changed"], said["put_in_place"], said["state"]) == (False, [], "running")
    assert said["endpoint"] == cloud.lab.cloud_endpoint


def test_what_the_cloud_keeps_is_for_its_owner_only(cloud: LabCommand, web: BoundServer) -> None:
    assert stat.S_IMODE(cloud.lab.cloud.stat().st_mode) == 0o700
    files = [cloud.lab.cloud / name for name in ("token", "state.json")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    described = (kept.folder(cloud.lab, number_of(web)) / "server.json").read_text()
    assert "PRIVATE KEY" not in described


def test_a_server_boots_with_the_pinned_host_key_and_is_what_the_api_says(
    cloud: LabCommand, web: BoundServer, host_key: Path
) -> None:
    assert eventually(lambda: logs_in(cloud, FIRST, host_key), 60)
    assert logs_in(cloud, public(web), host_key)
    other = host_key.with_name("other")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    assert not logs_in(cloud, FIRST, other)
    assert cloud.must("shell", "web-1", "--", "hostname") == "web-1\n"
    assert web.private_net is not None
    [net] = web.private_net
    assert (net.ip, web.status) == (FIRST, "running")
    links = json.loads(cloud.must("shell", "web-1", "--", "ip", "-j", "-4", "address"))
    found = {one["local"]: link["ifname"] for link in links for one in link["addr_info"]}
    assert set(found) == {"127.0.0.1", FIRST, public(web)}
    assert (
        cloud.must("shell", "web-1", "--", "cat", f"/sys/class/net/{found[FIRST]}/address").strip() == net.mac_address
    )
    assert cloud("shell", "web-1", "--", "test", "-e", "/ran").returncode == 1  # as docs/lab.md says


def test_a_server_has_what_the_five_machines_have(cloud: LabCommand, web: BoundServer) -> None:
    assert web.id
    said = cloud.must("shell", "web-1", "--", "stat", "-f", "-c", "%T", OBJECTS.path, "/var/lib/rancher", "/")
    assert said.split() == ["xfs", "ext2/ext3", "overlayfs"]
    for setting in ("vm.overcommit_memory", "net.ipv4.ip_forward"):
        cloud.must("shell", "web-1", "--", "sysctl", "-w", f"{setting}=1")
    make = "cd /sys/fs/cgroup; for c in */; do [ ! -e $c/cgroup.procs ] || { mkdir $c/tried && rmdir $c/tried; }; done"
    cloud.must("shell", "web-1", "--", "sh", "-ec", make)
    assert cloud.must("shell", "web-1", "--", "systemctl", "--failed", "--no-legend") == ""
    assert not connects(cloud, "web-1", "192.0.2.77", 80)


def test_a_server_asks_the_metadata_service_who_it_is(
    cloud: LabCommand, web: BoundServer, network: BoundNetwork
) -> None:
    def ask(path: str) -> str:
        return cloud.must("shell", "web-1", "--", "python3", "-c", ASK, f"{METADATA}{path}")

    assert ask("/instance-id").strip() == str(web.id)
    assert f"network_id: {network.id}" in ask("/private-networks")
    assert f"public-ipv4: {public(web)}" in ask("")


def test_firewalls_filter_public_interfaces(
    cloud: LabCommand, client: Client, web: BoundServer, other: BoundServer
) -> None:
    address = public(web)
    assert eventually(lambda: connects(cloud, "web-2", address), 60)
    firewall: BoundFirewall = client.firewalls.create(
        "closed", [], resources=[FirewallResource("server", web)]
    ).firewall
    assert eventually(lambda: not answers(address, 22, 0.5), 30)
    assert answers(FIRST, 22, 1)  # private networks are not filtered
    assert not connects(cloud, "web-2", address)
    assert connects(cloud, "web-1", public(other))  # what it asks for itself comes back
    ssh = FirewallRule("in", "tcp", [f"{public(other)}/32"], port="22")
    finish(*firewall.set_rules([ssh]))
    assert connects(cloud, "web-2", address)
    assert not answers(address, 22, 0.5)  # from this machine: another source
    out = FirewallRule("out", "tcp", [], port="9", destination_ips=["0.0.0.0/0"])
    finish(*firewall.set_rules([ssh, out]))
    assert not connects(cloud, "web-1", public(other))
    assert connects(cloud, "web-1", SECOND)
    assert connects(cloud, "web-2", address)  # answers are no new connections
    finish(*firewall.remove_from_resources([FirewallResource("server", web)]))
    assert answers(address, 22, 1)


def test_a_network_is_left_and_joined_while_the_server_runs(
    cloud: LabCommand, web: BoundServer, network: BoundNetwork, host_key: Path
) -> None:
    pid = rows(cloud)["web-1"]["uptime_s"]
    finish(web.detach_from_network(network))
    assert not answers(FIRST, 22, 0.5)
    assert answers(public(web), 22, 1)
    finish(web.attach_to_network(network, ip=MOVED))
    assert eventually(lambda: logs_in(cloud, MOVED, host_key), 10)
    assert rows(cloud)["web-1"]["address"] == MOVED
    finish(web.detach_from_network(network))
    finish(web.attach_to_network(network, ip=FIRST))
    assert eventually(lambda: answers(FIRST, 22, 0.5), 10)
    assert rows(cloud)["web-1"]["uptime_s"] > pid


def test_a_network_that_the_lab_has_not_is_refused(client: Client, cloud: LabCommand, web: BoundServer) -> None:
    elsewhere = client.networks.create("else", "10.9.0.0/16", [NetworkSubnet("10.9.0.0/24", "cloud", "eu-central")])
    with pytest.raises(Exception, match=r"cannot give web-1 the address 10[.]9[.]0[.]"):
        finish(web.attach_to_network(elsewhere))
    finish(web.detach_from_network(elsewhere))
    assert rows(cloud)["web-1"]["address"] == FIRST


def test_power_is_the_machines(cloud: LabCommand, web: BoundServer, host_key: Path) -> None:
    cloud.must("shell", "web-1", "--", "sh", "-c", "echo kept > /root/file")
    finish(web.shutdown())
    assert rows(cloud)["web-1"]["state"] == "down"
    finish(web.power_on())
    assert eventually(lambda: logs_in(cloud, FIRST, host_key), 60)
    finish(web.reset())
    assert eventually(lambda: logs_in(cloud, FIRST, host_key), 60)
    assert cloud.must("shell", "web-1", "--", "cat", "/root/file") == "kept\n"
    finish(web.power_off())
    assert rows(cloud)["web-1"]["state"] == "down"
    finish(web.power_on())
    assert eventually(lambda: logs_in(cloud, public(web), host_key), 60)


def test_the_labs_faults_work_on_a_server(cloud: LabCommand, web: BoundServer) -> None:
    address = public(web)
    cloud.must("fault", "cut", "web-1")
    assert not answers(FIRST, 22, 0.5)
    assert not answers(address, 22, 0.5)
    cloud.must("fault", "undo", "web-1")
    assert answers(FIRST, 22, 1)
    assert answers(address, 22, 1)
    cloud.must("fault", "reboot", "web-1")
    cloud.must("fault", "kill", "web-1")
    assert rows(cloud)["web-1"]["state"] == "down"
    assert "SSH after" in cloud.must("fault", "undo", "web-1", "kill")
    assert cloud.must("fault", "list") == "no fault is on\n"


def test_a_load_balancer_balances(
    cloud: LabCommand, client: Client, web: BoundServer, other: BoundServer, network: BoundNetwork
) -> None:
    check = LoadBalancerHealthCheck("tcp", 22, interval=3, timeout=3, retries=1)
    service = LoadBalancerService("tcp", 2222, 22, proxyprotocol=False, health_check=check)
    made = client.load_balancers.create("lb", LoadBalancerType(name="lb11"), location=Location(name="fsn1"))
    finish(made.action)
    balancer = made.load_balancer
    finish(balancer.attach_to_network(network, ip=BALANCED))
    finish(balancer.add_service(service))
    finish(balancer.add_target(LoadBalancerTarget("server", server=web, use_private_ip=True)))

    def health() -> str:
        balancer.reload()
        return str(balancer.targets[0].health_status[0].status)  # type: ignore[index]

    assert eventually(lambda: health() == "healthy", 30)
    assert balancer.public_net is not None
    address = str(balancer.public_net.ipv4.ip)
    assert greeting(address, 2222).startswith("SSH-2.0")
    for target in (address, BALANCED):
        assert connects(cloud, "web-2", target, 2222)
        assert not connects(cloud, "web-2", target, 8080)
    finish(web.power_off())
    assert eventually(lambda: health() == "unhealthy", 30)
    finish(web.power_on())
    assert eventually(lambda: answers(FIRST, 22, 0.5), 60)
    balancer.delete()
    assert eventually(lambda: BALANCED not in output("ip", "-4", "address", "show", "dev", cloud.lab.bridge), 30)
    assert other.id != web.id


def test_a_killed_cloud_leaves_its_machines_alone_and_goes_on_where_it_was(
    cloud: LabCommand, client: Client, web: BoundServer, operator: BoundSSHKey
) -> None:
    before = rows(cloud)["web-1"]["uptime_s"]
    made = client.servers.create("late", CX32, DEBIAN, ssh_keys=[operator])
    for process in service.group(cloud.lab).processes():
        os.kill(process, signal.SIGKILL)
    assert eventually(lambda: not service.group(cloud.lab).populated())
    assert json.loads(cloud.must("cloud", "up", "--json"))["put_in_place"] == ["cloud"]
    finish(made.action, *made.next_actions)
    assert {one.name for one in client.servers.get_all()} >= {"web-1", "late"}
    assert rows(cloud)["web-1"]["uptime_s"] > before
    assert rows(cloud)["late"]["state"] == "running"
    finish(made.server.delete())
    assert left_of(cloud.lab, number_of(made.server)) == []
    assert web.id != made.server.id


def test_the_clouds_own_faults(cloud: LabCommand, client: Client, operator: BoundSSHKey) -> None:
    cloud.must("cloud", "fault", "add", "sold_out", "--server-type", "cx32")
    assert "sold_out" in cloud.must("cloud", "status")
    with pytest.raises(Exception, match="no cx32"):
        bought(client, "never", operator)
    cloud.must("cloud", "fault", "clear")
    assert cloud.must("cloud", "fault", "list") == "no fault is on\n"
    refused = cloud("cloud", "fault", "add", "nonsense")
    assert refused.returncode == 1
    assert "cannot POST /faults" in refused.stderr


def test_the_cloud_answers_this_machine_only(cloud: LabCommand, web: BoundServer) -> None:
    assert web.id
    for address in (str(cloud.lab.gateway), cloud.lab.cloud_address, "172.31.1.1"):
        for port in (8080, 8081):
            assert not connects(cloud, "web-1", address, port)
    with pytest.raises(OSError):  # whatever the kernel says
        socket.create_connection((str(cloud.lab.gateway), 8080), timeout=1)


def test_nothing_is_left_of_a_deleted_server(cloud: LabCommand, client: Client, other: BoundServer) -> None:
    number = number_of(other)
    assert left_of(cloud.lab, number)
    cloud.must("fault", "cut", "web-2")
    finish(other.delete())
    assert left_of(cloud.lab, number) == []
    assert cloud.must("fault", "list") == "no fault is on\n"
    assert "web-2" not in rows(cloud)
    assert client.servers.get_by_name("web-2") is None
