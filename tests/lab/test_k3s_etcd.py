"""etcd on machines: out of space and back, and the snapshot drill: A is there and B is not, on fresh machines too."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from tests.lab.commands import unterbau
from tests.lab.conftest import LabCommand
from tests.lab.k3s import KUBECTL, SITE, Cluster

pytestmark = pytest.mark.lab

TLS = "/var/lib/rancher/k3s/server/tls/etcd"
ASK = f"curl -s --cacert {TLS}/server-ca.crt --cert {TLS}/client.crt --key {TLS}/client.key"
GATEWAY = "https://127.0.0.1:2382/v3"
SNAPSHOTS = "/var/lib/rancher/k3s/server/db/snapshots"
WITH_ETCD = (
    SITE.replace("from deploys.k3s import", "from deploys.etcd import care, snapshots\nfrom deploys.k3s import")
    + '\nlayer.reached(name="layer etcd")\nif is_server():\n    care()\n    snapshots()\n'
)
# Writes one key until nobody may, and says what was acknowledged last.
FILL = f"""
for number in $(seq 1 200); do
    {{ printf '{{"key":"{base64.b64encode(b"/of-the-test").decode()}","value":"'
      {{ printf '%08d' "$number"; head -c 700000 /dev/zero | tr '\\0' .; }} | base64 -w0; printf '"}}'; }} > /run/put
    case $({ASK} --data @/run/put {GATEWAY}/kv/put) in *'"revision"'*) last=$number;; *) break;; esac
done
rm -f /run/put; echo "$last"
"""
LAST = f"""{ASK} -d '{{"key":"{base64.b64encode(b"/of-the-test").decode()}"}}' {GATEWAY}/kv/range"""


@pytest.fixture(scope="module")
def cluster(spare_command: LabCommand, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three servers, two agents, and an etcd that is soon full."""
    made = Cluster(spare_command, tmp_path_factory.mktemp("etcd"), site=WITH_ETCD)
    made.declared["etcd_args"] = '("quota-backend-bytes=41943040",)'
    return made.from_the_last_one()


def etcd(cluster: Cluster, *arguments: str) -> str:
    ran = unterbau("etcd", *arguments, cwd=cluster.root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def healthy(cluster: Cluster) -> None:
    """But for warnings: of no snapshot yet, and of disks that are slow on a busy machine."""
    ran = unterbau("etcd", "status", cluster.environment, cwd=cluster.root)
    assert ran.returncode in (0, 2), ran.stdout + ran.stderr
    assert "alarm" not in ran.stdout


def config_maps(cluster: Cluster, server: str = "srv-1") -> set[str]:
    said = json.loads(cluster.on(server, f"{KUBECTL} get configmaps -o json"))
    return {one["metadata"]["name"] for one in said["items"]}


def test_all_is_well_at_first(cluster: Cluster) -> None:
    healthy(cluster)
    code, plan = cluster.plan()
    assert (code, plan["changes"]) == (0, [])


def test_out_of_space_and_back_without_losing_what_was_acknowledged(cluster: Cluster) -> None:
    last = int(cluster.on("srv-1", FILL))
    refused = cluster.on("srv-2", f"{KUBECTL} create configmap full 2>&1; :")
    assert "space exceeded" in refused
    status = unterbau("etcd", "status", cluster.environment, cwd=cluster.root)
    assert status.returncode == 1
    assert "the alarm NOSPACE" in status.stdout

    code, plan = cluster.plan()
    assert code == 2
    said = {one["subject"]: one for change in plan["changes"] for one in change["changes"]}
    assert any(subject.startswith("etcd alarm of") for subject in said)
    assert sum(subject.startswith("etcd database of") for subject in said) == len(cluster.servers)
    cluster.apply()

    cluster.on("srv-2", f"{KUBECTL} create configmap after")
    found = json.loads(cluster.on("srv-3", LAST))["kvs"][0]["value"]
    assert int(base64.b64decode(found)[:8]) >= last  # the one that was refused may be there: it was applied first
    healthy(cluster)
    assert cluster.plan()[0] == 0


def test_a_snapshot_whose_token_the_store_has_not_is_told_before_it_is_needed(cluster: Cluster) -> None:
    """As after a disaster in which the store was made anew, or was restored from a copy that was too old."""
    etcd(cluster, "snapshot", "--env", cluster.environment)
    usual = cluster.inventory
    cluster.inventory = usual.replace("/secrets/", "/another-store/")
    cluster.write()
    ran = unterbau("secrets", "create", "--env", cluster.environment, cwd=cluster.root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    ran = unterbau("etcd", "snapshots", cluster.environment, cwd=cluster.root)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "is worthless: it was taken under the token" in ran.stdout
    code, plan = cluster.plan()
    failed = {rule["name"]: rule["arithmetic"] for rule in plan["rules"] if not rule["passed"]}
    print(failed)  # noqa: T201  # what it must show
    assert code == 3
    assert "the cluster's server token is " in str(failed)
    cluster.inventory = usual
    cluster.write()
    assert cluster.plan()[0] == 0


def test_a_snapshot_is_restored_where_it_was_taken_and_on_fresh_machines(cluster: Cluster, tmp_path: Path) -> None:
    cluster.on("srv-1", f"{KUBECTL} create configmap a")
    etcd(cluster, "snapshot", "--env", cluster.environment)
    listed = json.loads(etcd(cluster, "snapshots", cluster.environment, "--json"))["snapshots"]
    assert {one["usable"] for one in listed} == {"yes"}
    newest = listed[0]
    node = newest["place"].removeprefix(f"{cluster.environment}-")
    file = tmp_path / newest["name"]
    file.write_bytes(base64.b64decode(cluster.on(node, f"base64 -w0 {SNAPSHOTS}/{newest['name']}")))

    cluster.on("srv-1", f"{KUBECTL} create configmap b")
    etcd(cluster, "restore", "--env", cluster.environment, "--from", f"{newest['place']}:{newest['name']}", "-y")
    _a_and_not_b(cluster)
    cluster.apply()
    assert cluster.plan()[0] == 0

    lab = cluster.command.lab
    kept = tmp_path / "secrets"
    shutil.copytree(lab.store.parent, kept)  # what an operator keeps: the store and the snapshot
    cluster.command.must("down")
    lab.state.mkdir(parents=True)
    shutil.copytree(kept, lab.store.parent)
    cluster.command.must("up")
    cluster.apply()
    cluster.on("srv-1", f"{KUBECTL} create configmap b")

    damaged = tmp_path / "damaged"
    kept_bytes = bytearray(file.read_bytes())
    kept_bytes[-40] ^= 0xFF  # before the checksum, which is the last 32 bytes
    damaged.write_bytes(kept_bytes)
    ran = unterbau("etcd", "restore", "--env", cluster.environment, "--from", str(damaged), "-y", cwd=cluster.root)
    assert (ran.returncode, "it is damaged" in ran.stderr) == (1, True)
    assert "b" in config_maps(cluster)  # nothing was stopped for it
    etcd(cluster, "restore", "--env", cluster.environment, "--from", str(file), "-y")
    _a_and_not_b(cluster)


def _a_and_not_b(cluster: Cluster) -> None:
    for server in cluster.servers:
        found = config_maps(cluster, server)
        assert "a" in found
        assert "b" not in found
        members = cluster.members(server)
        assert len(members) == len(cluster.servers)
        assert all(members.values())
    assert cluster.ready() == sorted(cluster.name(one) for one in (*cluster.servers, *cluster.workers))
