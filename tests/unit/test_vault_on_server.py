"""What a server does when it saves a snapshot: one that is whole, room for others, and never the last one removed."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operations.openbao_snapshot import DAYS, PROGRAM_TEXT, moments
from unterbau.connectors import vault_on_server as program
from unterbau.connectors.vault_on_server import SnapshotError, clean, fingerprint, prune, save, seal_keys, take
from unterbau.vault.snapshot import read_sidecar, refusal

HEALTH = {"cluster_name": "lab", "cluster_id": "id-1"}
KEYS = {"seal-2": fingerprint("b"), "seal-1": fingerprint("a")}


def archive(index: int = 461, key: bytes = b"seal-10") -> bytes:
    """As OpenBao makes them: meta.json, state.bin, SHA256SUMS, and that sealed."""
    files = {"meta.json": json.dumps({"Index": index}).encode(), "state.bin": b"sealed" * 1000}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    sealed = b"\n\x03abc*" + bytes([len(key) + 2]) + b"\x1a" + bytes([len(key)]) + key
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {**files, "SHA256SUMS": sums.encode(), "SHA256SUMS.sealed": sealed}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Answer(io.BytesIO):
    status = 200


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A server that answers these, and its folder of snapshots."""
    answers: dict[str, Any] = {
        "sys/leader": {"is_self": True, "leader_address": "https://10.0.0.1:8200"},
        "sys/health": HEALTH,
        "sys/storage/raft/snapshot": archive(),
        "asked": [],
    }

    class Api:
        def __init__(self, endpoint: str) -> None:
            self.endpoint = endpoint

        def log_in(self) -> None:
            answers["asked"].append("login")

        def answer(self, method: str, path: str) -> Answer:
            answers["asked"].append(path)
            found = answers[path]
            return Answer(found if isinstance(found, bytes) else json.dumps(found).encode())

    folder, keys = tmp_path / "snapshots", tmp_path / "credentials"
    folder.mkdir()
    keys.mkdir()
    for name, key in (("seal_seal-9", "a"), ("seal_seal-10", "b")):
        (keys / name).write_text(key)
    monkeypatch.setattr(program, "Api", Api)
    monkeypatch.setattr(program, "FOLDER", folder)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(keys))
    return {**answers, "folder": folder, "keys": keys, "answers": answers}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_leader_saves_one_that_restore_accepts(server: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main("10.0.0.1:8200", "3") == 0
    (path,) = server["folder"].glob("*.snap")
    assert capsys.readouterr().out == f"{path}: raft index 461, opens with seal-10; 0 older ones removed\n"
    found = read_sidecar(path)
    assert (found.raft_index, found.cluster_id, list(found.seal_keys)) == (461, "id-1", ["seal-10", "seal-9"])
    assert refusal(found, {"seal-10": fingerprint("b")}) is None
    assert {one.stat().st_mode & 0o777 for one in server["folder"].iterdir()} == {0o600}


def test_a_follower_says_who_leads_and_logs_in_nowhere(server: dict[str, Any]) -> None:
    server["answers"]["sys/leader"]["is_self"] = False
    assert take("10.0.0.2:8200", 3, server["keys"]) == (
        "no snapshot here: https://10.0.0.1:8200 leads, not 10.0.0.2:8200"
    )
    assert (server["asked"], names(server["folder"])) == (["sys/leader"], [])


def test_a_damaged_one_is_not_kept_and_removes_nothing(
    server: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (server["folder"] / "20250101T000000Z.snap").touch()
    server["answers"]["sys/storage/raft/snapshot"] = archive()[:-40]
    assert program.main("10.0.0.1:8200", "1") == 1
    assert names(server["folder"]) == ["20250101T000000Z.snap"]
    assert "what came is damaged" in capsys.readouterr().err


def test_the_database_keeps_its_room(
    server: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "RESERVE_BYTES", 1 << 60)
    assert program.main("10.0.0.1:8200", "1") == 1
    assert "KiB free, and 1099511627776 MiB are left to OpenBao's database; make room" in capsys.readouterr().err
    assert names(server["folder"]) == []


@pytest.mark.parametrize("full_after", [0, 1])
def test_a_full_disk_leaves_nothing_half(tmp_path: Path, full_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces() -> Iterator[bytes]:
        yield archive(key=b"seal-2")

    real, synced = program.os.fsync, []

    def fsync(file: int) -> None:
        if len(synced) == full_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        synced.append(file)
        real(file)

    monkeypatch.setattr(program.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "a.snap", pieces(), HEALTH, KEYS)
    assert names(tmp_path) == []


def test_the_newest_are_kept_and_the_one_just_made_whatever_the_clock_said_before(tmp_path: Path) -> None:
    all_names = [f"2025010{day}T000000Z.snap" for day in (1, 2, 3)] + ["20991231T000000Z.snap", "20260101T000000Z.snap"]
    for name in [*all_names, "by-hand.snap"]:
        (tmp_path / name).touch()
        (tmp_path / f"{name}.json").touch()
    assert prune(tmp_path, 2, tmp_path / "20260101T000000Z.snap") == 3
    assert {name for name in names(tmp_path) if name.endswith("snap")} == {
        "20991231T000000Z.snap", "20260101T000000Z.snap", "by-hand.snap",
    }  # fmt: skip
    assert prune(tmp_path, 1, tmp_path / "20260101T000000Z.snap") == 1
    assert names(tmp_path) == [
        "20260101T000000Z.snap", "20260101T000000Z.snap.json", "by-hand.snap", "by-hand.snap.json",
    ]  # fmt: skip


def test_what_a_killed_run_left_goes(tmp_path: Path) -> None:
    for name in (".a.snap.partial", "b.snap.json", "c.snap", "c.snap.json"):
        (tmp_path / name).touch()
    clean(tmp_path)
    assert names(tmp_path) == ["c.snap", "c.snap.json"]


def test_without_a_seal_key_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot name the seal key"):
        seal_keys(tmp_path)


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """In an interpreter that has nothing else, under the conditions of its unit."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM_TEXT)
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-B", str(file), "127.0.0.1:1", "3"],
        env={"CREDENTIALS_DIRECTORY": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert re.fullmatch(r"cannot save a snapshot in /var/lib/openbao/snapshots: .*\n", ran.stderr)


@pytest.mark.parametrize("every_hours", range(1, 169))
def test_two_moments_are_no_further_apart_than_declared(every_hours: int) -> None:
    hours = []
    for moment in moments(every_hours):
        day, at = re.fullmatch(r"(?:(\w{3}) )?\*-\*-\* ([\d,]+):00:00 UTC", moment).groups()  # type: ignore[union-attr]
        days = range(7) if day is None else [DAYS.index(day)]
        hours += [number * 24 + int(hour) for number in days for hour in at.split(",")]
    ring = [*sorted(hours), min(hours) + 168]
    gaps = {later - one for one, later in itertools.pairwise(ring)}
    assert max(gaps) == every_hours
