"""Go programs that are really built: with the machine's Go, without one, two at once, and after a kill half-way.

No machine of a lab takes part, but the network does: modules, and Go itself, come from where go and pip get them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.lab.commands import ROOT, UNTERBAU

pytestmark = [pytest.mark.lab, pytest.mark.beside]

SOURCE = {
    "kind": "go", "package": "golang.org/x/example/hello", "version": "v0.0.0-20250915201037-7f05d217867b",
    "go": "1.26.8",
}  # fmt: skip
PINNED = {
    "amd64": ("89e50fa876291d60cf9bfb6c58484c2a20e6fd88e73e5b429ee00e9b40acbdf1", 1736830),
    "arm64": ("5c962f76fc64ee3f9c13bd07bce4fec5dc6e2d8cceb78b8e828ac0f211d4579b", 1704062),
}
WITHOUT_GO = "/usr/bin:/bin"
LIMIT_S = 900  # two downloads of Go and some compiling, on two cores that other tests use as well


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A checkout whose lock file pins one program for two kinds of machine, and whose cache is empty."""
    pinned = {
        f"hello-{architecture}": {
            "version": "0", "architecture": architecture, "sha256": digest, "size_bytes": size, "sources": [SOURCE],
        } for architecture, (digest, size) in PINNED.items()
    }  # fmt: skip
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "artifacts.yaml").write_text(yaml.safe_dump({"artifacts": pinned}))
    return tmp_path


def fetching(site: Path, architecture: str, path: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "UNTERBAU_CACHE_DIR": str(site / "cache")}
    return subprocess.Popen(
        [*UNTERBAU, "artifacts", "fetch", f"hello-{architecture}"], cwd=site, text=True,
        env=environment | ({"PATH": path} if path else {}),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def is_kept(site: Path, architecture: str) -> bool:
    digest = PINNED[architecture][0]
    kept = site / "cache" / "artifacts" / "sha256" / digest
    return kept.exists() and hashlib.sha256(kept.read_bytes()).hexdigest() == digest


def test_without_go_on_the_machine_the_same_file_is_built(site: Path) -> None:
    assert shutil.which("go", path=WITHOUT_GO) is None
    out, err = (run := fetching(site, "amd64", WITHOUT_GO)).communicate(timeout=LIMIT_S)
    assert (run.returncode, out) == (0, "fetched hello-amd64\n"), err
    assert is_kept(site, "amd64")
    assert list((site / "cache" / "artifacts" / "partial").iterdir()) == []


def test_a_build_that_was_killed_leaves_nothing_that_the_next_two_believe(site: Path) -> None:
    """Killed while packages are being compiled into the cache; then it is built again, for two machines at once."""
    kill_half_way(site, fetching(site, "amd64"))
    assert not is_kept(site, "amd64")
    runs = {architecture: fetching(site, architecture) for architecture in PINNED}
    said = {architecture: run.communicate(timeout=LIMIT_S) for architecture, run in runs.items()}
    assert {architecture: out for architecture, (out, _) in said.items()} == {
        architecture: f"fetched hello-{architecture}\n" for architecture in PINNED
    }, said
    assert all(is_kept(site, architecture) for architecture in PINNED)
    assert (site / "cache" / "go").stat().st_mode & 0o777 == 0o700


def kill_half_way(site: Path, run: subprocess.Popen[str]) -> None:
    """As a power cut would: the run, go, and the compilers that it started, at once."""
    compiled, ends_s = site / "cache" / "go" / "packages", time.monotonic() + LIMIT_S
    while len(list(compiled.glob("??/*-d"))) < 5:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < ends_s, "nothing was compiled"
        time.sleep(0.02)
    [go] = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    run.send_signal(signal.SIGSTOP)
    os.killpg(int(go), signal.SIGKILL)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL
