"""Each kind of source: what it gives, and the sentence for each way in which it does not."""

from __future__ import annotations

import gzip
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.artifact_sample import (
    BINARY,
    MEMBER,
    Server,
    as_gz,
    as_tar_gz,
    as_zip,
    make_wheel,
    obtained,
    program,
    serving,
    sha256,
    tool,
)
from unterbau.artifacts import command
from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.image import archive
from unterbau.artifacts.source import DebianSource, FileSource, ImageSource, PypiSource, UrlSource
from unterbau.connectors.download import DownloadError, download

ARCHIVES = {"gz": (as_gz, None), "tar.gz": (as_tar_gz, MEMBER), "zip": (as_zip, MEMBER)}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def packed(form: str) -> tuple[bytes, dict[str, Any]]:
    """(archive, what the lock file says of it)."""
    if form == "raw":
        return BINARY, {}
    make, member = ARCHIVES[form]
    data = make()
    return data, {"format": form, "archive_sha256": sha256(data), "member": member}


@pytest.mark.parametrize("form", ["raw", *ARCHIVES])
def test_a_file_gives_itself_or_its_member(tmp_path: Path, work: Path, form: str) -> None:
    data, said = packed(form)
    (tmp_path / "file").write_bytes(data)
    assert obtained(FileSource(kind="file", path=str(tmp_path / "file"), **said), work) == BINARY


@pytest.mark.parametrize("layout", ["sha256/{}", "{}"])
def test_a_mirror_is_a_directory_of_files_by_their_checksum(tmp_path: Path, work: Path, layout: str) -> None:
    path = tmp_path / "mirror" / layout.format(tool().sha256)
    path.parent.mkdir(parents=True)
    path.write_bytes(BINARY)
    assert obtained(FileSource(kind="file", path=str(tmp_path / "mirror")), work) == BINARY


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path, work: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        obtained(FileSource(kind="file", path=str(tmp_path / "none")), work)
    with pytest.raises(SourceError, match="there is no such file"):
        obtained(FileSource(kind="file", path="/dev/zero"), work)
    with pytest.raises(SourceError, match=f"the directory has neither sha256/{tool().sha256}"):
        obtained(FileSource(kind="file", path=str(tmp_path)), work)


@pytest.mark.parametrize("form", ["raw", *ARCHIVES])
def test_a_url_gives_itself_or_its_member(server: Server, work: Path, form: str) -> None:
    data, said = packed(form)
    server.answers["/a"] = data
    assert obtained(UrlSource(kind="url", url=f"{server.url}/a", **said), work) == BINARY


def test_an_archive_that_is_not_the_pinned_one_is_not_opened(server: Server, work: Path) -> None:
    server.answers["/a"] = as_zip(b"another")
    said = packed("zip")[1]
    with pytest.raises(
        SourceError, match=f"with sha256 {sha256(as_zip(b'another'))}, pinned is {said['archive_sha256']}"
    ):
        obtained(UrlSource(kind="url", url=f"{server.url}/a", **said), work)
    assert (work / "binary").read_bytes() == b""


def test_what_a_server_may_answer_instead(server: Server, work: Path) -> None:
    server.answers |= {"/gone": 404, "/cut": BINARY, "/broken": 503, "/long": BINARY * 2}
    server.cut.add("/cut")
    for path, words in {
        "/gone": "the server answered 404",
        "/broken": "the server answered 503",
        "/cut": "the download failed: IncompleteRead",
        "/long": f"longer than {len(BINARY)} bytes",
    }.items():
        with pytest.raises(SourceError, match=words):
            obtained(UrlSource(kind="url", url=server.url + path), work)
    with pytest.raises(SourceError, match=r"the download failed: .*Connection refused"):
        obtained(UrlSource(kind="url", url="http://127.0.0.1:9/a"), work)


def test_a_download_that_takes_too_long_ends(server: Server) -> None:
    server.answers["/a"] = BINARY
    with pytest.raises(DownloadError, match="it took longer than 0 s"):
        download(f"{server.url}/a", lambda chunk: None, limit_s=0)


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("gz", as_gz()[:-20], "cannot be read as gz"),
        ("gz", b"no gzip at all", "cannot be read as gz"),
        ("zip", as_zip()[:-30], "cannot be read as zip"),
        ("zip", as_zip(member="other"), f"has no member {MEMBER}"),
        ("tar.gz", as_tar_gz()[: len(BINARY) // 400], "cannot be read as tar.gz"),
        ("tar.gz", as_tar_gz(member="other"), f"has no member {MEMBER}"),
    ],
)
def test_an_archive_that_was_pinned_damaged_or_without_the_member(
    tmp_path: Path, work: Path, form: str, data: bytes, words: str
) -> None:
    (tmp_path / "file").write_bytes(data)
    said = packed(form)[1] | {"archive_sha256": sha256(data)}
    with pytest.raises(SourceError, match=words):
        obtained(FileSource(kind="file", path=str(tmp_path / "file"), **said), work)


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path, work: Path) -> None:
    (tmp_path / "file").write_bytes(as_tar_gz())
    said = packed("tar.gz")[1] | {"member": "latest"}
    with pytest.raises(SourceError, match="latest is no regular file"):
        obtained(FileSource(kind="file", path=str(tmp_path / "file"), **said), work)


