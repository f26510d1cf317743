"""Snapshots on a schedule: the leader saves one, whole or not at all, and keeps the newest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.bao import Bao, BaoError, eventually
from tests.lab.commands import on, unterbau
from unterbau.connectors.vault_on_server import fingerprint
from unterbau.lab import everyone
from unterbau.lab.layout import Lab

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("converged")]

MEMBERS = ("srv-1", "srv-2", "srv-3")
FOLDER = "/var/lib/openbao/snapshots"
SERVICE = "openbao-snapshot.service"
KEPT = 28  # the platform's default
LOGIN = """\
import http.client, ssl, sys
folder = "/etc/unterbau/pki/"
context = ssl.create_default_context(cafile=folder + "ca.pem")
context.load_cert_chain(folder + sys.argv[2] + ".pem")
connection = http.client.HTTPSConnection(sys.argv[1], 8200, context=context, timeout=20)
connection.request("POST", "/v1/auth/nodes/login", '{"name": "snapshot"}')
print(connection.getresponse().read().decode())
"""  # not every machine has curl


@pytest.fixture
def bao(lab: Lab) -> Bao:
    made = Bao(lab)
    eventually(lambda: made.leader() is not None, 180)
    return made


@pytest.fixture
def leader(bao: Bao) -> str:
    """The member that leads, with the folder that its first snapshot makes."""
    found = bao.leader()
    assert found is not None
    on(found, f"install -d -m 700 -o openbao -g openbao {FOLDER}")
    return found


@pytest.fixture
def tight(leader: str) -> Iterator[str]:
    """The leader, with a command to mount a small file system over its snapshots; gone after the test."""
    yield leader
    on(leader, f"! mountpoint -q {FOLDER} || umount {FOLDER}; systemctl reset-failed {SERVICE} || true")


def run(node: str) -> tuple[bool, str]:
    """(ended well, what it said) of the service, started by hand."""
    ended = on(node, f"systemctl start {SERVICE} && echo well || true").strip()
    invocation = on(node, f"systemctl show --property=InvocationID --value {SERVICE}").strip()
    look = f"journalctl --quiet --output=cat _SYSTEMD_INVOCATION_ID={invocation}"
    return ended == "well", on(node, f"journalctl --sync; {look}")


def kept(node: str) -> list[str]:
    return on(node, f"! test -d {FOLDER} || find {FOLDER} -mindepth 1 -printf '%f\\n'").split()


def status() -> tuple[int, dict[str, Any]]:
    ran = unterbau("vault", "status", "lab", "--json")
    return ran.returncode, json.loads(ran.stdout)


def test_the_leader_saves_one_with_what_is_needed_to_judge_it(bao: Bao, leader: str) -> None:
    ended_well, said = run(leader)
    assert ended_well, said
    found = re.search(rf"{FOLDER}/(\S+\.snap): raft index (\d+), opens with (seal-\d+); \d+ older ones removed", said)
    assert found, said
    name, index, key = found.groups()
    modes = on(leader, f"stat -c '%a %U' {FOLDER} {FOLDER}/{name} {FOLDER}/{name}.json").splitlines()
    assert modes == ["700 openbao", "600 openbao", "600 openbao"]

    sidecar = json.loads(on(leader, f"cat {FOLDER}/{name}.json"))
    health = bao.call(leader, "GET", "sys/health")
    assert sidecar["sha256"] == on(leader, f"sha256sum < {FOLDER}/{name}").split()[0]
    assert (sidecar["cluster"], sidecar["cluster_id"]) == (health["cluster_name"], health["cluster_id"])
    assert sidecar["raft_index"] == int(index) > 0
    assert next(iter(sidecar["seal_keys"].items())) == (key, fingerprint(bao.secret("vault/seal-key")))
    sums = on(leader, f"d=$(mktemp -d); tar -xzf {FOLDER}/{name} -C $d && cd $d && sha256sum -c SHA256SUMS; rm -rf $d")
    assert sorted(sums.split()) == ["OK", "OK", "meta.json:", "state.bin:"]

    code, document = status()
    assert (code, document["newest_snapshot"]["member"]) == (0, leader)
    assert f"{name[:4]}-{name[4:6]}-{name[6:8]}T" in document["newest_snapshot"]["newest_at"]


def test_a_follower_says_why_it_takes_none(leader: str) -> None:
    follower = next(member for member in MEMBERS if member != leader)
    before = kept(follower)
    ended_well, said = run(follower)
    assert ended_well, said
    assert re.search(r"no snapshot here: https://\S+ leads, not \S+:8200", said)
    assert kept(follower) == before


def test_every_server_has_the_timer(bao: Bao) -> None:
    for member in MEMBERS:
        shown = on(
            member, "systemctl show --property=ActiveState,UnitFileState,NextElapseUSecRealtime openbao-snapshot.timer"
        )
        assert "ActiveState=active" in shown
        assert "UnitFileState=enabled" in shown
        assert re.search(r"NextElapseUSecRealtime=\w{3} [0-9-]+ (00|06|12|18):00:00 UTC", shown), shown


def test_the_newest_are_kept(leader: str) -> None:
    old = [f"20200101T{number:06}Z.snap" for number in range(KEPT + 3)]
    on(leader, f"cd {FOLDER} && touch {' '.join(old)} {' '.join(name + '.json' for name in old)} && chown openbao *")
    try:
        there = {name for name in kept(leader) if name.endswith(".snap")}
        ended_well, said = run(leader)
        assert ended_well, said
        after = {name for name in kept(leader) if name.endswith(".snap")}
        (made,) = after - there
        assert after == {made, *sorted(there)[-(KEPT - 1) :]}
        assert {name.removesuffix(".json") for name in kept(leader)} == after
    finally:
        on(leader, f"rm -f {FOLDER}/20200101T*")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("1m", "found 1024 KiB free, and 64 MiB are left to OpenBao's database; make room"),
        ("80m,nr_inodes=1", "No space left on device"),
    ],
)
def test_without_room_it_fails_with_a_sentence_and_leaves_nothing_half(tight: str, size: str, said: str) -> None:
    on(tight, f"mount -t tmpfs -o size={size},mode=700,uid=$(id -u openbao),gid=$(id -g openbao) none {FOLDER}")
    ended_well, found = run(tight)
    assert not ended_well
    assert "cannot save a snapshot in /var/lib/openbao/snapshots: " in found
    assert said in found
    assert kept(tight) == []
    assert on(tight, f"systemctl is-failed {SERVICE}").strip() == "failed"
    code, document = status()
    assert code == 2
    (member,) = (one for one in document["members"] if one["name"] == tight)
    assert member["problems"] == ["its last snapshot failed; see `journalctl -u openbao-snapshot` there"]
    on(tight, f"umount {FOLDER}")
    ended_well, found = run(tight)
    assert ended_well, found
    assert status()[0] == 0


def test_the_login_reads_snapshots_and_nothing_else(bao: Bao, leader: str) -> None:
    """The token that a server's certificate gives, and the certificate of another service does not."""
    token = login(bao, leader, leader, "openbao")["auth"]
    assert (token["policies"], token["token_type"], token["lease_duration"]) == (["snapshot"], "batch", 120)
    for method, path in (
        ("GET", "kv/data/demo/api"),
        ("GET", "sys/policies/acl/snapshot"),
        ("POST", "sys/storage/raft/snapshot"),
        ("GET", "auth/nodes/certs/snapshot"),
        ("GET", "auth/token/lookup-self"),
    ):
        with pytest.raises(BaoError) as denied:
            bao.call(leader, method, path, token=token["client_token"])
        assert denied.value.status == 403, path
    assert "auth" not in login(bao, leader, "wrk-1", "postgresql")


def login(bao: Bao, leader: str, node: str, certificate: str) -> dict[str, Any]:
    """What the leader's auth/nodes answers to a certificate that lies on a node."""
    address = next(str(one.address) for one in everyone.machines(bao.lab) if one.name.endswith(leader))
    found: dict[str, Any] = json.loads(on(node, f"python3 - {address} {certificate} <<'END'\n{LOGIN}END"))
    return found


def test_no_token_stays_behind(leader: str) -> None:
    """Neither in the journal nor in a file that it wrote; its command line is in the unit, which anybody reads."""
    ended_well, said = run(leader)
    assert ended_well, said
    token = r"(hvb|hvs|[sb])\.[A-Za-z0-9_-]{20,}"
    look = f"journalctl --sync; journalctl --no-pager --unit={SERVICE}; systemctl cat {SERVICE}"
    assert not re.search(token, on(leader, look))
    assert on(leader, f"grep -lE '{token}' {FOLDER}/*.json || true") == ""
