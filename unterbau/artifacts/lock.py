"""The lock file `locks/artifacts.yaml`: every binary that nodes get, its checksum, and where it may come from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError
from typing_extensions import override

from unterbau.artifacts.errors import ArtifactError
from unterbau.artifacts.source import CHECKOUT, Entry, Sha256, Source, Word

LOCK = Path("locks") / "artifacts.yaml"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


@dataclass(frozen=True)
class Artifact:
    """One pinned binary. `sources` are in the order in which they are tried."""

    name: str
    version: str
    sha256: str
    size_bytes: int
    architecture: str = "amd64"  # in dpkg's words
    sources: tuple[Source, ...] = ()
    stand_in: str = ""  # the sentence that says for what it stands in, and why; "" if it is the program itself

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class _Pinned(Entry):
    version: Word
    architecture: Literal["amd64", "arm64"]
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]
    stand_in: Annotated[str, Field(min_length=20)] | None = None
    sources: Annotated[list[Annotated[Source, Field(discriminator="kind")]], Field(min_length=1)]


class _Lock(Entry):
    artifacts: dict[Name, _Pinned]


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error: the second one would win without a word."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"found twice: {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def lock_path() -> Path:
    """The lock file of the folder that the run works in, as for inventories; else that of this checkout."""
    here = Path.cwd() / LOCK
    return here if here.exists() else CHECKOUT / LOCK


def read_lock(path: Path | None = None) -> dict[str, Artifact]:
    """{name: artifact}, by name. Raises ArtifactError with everything that is wrong."""
    path = path or lock_path()
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}; work in a checkout of unterbau") from error


def artifact(name: str) -> Artifact:
    """The artifact of that name. Raises ArtifactError that names those there are."""
    known = read_lock()
    if name not in known:
        raise ArtifactError(f"cannot find artifact {name!r} in {lock_path()}: there are {', '.join(known) or 'none'}")
    return known[name]


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int) -> dict[str, Artifact]:
    try:
        lock = _Lock.model_validate(yaml.load(path.read_text(encoding="utf-8"), _Loader))  # noqa: S506  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtifactError(f"cannot read {path}: it is not YAML: {error}; correct it") from error
    except ValidationError as error:
        raise ArtifactError(f"cannot use {path}:\n{_report(error)}\ncorrect it") from None
    return {
        name: Artifact(
            name, one.version, one.sha256, one.size_bytes, one.architecture, tuple(one.sources), one.stand_in or ""
        )
        for name, one in sorted(lock.artifacts.items())
    }


def _report(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    return "\n".join(f"  {'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in problems)