def test_an_archive_that_unpacks_to_more_than_was_pinned_is_stopped(tmp_path: Path, work: Path) -> None:
    bomb = gzip.compress(bytes(len(BINARY) * 100))
    (tmp_path / "file").write_bytes(bomb)
    source = FileSource(kind="file", path=str(tmp_path / "file"), format="gz", archive_sha256=sha256(bomb))
    with pytest.raises(SourceError, match=f"longer than {len(BINARY)} bytes"):
        obtained(source, work)
    assert (work / "binary").stat().st_size <= len(BINARY)


# Programs


@pytest.fixture
def first_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A real Debian package with the tool in it."""
    root = tmp_path / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: tool\nVersion: 1.2.3-1\nArchitecture: amd64\nMaintainer: nobody <n@example.org>\nDescription: tool\n"
    )
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "tool").write_bytes(BINARY)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(root), str(tmp_path / "tool.deb")], check=True,
                   capture_output=True)  # fmt: skip
    return tmp_path / "tool.deb"


def test_a_debian_package_gives_its_member(first_on_path: Path, package: Path, tmp_path: Path, work: Path) -> None:
    program(first_on_path, "apt-get", f'echo "$@" > {tmp_path}/asked; cp {package} tool_1.2.3-1_amd64.deb')
    source = DebianSource(kind="debian", package="tool", version="1.2.3-1", member="usr/bin/tool")
    assert obtained(source, work) == BINARY
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("download ")
    assert asked.endswith(" tool:amd64=1.2.3-1\n")
    assert "allow" not in asked.lower()  # unauthenticated, insecure, weak: all of them begin so


def test_a_debian_package_that_cannot_be_had(first_on_path: Path, work: Path) -> None:
    source = DebianSource(kind="debian", package="tool", version="1.2.3-1", member="usr/bin/tool")
    program(first_on_path, "apt-get", "echo \"E: Version '1.2.3-1' for 'tool' was not found\" >&2; exit 100")
    with pytest.raises(SourceError, match=r"`apt-get download` ended with 100: E: Version '1.2.3-1' for 'tool'"):
        obtained(source, work)
    program(first_on_path, "apt-get", "true")
    with pytest.raises(SourceError, match="apt-get download made nothing, not one file"):
        obtained(source, work)


def test_a_debian_package_gives_an_image(first_on_path: Path, package: Path, work: Path) -> None:
    program(first_on_path, "apt-get", f"cp {package} tool_1.2.3-1_amd64.deb")
    images = {"example.org/tool:1": ["/bin/tool"]}
    source = ImageSource(kind="image", package="tool", version="1.2.3-1", member="usr/bin/tool", images=images)
    wanted = archive(BINARY, images, "amd64")
    assert obtained(source, work, len(wanted)) == wanted


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real wheel that the real pip finds in a folder, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "a_tool-1.2.3-py3-none-manylinux2014_x86_64.whl"
    make_wheel(path, {MEMBER: BINARY})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def pypi(wheel: Path, **changed: str) -> PypiSource:
    said = {"wheel": wheel.name, "wheel_sha256": sha256(wheel.read_bytes()), "member": MEMBER} | changed
    return PypiSource(kind="pypi", package="a-tool", version="1.2.3", **said)


def test_a_wheel_gives_its_member(wheel: Path, work: Path) -> None:
    assert obtained(pypi(wheel), work) == BINARY


def test_a_wheel_that_is_not_the_pinned_one_is_refused_by_pip_itself(wheel: Path, work: Path) -> None:
    with pytest.raises(SourceError, match=r"pip download` ended with 1: .*Got +" + sha256(wheel.read_bytes())):
        obtained(pypi(wheel, wheel_sha256="ab" * 32), work)


def test_a_wheel_that_cannot_be_had(wheel: Path, work: Path) -> None:
    source = pypi(wheel)
    wheel.unlink()
    with pytest.raises(SourceError, match=r"No matching distribution found for a-tool==1.2.3"):
        obtained(source, work)


def test_a_program_that_hangs_is_ended_with_all_it_started(work: Path) -> None:
    script = "sleep 1000 & echo $! > child; wait"
    with pytest.raises(SourceError, match=r"`sh` did not end within 3 s"):
        command.run(["sh", "-c", script], work, limit_s=3)  # it has to begin within that
    child = (work / "child").read_text().strip()
    ends_s = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < ends_s, f"{child} still runs"


def alive(pid: str) -> bool:
    """A zombie that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended after the file was opened
        return False


@pytest.fixture
def typed() -> Iterator[None]:
    """Something waits on this process's own standard input."""
    read, write = os.pipe()
    os.write(write, b"typed\n")
    kept = os.dup(0)
    os.dup2(read, 0)
    yield
    os.dup2(kept, 0)
    for descriptor in (kept, read, write):
        os.close(descriptor)


@pytest.mark.usefixtures("typed")
def test_a_program_reads_nobodys_answers_and_has_its_own_place_for_temporary_files(work: Path) -> None:
    assert command.run(["sh", "-c", 'read -r line; echo "<$line> $TMPDIR $PWD"'], work) == f"<> {work} {work}"
