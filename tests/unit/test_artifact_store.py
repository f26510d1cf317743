"""The content store: whole or not there, hashed when it has changed, and never full without a word."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.artifact_sample import BINARY, tool
from unterbau.artifacts import ArtifactError, store
from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.store import ABSENT, DAMAGED, WHOLE, ContentStore, Staged, cache_directory


@pytest.fixture
def here(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


def put(here: ContentStore, data: bytes = BINARY) -> Path:
    with here.staging(tool()) as work:
        staged = Staged(work / "binary", len(BINARY))
        staged.write(data)
        return here.keep(tool(), staged)


def left_over(here: ContentStore) -> list[Path]:
    return [path for path in here.root.rglob("*") if path.is_file() and path.parent.name != "lock"]


def test_what_is_kept_is_found_whole_and_cannot_be_written_by_accident(here: ContentStore) -> None:
    assert (here.find(tool()), here.verify(tool())) == (None, ABSENT)
    path = put(here)
    assert path == here.root / "sha256" / tool().sha256
    assert path.read_bytes() == BINARY
    assert path.stat().st_mode & 0o777 == 0o444
    assert (here.find(tool()), here.verify(tool())) == (path, WHOLE)
    assert list((here.root / "partial").iterdir()) == []


@pytest.mark.parametrize("data", [BINARY[:-1], BINARY[:-1] + b"x", b""])
def test_what_is_not_the_pinned_file_is_not_kept(here: ContentStore, data: bytes) -> None:
    with pytest.raises(SourceError, match=f"it gave {len(data)} bytes with sha256"):
        put(here, data)
    assert left_over(here) == []


def test_what_is_too_long_is_not_even_written(here: ContentStore) -> None:
    with pytest.raises(SourceError, match=f"longer than {len(BINARY)} bytes"):
        put(here, BINARY + b"x")
    assert left_over(here) == []


def test_a_file_is_hashed_again_only_when_it_has_changed(here: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hashed, real = put(here), [], store._sha256
    monkeypatch.setattr(store, "_sha256", lambda one: (hashed.append(one), real(one))[1])
    assert here.find(tool()) == path
    assert hashed == []
    os.utime(path)  # the same content, but nobody can know
    assert here.find(tool()) == path
    assert here.find(tool()) == path
    assert hashed == [path]
    assert here.verify(tool()) == WHOLE
    assert hashed == [path, path]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"x" + data[1:]])
def test_a_file_that_was_damaged_is_not_used(here: ContentStore, damage: object) -> None:
    path = put(here)
    path.chmod(0o600)
    path.write_bytes(damage(BINARY))
    assert (here.find(tool()), here.verify(tool())) == (None, DAMAGED)
    assert put(here).read_bytes() == BINARY
    assert here.verify(tool()) == WHOLE


def test_what_a_killed_run_left_goes_with_the_next_one(here: ContentStore) -> None:
    left = here.root / "partial" / f"{tool().sha256}.killed"
    left.mkdir(parents=True)
    (left / "binary").write_bytes(BINARY)
    other = here.root / "partial" / f"{'0' * 64}.at-work"
    other.mkdir()
    put(here)
    assert list((here.root / "partial").iterdir()) == [other]


def test_a_full_disk_is_a_sentence() -> None:
    staged = Staged(Path("/dev/full"), 10)
    with pytest.raises(ArtifactError, match="cannot use /dev/full: the disk is full; make room there"):
        staged.write(b"x")


def test_a_disk_that_has_no_room_is_not_begun_with(here: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=len(BINARY) - 1))
    with pytest.raises(ArtifactError, match=r"cannot fetch tool 1.2.3: 0 MiB free in .*make room there"):
        put(here)
    assert left_over(here) == []


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot use .*/file/artifacts/partial: Not a directory"):
        put(ContentStore(tmp_path / "file"))


def test_the_cache_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNTERBAU_CACHE_DIR", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.setenv("UNTERBAU_CACHE_DIR", "here")
    with pytest.raises(ArtifactError, match="cannot use UNTERBAU_CACHE_DIR 'here'"):
        cache_directory()
    monkeypatch.delenv("UNTERBAU_CACHE_DIR")
    assert cache_directory() == Path("/var/cache/unterbau")
