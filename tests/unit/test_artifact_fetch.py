"""From the lock file to the store and the command line: order, two runs at once, kill -9, and what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.artifact_sample import BINARY, Server, serving, tool
from unterbau.artifacts import ArtifactError
from unterbau.artifacts.fetch import fetch
from unterbau.artifacts.lock import CHECKOUT
from unterbau.artifacts.source import FileSource, Source, UrlSource
from unterbau.artifacts.store import ContentStore, Staged

LIMIT_S = 60


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        found.answers["/tool"] = BINARY
        yield found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNTERBAU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("UNTERBAU_ARTIFACTS_MIRROR", raising=False)
    return tmp_path / "cache"


def url(server: Server, path: str = "/tool") -> UrlSource:
    return UrlSource(kind="url", url=server.url + path)


def file(path: Path | str) -> FileSource:
    return FileSource(kind="file", path=str(path))


def fetched(*sources: Source) -> tuple[bool, list[str]]:
    said: list[str] = []
    return fetch(tool(*sources), said.append), said


def test_sources_are_tried_in_order_until_one_gives_the_pinned_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(b"x" * len(BINARY))
    sources = [file(tmp_path / "wrong"), url(server, "/none"), url(server), url(server, "/never")]
    assert fetched(*sources) == (True, [f"fetching tool 1.2.3 from {source}" for source in sources[:3]])
    assert ContentStore().path_of(tool()).read_bytes() == BINARY
    assert server.asked == ["/none", "/tool"]
    assert fetched(*sources) == (False, [])
    assert server.asked == ["/none", "/tool"]


def test_the_mirror_of_this_machine_comes_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNTERBAU_ARTIFACTS_MIRROR", str(tmp_path / "mirror"))
    assert fetched(url(server))[1] == [
        f"fetching tool 1.2.3 from {one}" for one in (file(tmp_path / "mirror"), url(server))
    ]
    monkeypatch.setenv("UNTERBAU_ARTIFACTS_MIRROR", str(ContentStore().root))  # a store is a mirror
    monkeypatch.setenv("UNTERBAU_CACHE_DIR", str(tmp_path / "another"))
    assert fetched(url(server)) == (True, [f"fetching tool 1.2.3 from {file(tmp_path / 'cache' / 'artifacts')}"])
    assert server.asked == ["/tool"]
    monkeypatch.setenv("UNTERBAU_ARTIFACTS_MIRROR", "mirror")
    monkeypatch.setenv("UNTERBAU_CACHE_DIR", str(tmp_path / "a third"))
    with pytest.raises(ArtifactError, match="cannot use UNTERBAU_ARTIFACTS_MIRROR 'mirror'"):
        fetched(url(server))


def test_a_failure_names_every_source_its_reason_and_the_way_out(server: Server, tmp_path: Path, cache: Path) -> None:
    server.answers["/wrong"] = b"x"
    with pytest.raises(ArtifactError) as failed:
        fetched(file(tmp_path / "none"), url(server, "/gone"), url(server, "/wrong"))
    lines = str(failed.value).splitlines()
    assert lines[0].startswith(f"cannot fetch tool 1.2.3 ({len(BINARY)} bytes, sha256 {tool().sha256})")
    assert lines[1:4] == [
        f"  file {tmp_path}/none: there is no such file",
        f"  url {server.url}/gone: the server answered 404 Not Found",
        f"  url {server.url}/wrong: it gave 1 bytes with sha256 "
        "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    ]
    assert f"DIR/sha256/{tool().sha256}" in lines[4]
    assert [path for path in cache.rglob("*") if path.is_file() and path.parent.name != "lock"] == []


def test_a_full_disk_ends_it_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further sources would fail in the same way, and hide the reason."""
    monkeypatch.setattr("unterbau.artifacts.fetch.Staged", lambda path, limit: _full(limit))
    with pytest.raises(ArtifactError, match="the disk is full; make room there"):
        fetched(url(server), url(server, "/second"))
    assert server.asked == ["/tool"]


def _full(limit: int) -> Any:
    return Staged(Path("/dev/full"), limit)


# Processes


