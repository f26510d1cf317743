"""Snapshots: written whole or not at all, judged before they are restored."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from urllib3 import HTTPResponse

from unterbau.secrets.hidden import Hidden
from unterbau.vault import snapshot_cli
from unterbau.vault.connection import Cluster, VaultError, write_secret
from unterbau.vault.snapshot import read_sidecar, refusal, restore, sidecar_of, take

KEYS = {"seal-2": "bbbb", "seal-1": "aaaa"}


def archive(state: bytes = b"sealed state", *, summed: bytes | None = None, key: bytes = b"seal-2") -> bytes:
    """As OpenBao 2.7.2 makes them: meta.json, state.bin, SHA256SUMS, and that sealed."""
    sealed = b"\n\x05\x1a\x06abc\x2a" + bytes([len(key) + 2]) + b"\x1a" + bytes([len(key)]) + key
    meta = json.dumps({"Index": 461, "Term": 3}).encode()
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("meta.json", meta), ("state.bin", summed or state))
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (
            ("meta.json", meta),
            ("state.bin", state),
            ("SHA256SUMS", sums.encode()),
            ("SHA256SUMS.sealed", sealed),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Fake(Cluster):
    def __init__(self, content: bytes = b"", keys: dict[str, str] = KEYS, cluster_id: str = "id-1") -> None:
        self.content, self.keys, self.cluster_id = content, keys, cluster_id
        self.written: list[tuple[bytes, bool]] = []
        self.waited = False

    def health(self) -> dict[str, Any]:
        return {"cluster_name": "lab", "cluster_id": self.cluster_id}

    def seal_keys(self, newest: int = 2) -> dict[str, str]:
        return self.keys

    def read(self) -> Iterable[bytes]:
        yield self.content[:100]
        if not self.content:
            raise OSError("the connection broke")
        yield self.content[100:]

    def write(self, snapshot: io.BufferedReader, *, force: bool) -> None:
        self.written.append((snapshot.read(), force))

    def await_unsealed(self) -> None:
        self.waited = True


def test_a_snapshot_and_what_stands_beside_it(tmp_path: Path) -> None:
    path, content = tmp_path / "a.snap", archive()
    made = take(Fake(content), path)
    assert path.read_bytes() == content
    assert (path.stat().st_mode & 0o777, sidecar_of(path).stat().st_mode & 0o777) == (0o600, 0o600)
    assert (made.raft_index, made.cluster, made.cluster_id) == (461, "lab", "id-1")
    assert made.seal_keys == KEYS
    assert read_sidecar(path) == made
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.snap", "a.snap.json"]


@pytest.mark.parametrize("content", [b"", archive()[:-30], b"no archive at all", archive(b"x", summed=b"y")])
def test_what_came_damaged_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with pytest.raises((VaultError, OSError)):
        take(Fake(content), tmp_path / "a.snap")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "keys"), [(b"seal-1", {"seal-1": "aaaa"}), (b"seal-2", KEYS)])
def test_the_sidecar_names_the_key_that_it_is_sealed_with_though_the_store_has_a_newer_one(
    tmp_path: Path, key: bytes, keys: dict[str, str]
) -> None:
    assert take(Fake(archive(key=key)), tmp_path / "a.snap").seal_keys == keys
    assert read_sidecar(tmp_path / "a.snap").seal_keys == keys


def test_a_snapshot_that_is_sealed_with_a_key_nobody_has_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="sealed with seal-9, and known are seal-2, seal-1"):
        take(Fake(archive(key=b"seal-9")), tmp_path / "a.snap")
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_an_error_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    answer = requests.Response()
    answer.status_code = 200
    answer.raw = HTTPResponse(io.BytesIO(b"half"), {"content-length": "9"}, preload_content=False)
    found = Fake()
    found._connector = SimpleNamespace(client=SimpleNamespace(request=lambda *_, **__: answer))  # type: ignore[assignment]
    found.read = partial(Cluster.read, found)  # type: ignore[method-assign]
    with pytest.raises(VaultError, match="the connection broke before its end"):
        take(found, tmp_path / "a.snap")
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.snap").write_text("older")
    with pytest.raises(VaultError, match="it is there already"):
        take(Fake(archive()), tmp_path / "a.snap")
    assert (tmp_path / "a.snap").read_text() == "older"


@pytest.mark.parametrize(("cluster_id", "force"), [("id-1", False), ("id-2", True)])
def test_restore_is_forced_on_another_cluster_only_and_waits(tmp_path: Path, cluster_id: str, force: bool) -> None:
    path, content = tmp_path / "a.snap", archive()
    take(Fake(content), path)
    target = Fake(cluster_id=cluster_id)
    restore(target, path, read_sidecar(path))
    assert target.written == [(content, force)]
    assert target.waited


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"seal-3": "cccc", "seal-2": "bbbb"}, None),
        ({"seal-4": "dddd", "seal-3": "cccc"}, "sealed with seal-2, and the servers have seal-4, seal-3"),
        ({"seal-2": "eeee"}, "seal-2 of another store than this one"),
        ({"seal-1": "aaaa"}, "sealed with seal-2, and the servers have seal-1"),
    ],
)
def test_servers_that_could_not_open_it_get_nothing(tmp_path: Path, keys: dict[str, str], words: str | None) -> None:
    path = tmp_path / "a.snap"
    made = take(Fake(archive()), path)
    target = Fake(keys=keys)
    assert (refusal(made, keys) is None) is (words is None)
    if words is not None:
        with pytest.raises(VaultError, match=words):
            restore(target, path, made)
        assert target.written == []


def test_a_changed_file_and_a_lost_sidecar_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    take(Fake(archive()), path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(VaultError, match="its SHA-256 is"):
        read_sidecar(path)
    sidecar_of(path).unlink()
    with pytest.raises(VaultError, match=r"found no readable a\.snap\.json beside it"):
        read_sidecar(path)


def test_a_secret_gets_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "secret-id"
    write_secret(path, Hidden("s.wrapped"))
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("s.wrapped\n", 0o600)
    with pytest.raises(VaultError, match="it is there already"):
        write_secret(path, Hidden("s.other"))
    assert path.read_text() == "s.wrapped\n"


@pytest.mark.parametrize(("answer", "held", "exit_code"), [("n\n", [], 1), ("y\n", [True], 0)])
def test_restore_asks_before_anything_is_connected_and_then_holds_the_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, held: list[bool], exit_code: int
) -> None:
    path, target, locks = tmp_path / "a.snap", Fake(), []
    take(Fake(archive()), path)

    @contextmanager
    def cluster(_environment: object, _root: Path, *, lock: bool) -> Iterator[Cluster]:
        locks.append(lock)
        yield target

    monkeypatch.setattr(snapshot_cli, "cluster", cluster)
    monkeypatch.setattr(snapshot_cli, "load", lambda *_: None)
    ran = CliRunner().invoke(snapshot_cli.restore_command, [str(path), "--env", "lab"], input=answer)
    assert (locks, ran.exit_code, len(target.written)) == (held, exit_code, len(held))
