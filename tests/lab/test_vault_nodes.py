"""OpenBao on three machines of its own: from nothing, killed while it starts, broken in turn, whole again each time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facts.openbao import FOUNDING
from tests.lab.commands import ROOT, Running, on, unterbau, until
from tests.lab.conftest import LabCommand

pytestmark = pytest.mark.lab

NODES = ("spare-srv-1", "spare-srv-2", "spare-srv-3")
AUDITS = ("/mnt/audit-1/openbao/audit.log", "/mnt/audit-2/openbao/audit.log")
LIMIT_S = 180
INVENTORY = """\
from unterbau.declaration import Node, SecretStore, VaultEndpoint, endpoints, hosts

_ssh = {{"ssh_key": "{state}/ssh/id_ed25519", "known_hosts": "{state}/ssh/known_hosts"}}
servers = hosts(
    Node(name="spare-srv-1", address="10.78.250.11", **_ssh),
    Node(name="spare-srv-2", address="10.78.250.12", **_ssh),
    Node(name="spare-srv-3", address="10.78.250.13", **_ssh),
)
store = endpoints(SecretStore(path="{state}/secrets/store.age", identity="{state}/secrets/identity.txt"))
vault = endpoints(VaultEndpoint())
"""
DATA = """\
from unterbau.declaration import Kernel, Network, Operator, TimeSync, VaultServer, public_key_file

network = Network(cidr="10.78.250.0/24", domain="spare.internal", controllers=("10.78.250.1/32",))
time_sync = TimeSync(servers=(), island="servers", control_clock=False)
kernel_modules = Kernel()
operators = (
    Operator(name="operator", authorized_keys=(public_key_file("{state}/ssh/id_ed25519.pub", made_by="the lab"),)),
)
vault_server = VaultServer(cluster_name="spare", audit_paths={audits})
"""
SITE = """\
from pyinfra import host

from deploys.pki import trust
from deploys.secrets import secrets
from deploys.vault import vault

if host.data.get("store"):
    secrets()
if host.data.get("node"):
    trust()
    vault()