def lock_file(folder: Path, server: Server, path: str = "/tool") -> None:
    pinned = {"version": "1.2.3", "architecture": "amd64", "sha256": tool().sha256, "size_bytes": len(BINARY)}
    pinned["sources"] = [{"kind": "url", "url": server.url + path}]
    (folder / "locks").mkdir(exist_ok=True)
    (folder / "locks" / "artifacts.yaml").write_text(yaml.safe_dump({"artifacts": {"tool": pinned}}))


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "unterbau", "artifacts", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ran(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = started(folder, *arguments)
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def test_two_runs_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    lock_file(tmp_path, server)
    server.held.add("/tool")
    first = started(tmp_path, "fetch", "--json")
    assert server.under_way.wait(LIMIT_S)
    second = started(tmp_path, "fetch", "--json")
    assert second.stderr is not None
    assert second.stderr.readline() == "waiting for another run that fetches tool 1.2.3\n"
    server.released.set()
    said = [json.loads(process.communicate(timeout=LIMIT_S)[0]) for process in (first, second)]
    assert [one["changed"] for one in said] == [True, False]
    assert [first.returncode, second.returncode] == [0, 0]
    assert server.asked == ["/tool"]


def test_a_run_that_was_killed_leaves_nothing_that_is_taken_for_whole(
    server: Server, tmp_path: Path, cache: Path
) -> None:
    lock_file(tmp_path, server)
    server.held.add("/tool")
    run = started(tmp_path, "fetch")
    assert server.under_way.wait(LIMIT_S)
    run.send_signal(signal.SIGKILL)
    assert run.wait(LIMIT_S) == -signal.SIGKILL
    run.communicate()
    assert len(list((cache / "artifacts" / "partial").iterdir())) == 1
    assert ran(tmp_path, "verify")[:2] == (2, "tool         not in the store\n")
    server.released.set()
    assert ran(tmp_path, "fetch")[:2] == (0, "fetched tool\n")
    assert list((cache / "artifacts" / "partial").iterdir()) == []
    assert ran(tmp_path, "verify")[:2] == (0, "tool         whole\n")


def test_the_command_line_lists_fetches_and_verifies(server: Server, tmp_path: Path, cache: Path) -> None:
    lock_file(tmp_path, server)
    place = cache / "artifacts" / "sha256" / tool().sha256
    code, out, _ = ran(tmp_path, "list", "--json")
    [row] = json.loads(out)["artifacts"]
    assert (code, row["name"], row["version"], row["path"]) == (0, "tool", "1.2.3", None)
    assert row["sources"] == [f"url {server.url}/tool"]
    assert ran(tmp_path, "fetch") == (0, "fetched tool\n", f"fetching tool 1.2.3 from url {server.url}/tool\n")
    assert ran(tmp_path, "fetch", "tool") == (0, "nothing to do\n", "")
    code, out, _ = ran(tmp_path, "list", "tool")
    assert (code, str(place) in out, f"  url {server.url}/tool\n" in out) == (0, True, True)
    assert json.loads(ran(tmp_path, "verify", "--json")[1]) == {"artifacts": {"tool": "whole"}}
    place.unlink()
    place.write_bytes(BINARY[:-1])
    assert ran(tmp_path, "verify")[0] == 1
    assert ran(tmp_path, "fetch")[:2] == (0, "fetched tool\n")


def test_the_command_line_fails_with_1_and_a_sentence(server: Server, tmp_path: Path) -> None:
    lock_file(tmp_path, server, "/gone")
    for command in ("list", "fetch", "verify"):
        code, out, err = ran(tmp_path, command, "other")
        assert (code, out) == (1, "")
        assert err.endswith("there are tool\n")
    code, out, err = ran(tmp_path, "fetch")
    assert (code, out) == (1, "nothing fetched\n")
    assert "the server answered 404 Not Found" in err
    code, out, _ = ran(tmp_path, "fetch", "--json")
    assert (code, json.loads(out)["changed"]) == (1, False)
    assert "the server answered 404" in json.loads(out)["errors"]["tool"]
    assert ran(tmp_path, "fetch", "--nonsense")[0] == 1
