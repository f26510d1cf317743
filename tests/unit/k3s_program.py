"""The lab's k3s as a program of this machine: the store's own file may only be read."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from unterbau.artifacts import artifact
from unterbau.artifacts.fetch import fetch
from unterbau.artifacts.store import ContentStore


@cache
def k3s() -> Path:
    """The artifact, got first if it is not there, as a copy that ends with the tests; or what TEST_K3S names."""
    if named := os.environ.get("TEST_K3S"):
        return Path(named)
    binary = artifact("k3s")
    fetch(binary, print)
    folder = Path(tempfile.mkdtemp(prefix="k3s-program-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "k3s"
    shutil.copyfile(ContentStore().path_of(binary), program)
    program.chmod(0o700)
    return program