"""


class Cluster:
    """The lab's three servers, and a checkout with nothing but their layers."""

    def __init__(self, command: LabCommand, root: Path) -> None:
        self.command, self.root = command, root

    def on(self, node: str, script: str) -> str:
        return on(node, script, self.command.lab)

    def apply(self, *arguments: str) -> str:
        ran = unterbau("apply", "spare", "-y", *arguments, cwd=self.root)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def plan(self) -> tuple[int, str]:
        ran = unterbau("plan", "spare", cwd=self.root)
        return ran.returncode, ran.stdout

    def status(self) -> dict[str, Any]:
        ran = unterbau("vault", "status", "spare", "--json", cwd=self.root)
        found: dict[str, Any] = json.loads(ran.stdout)
        assert ran.returncode == found["exit_code"]
        return found

    def states(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in self.status()["members"]}

    def leader(self) -> str:
        found: list[str | None] = []
        self.until(lambda: found.append(self.status()["leader"]) or found[-1] is not None)
        return str(found[-1])

    def until(self, condition: Callable[[], bool]) -> None:
        until(condition, LIMIT_S, 0.3, self.status)

    def until_on(self, node: str, condition: str) -> None:
        """Asked on the node itself: what lasts for a moment only would be over before a command from here has begun."""
        self.on(node, f"timeout {LIMIT_S} sh -c 'until {condition}; do sleep 0.02; done'")

    def until_healthy(self) -> None:
        self.until(lambda: self.status()["exit_code"] == 0)

    def until_nothing_to_do(self) -> None:
        """Without anybody's help: servers that have just come back find each other."""
        self.until(lambda: self.plan()[0] == 0)

    def forget(self) -> None:
        """As before the first run: no data anywhere."""
        for node in NODES:
            self.on(node, f"systemctl stop openbao 2>/dev/null; rm -rf /var/lib/openbao/* {FOUNDING}")


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three healthy members, made by one apply from nothing."""
    spare_command.must("down")
    spare_command.must("up")
    root, state = tmp_path_factory.mktemp("root"), spare_command.lab.state
    for folder in ("inventories", "group_data", "deploys"):
        (root / folder).mkdir()
    (root / "locks").symlink_to(ROOT / "locks")
    (root / "group_data" / "all.py").symlink_to(ROOT / "group_data" / "all.py")
    for path in (ROOT / "deploys").glob("*.py"):
        (root / "deploys" / path.name).symlink_to(path)
    (root / "deploys" / "site.py").unlink()
    (root / "deploys" / "site.py").write_text(SITE)
    for folder in ("facts", "operations"):
        (root / folder).symlink_to(ROOT / folder)
    (root / "inventories" / "spare.py").write_text(INVENTORY.format(state=state))
    (root / "group_data" / "spare.py").write_text(DATA.format(state=state, audits=AUDITS))
    made = Cluster(spare_command, root)
    made.apply()
    yield made
    spare_command.must("down")


@pytest.fixture(autouse=True)
def healthy(cluster: Cluster, spare: LabCommand) -> None:
    """Each test begins with a cluster that is whole."""
    cluster.until_healthy()


def test_three_members_from_nothing_and_a_second_run_changes_nothing(cluster: Cluster) -> None:
    assert sorted(cluster.states().values()) == ["active", "standby", "standby"]
    code, said = cluster.plan()
    assert code == 0, said


def test_the_service_can_write_neither_its_binary_nor_its_configuration_nor_read_the_key(cluster: Cluster) -> None:
    for path in ("/etc/openbao/server.hcl", "$(readlink -f /proc/$(pidof bao)/exe)"):
        assert "writable" not in cluster.on(
            NODES[0], f"setpriv --reuid=openbao --regid=openbao --clear-groups test -w {path} && echo writable || true"
        )
    read = "setpriv --reuid=openbao --regid=openbao --clear-groups cat /etc/openbao/seal/*.key 2>&1 || true"
    assert "ermission denied" in cluster.on(NODES[0], read) or "No such file" in cluster.on(NODES[0], read)
    limits = cluster.on(NODES[0], "cat /proc/$(pidof bao)/limits /proc/$(pidof bao)/status")
    assert "Max core file size        0                    0" in limits
    assert "CapBnd:\t0000000000000000" in limits


def test_a_killed_leader_is_followed_by_another_and_comes_back_by_itself(cluster: Cluster) -> None:
    leader = cluster.leader()
    cluster.command.must("fault", "kill", leader)
    cluster.until(lambda: (said := cluster.status())["leader"] not in (None, leader) and said["exit_code"] == 2)
    assert cluster.states()[leader] == "unreachable"
    assert f"! {leader}: cannot connect" in cluster.plan()[1]
    cluster.command.must("fault", "undo", leader)
    cluster.until_healthy()
    cluster.until_nothing_to_do()


def test_all_three_rebooted_unseal_by_themselves(cluster: Cluster) -> None:
    boots = {
        node: cluster.on(node, "cat /proc/sys/kernel/random/boot_id; systemctl show -p InvocationID openbao")
        for node in NODES
    }
    for node in NODES:
        cluster.on(node, "systemctl --no-block reboot")
    for node in NODES:
        cluster.until(lambda node=node: again(cluster, node) not in (None, boots[node]))  # type: ignore[misc]
    cluster.until_healthy()
    cluster.until_nothing_to_do()


def again(cluster: Cluster, node: str) -> str | None:
    script = "cat /proc/sys/kernel/random/boot_id; systemctl show -p InvocationID openbao"
    ran = cluster.command("shell", node, "--", "sh", "-c", script)
    return ran.stdout if ran.returncode == 0 and "InvocationID=\n" not in ran.stdout else None


def test_a_restart_is_refused_while_another_member_is_down(cluster: Cluster) -> None:
    down = next(node for node in NODES if node != cluster.leader())
    for node in NODES:
        cluster.on(node, "touch /etc/openbao/server.hcl")
    cluster.on(down, "systemctl stop openbao")
    code, said = cluster.plan()
    assert code == 3
    assert "leaves 1 of 3 members, quorum needs 2" in said
    cluster.apply("--limit", down)
    order = [line for line in cluster.apply().splitlines() if line.startswith("done ") and "vault | servers" in line]
    assert [line.rsplit("| ", 1)[1] for line in order] == ["followers", "leader"]


def test_a_rotated_seal_key_reaches_all_members_and_the_oldest_goes(cluster: Cluster) -> None:
    for _ in range(2):
        assert unterbau("secrets", "rotate", "vault/seal-key", "--env", "spare", cwd=cluster.root).returncode == 0
        cluster.apply()
    keys = {cluster.on(node, "ls /etc/openbao/seal") for node in NODES}
    assert len(keys) == 1
    assert len(keys.pop().split()) == 2
    for node in NODES:
        cluster.on(node, "systemctl kill -s KILL openbao")
    cluster.until_healthy()


def test_a_lost_disk_rejoins_also_the_founders(cluster: Cluster) -> None:
    cluster.on(NODES[0], "systemctl stop openbao; rm -rf /var/lib/openbao")
    said = cluster.apply("--limit", NODES[0])
    assert "first start" not in said
    cluster.until_healthy()


def test_one_full_audit_log_is_a_warning_and_both_are_an_error_that_names_them(cluster: Cluster) -> None:
    leader = cluster.leader()
    cluster.command.must("fault", "fill", leader, "--path", "/mnt/audit-1")
    one = cluster.status()
    assert (one["exit_code"], one["leader"]) == (2, leader)
    cluster.on(leader, "cat /dev/zero > /mnt/audit-2/filler 2>/dev/null || true")
    try:
        assert cluster.status()["exit_code"] == 1
        code, said = cluster.plan()
        assert code == 1
        assert f"! {leader}: cannot rely on OpenBao on {leader}: none of its audit logs can be written" in said
        assert all(f"{path} (" in said for path in AUDITS)
    finally:
        cluster.on(leader, "rm -f /mnt/audit-2/filler")
        cluster.command.must("fault", "undo", leader)


def test_audit_logs_are_rotated_and_written_again(cluster: Cluster) -> None:
    leader = cluster.leader()
    address = cluster.command.lab.machine(leader).address
    ask = f"curl -s --cacert /etc/unterbau/pki/ca.pem -X POST https://{address}:8200/v1/auth/deploy/login"
    cluster.on(leader, f"{ask}; logrotate -f /etc/logrotate.d/unterbau-openbao")
    for path in AUDITS:
        assert int(cluster.on(leader, f"stat -c %s {path}.1.gz")) > 0
        cluster.until(lambda path=path: int(cluster.on(leader, f"{ask} >/dev/null; stat -c %s {path}")) > 0)  # type: ignore[misc]


def test_a_machine_that_dies_while_it_initialises_starts_over(cluster: Cluster) -> None:
    cluster.forget()
    run = Running("apply", "spare", "-y", cwd=cluster.root).until("vault | servers | first start · spare-srv-1")
    cluster.until_on(NODES[0], f"test -e {FOUNDING} && test -e /var/lib/openbao/raft/raft.db")
    cluster.command.must("fault", "kill", NODES[0])
    run.process.kill()
    run.end()
    cluster.command.must("fault", "undo", NODES[0])
    assert cluster.on(NODES[0], f"ls {FOUNDING}; systemctl is-active openbao || true").split() == [FOUNDING, "inactive"]
    assert "OpenBao cluster: initialised in part -> initialised" in cluster.apply()
    cluster.until_healthy()
    cluster.until_nothing_to_do()


def test_an_apply_that_is_killed_while_it_initialises_is_completed_by_the_next(cluster: Cluster) -> None:
    cluster.forget()
    run = Running("apply", "spare", "-y", cwd=cluster.root).until("vault | servers | first start · spare-srv-1")
    cluster.until(lambda: cluster.command("shell", NODES[0], "--", "test", "-e", FOUNDING).returncode == 0)
    run.process.kill()
    run.end()
    cluster.until(lambda: completed(cluster))
    cluster.until_healthy()


def completed(cluster: Cluster) -> bool:
    """By an apply; one that is told that the founding is still under way, on a busy machine, is followed by another."""
    ran = unterbau("apply", "spare", "-y", cwd=cluster.root)
    under_way = "an initialisation has been running" in ran.stdout + ran.stderr
    assert ran.returncode == 0 or under_way, ran.stdout + ran.stderr
    return ran.returncode == 0


def test_no_founding_while_another_members_disk_cannot_be_read(cluster: Cluster) -> None:
    cluster.forget()
    cluster.command.must("fault", "kill", NODES[2])
    try:
        ran: subprocess.CompletedProcess[str] = unterbau("plan", "spare", cwd=cluster.root)
        assert ran.returncode == 1
        assert f"whether {NODES[2]} has data of a cluster could not be read" in ran.stdout
    finally:
        cluster.command.must("fault", "undo", NODES[2])
    cluster.apply()
