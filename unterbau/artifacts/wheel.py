"""One pinned wheel of the Python package index that the operator's pip knows, as a file."""

from __future__ import annotations

import sys
from pathlib import Path

from unterbau.artifacts.command import only_file, run
from unterbau.artifacts.source import PypiSource


def download_wheel(source: PypiSource, work: Path) -> Path:
    """Where below `work` the wheel is; pip itself compares its checksum. Raises SourceError."""
    wanted, folder = work / "requirements.txt", work / "wheel"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off", "--quiet"]
    run([*command, *_tags(source), "--dest", str(folder), "-r", str(wanted)], work)
    return only_file(folder, "*.whl", "pip download")


def _tags(source: PypiSource) -> list[str]:
    """The pinned wheel's own, so that it is found from an operator's machine of another kind, too."""
    python, abi, platforms = source.tags
    options = [f"--implementation={python[:2]}", f"--abi={abi}"]
    options += [f"--python-version={python[2:]}"] if len(python) > len("py3") else []  # for py3, this one's
    return options + [f"--platform={platform}" for platform in platforms]
