"""What `unterbau etcd status` and `snapshots` make of readings, and where a restore finds its snapshot."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from facts.etcd import SILENT
from facts.etcd_member import State
from unterbau.domain.etcd import Snapshot
from unterbau.domain.unknown import UNKNOWN
from unterbau.etcd import source, status
from unterbau.etcd.cli import _code, snapshot_table, table
from unterbau.etcd.connection import Cluster
from unterbau.etcd.restore import RestoreError, Token
from unterbau.etcd.status import EtcdStatus, MemberStatus, judged
from unterbau.secrets.hidden import Hidden

CASES = Path(__file__).parent.parent / "cases/facts/etcd_member.State"
NORMAL, FULL = (
    State().process(yaml.safe_load((CASES / f"{name}.yaml").read_text())["output"])
    for name in ("normal", "no_space_leader")
)
A, B = "a" * 12, "b" * 12
NEW = Snapshot(
    "etcd-snapshot-srv-1-2", "srv-1", "file:///s/etcd-snapshot-srv-1-2", "2026-11-22T18:00:00Z", 7200, 4825120, True, A
)
OLD = Snapshot(
    "on-demand-srv-2-1", "srv-2", "file:///s/on-demand-srv-2-1", "2026-11-22T00:00:00Z", 72000, 4825120, True, B
)


def reading(*, leads: bool = False, found: Any = NORMAL, **changed: Any) -> Any:
    it = copy.deepcopy(found)
    ids = [one["id"] for one in it["cluster"]["members"]]
    it["cluster"].update({"leader_id": ids[0], "self_id": ids[0] if leads else ids[1], **changed})
    return it


LEADER, FOLLOWER, ANOTHER = judged("srv-1", reading(leads=True)), judged("srv-2", reading()), judged("srv-3", reading())
NAMES = ("srv-1-1a2b3c4d", "srv-2-5e6f7a8b", "srv-3-9c0d1e2f")
GONE = judged("srv-1", reading(leads=True, alarms=[{"member_id": "99", "kind": "NOSPACE"}]))
DOWN = judged("srv-3", {"cluster": {**SILENT, "set_up": True}, "metrics": reading()["metrics"]})


@pytest.mark.parametrize(
    ("servers", "kept", "code"),
    [
        ((LEADER, FOLLOWER, ANOTHER), (A, B), 0),
        ((LEADER, FOLLOWER, ANOTHER), (A,), 2),  # a snapshot that nobody can restore
        ((LEADER, FOLLOWER, DOWN), (A, B), 2),
        ((LEADER, FOLLOWER, judged("srv-3", UNKNOWN)), (A, B), 2),
        ((LEADER, judged("srv-2", reading(learner=True)), ANOTHER), (A, B), 2),
        ((LEADER, DOWN, DOWN), (A, B), 1),
        ((judged("srv-1", reading(leader_id=None)), DOWN, DOWN), (A, B), 1),
        ((judged("srv-1", FULL), FOLLOWER, ANOTHER), (A, B), 1),
        ((GONE, FOLLOWER, ANOTHER), (A, B), 1),  # nobody can write, whoever raised it
        ((judged("srv-1", reading(leads=True, alarms=None)), FOLLOWER, ANOTHER), (A, B), 2),
    ],
)
def test_the_exit_code(servers: tuple[MemberStatus, ...], kept: tuple[str, ...], code: int) -> None:
    assert EtcdStatus(servers, NAMES, (NEW, OLD), kept).exit_code == code


def test_snapshots_that_nobody_could_tell_of_are_not_none() -> None:
    found = EtcdStatus((LEADER, FOLLOWER, ANOTHER), NAMES, None, (A,))
    assert (found.exit_code, _code(found)) == (2, 1)
    assert "newest snapshot: nobody could say" in table(found)


def test_what_is_wrong_is_said() -> None:
    full = judged("srv-1", FULL)
    assert full.alarms == ("NOSPACE",)
    found = EtcdStatus(
        (full, FOLLOWER, DOWN), NAMES, (NEW, OLD), (A,), ("srv-9-00000000 is a member of etcd, and no server",)
    )
    said = table(found)
    assert "! srv-1: the alarm NOSPACE: nobody can write; apply: its care brings it back" in said
    assert "! srv-3: its etcd does not run; apply, or see `journalctl -u k3s` there" in said
    assert "newest snapshot: etcd-snapshot-srv-1-2 in srv-1, 2 h 0 min ago" in said
    assert f"! on-demand-srv-2-1 is worthless: it was taken under the token {B}" in said
    assert "! srv-9-00000000 is a member" in said
    assert f"on-demand-srv-2-1      srv-2  2026-11-22T00:00:00Z  4.6 MiB  {B}  no" in snapshot_table(found)


def test_alarms_of_others_and_those_nobody_could_read_are_said() -> None:
    assert GONE.problems == ("the alarm NOSPACE of member 99, which is gone: apply: the server that leads disarms it",)
    unread = judged("srv-2", reading(alarms=None, errors=["memberID:1 alarm:NOSPACE "]))
    assert unread.problems == ("it reports memberID:1 alarm:NOSPACE , and which alarms there are could not be read",)


def test_figures_that_are_bad_are_said() -> None:
    slow = reading(db_size_bytes=1990 * 2**20, db_in_use_bytes=300 * 2**20, quota_bytes=2048 * 2**20)
    slow["metrics"].update(fsync_p99_s=0.7, commit_p99_s=0.3, ready={"linearizable_read": False, "non_learner": True})
    assert judged("srv-1", slow).problems == (
        "its readyz fails: linearizable_read",
        "its database has 97% of its quota; raise quota-backend-bytes, or delete objects",
        "only 15% of its database are in use; the next apply defragments it",
        "its disk is slow: 1 of 100 fsyncs takes 0.70 s or more",
        "its disk is slow: 1 of 100 commits takes 0.30 s or more",
    )


def test_a_member_that_is_no_server_is_found() -> None:
    found = [(reading(), UNKNOWN)]
    assert list(status._strangers(found, {"srv-1", "srv-2", "srv-3"})) == []
    assert [line.split()[0] for line in status._strangers(found, {"srv-1", "srv-2"})] == ["srv-3-9c0d1e2f"]


class Server:
    """A server of a cluster as `source` asks it."""

    def __init__(
        self, name: str, files: dict[str, bytes], records: list[dict[str, Any]] | None, begun: str = ""
    ) -> None:
        self.name, self.files, self.records, self.begun = name, files, records, begun

    def run(self, command: str) -> str:
        if "under-way" in command:
            return self.begun
        if ".name" in command:
            return "it's own name"
        if command.startswith("rm "):
            del self.files[command.rsplit(maxsplit=1)[-1]]
            return ""
        if "sha256sum" in command:
            path = command.split()[3].rstrip(";")
            return hashlib.sha256(self.files[path]).hexdigest() if path in self.files else "none"
        words = command.split()
        self.files[words[-1]] = self.files[words[words.index("cp") + 1]]
        return ""

    def send(self, source: Path, target: str) -> None:
        self.files[target] = source.read_bytes()

    def fetch(self, source: str, target: Path) -> None:
        target.write_bytes(self.files[source])

    def kept(self) -> Any:
        return {"records": self.records}

    def file(self, path: str) -> Any:
        return {"exists": path in self.files, "size_bytes": 1, "intact": True, "token_hashes": [A]}


def cluster(*servers: Server) -> Cluster:
    declared: Any = None
    return Cluster(declared, cast("Any", servers), (), (Token(A, Hidden("of that time")),), "", cast("Any", None))


def record(one: Snapshot) -> dict[str, Any]:
    return dict(vars(one))


def test_the_newest_that_can_be_restored_comes_from_the_server_that_has_it() -> None:
    first = Server("srv-2", {}, [record(OLD), record(NEW)])
    second = Server("srv-1", {"/s/etcd-snapshot-srv-1-2": b"it"}, None)
    found = source.placed(cluster(first, second), "")
    assert found.name == "srv-1:/s/etcd-snapshot-srv-1-2"
    assert found.checked.identity == hashlib.sha256(b"it").hexdigest()[:12]
    assert list(first.files) == [f"/var/lib/unterbau/etcd-restore/{found.checked.identity}.snapshot"]


def test_a_file_here_is_sent(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"it")
    first = Server("srv-1", {}, None)
    assert source.placed(cluster(first), str(tmp_path / "it")).checked.tokens[0].hash == A
    assert list(first.files.values()) == [b"it"]


def test_one_that_lies_on_the_first_server_stays_there() -> None:
    first = Server("srv-1", {"/var/lib/rancher/k3s/server/db/snapshots/it": b"it"}, None)
    assert source.placed(cluster(first), "srv-1:it").name == "srv-1:/var/lib/rancher/k3s/server/db/snapshots/it"


BEGUN = hashlib.sha256(b"it").hexdigest()[:12]
OURS = "/var/lib/unterbau/etcd-restore"


def test_a_restore_that_was_begun_goes_on_by_its_name() -> None:
    files = {f"{OURS}/{BEGUN}.snapshot": b"it", "/s/it": b"it", "/s/another": b"another"}
    first, second = Server("srv-1", files, None, begun=BEGUN), Server("srv-2", {}, None, begun=BEGUN)
    for wanted in (BEGUN, "srv-1:/s/it"):
        assert source.placed(cluster(first, second), wanted).checked.identity == BEGUN
    for wanted in ("", "srv-1:/s/another"):  # what is replaced by which snapshot was agreed to for that one only
        with pytest.raises(RestoreError, match=rf"a restore of it's own name \({BEGUN}\) was begun and has not ended"):
            source.placed(cluster(first, second), wanted)
    assert [path for path in first.files if path.startswith(OURS)] == [f"{OURS}/{BEGUN}.snapshot"]


@pytest.mark.parametrize("others", ["", "0a1b2c3d4e5f"])
def test_a_restore_that_the_first_server_knows_nothing_of_does_not_go_on(others: str) -> None:
    first, second = Server("srv-1", {}, None, begun=others), Server("srv-2", {}, None, begun=BEGUN)
    with pytest.raises(RestoreError, match="--abandon"):
        source.placed(cluster(first, second), BEGUN)


@pytest.mark.parametrize(
    ("wanted", "records", "said"),
    [
        ("", None, "no API tells which there are"),
        ("", [record(OLD)], "none of the snapshots can be"),
        ("srv-1:gone", None, "there is no such file; see `unterbau etcd snapshots`"),
        ("nowhere", None, "there is no such file here"),
        ("s3:one", None, "snapshots stay on the servers here"),
    ],
)
def test_what_is_not_there_is_said(wanted: str, records: Any, said: str) -> None:
    with pytest.raises(RestoreError, match=said):
        source.placed(cluster(Server("srv-1", {}, records)), wanted)
