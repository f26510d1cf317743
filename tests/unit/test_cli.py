"""The command line on a bad environment, as a user runs it: every problem, exit code 1, and nobody contacted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.test_declaration_bad import BAD, edit

TOLD = yaml.safe_load((BAD / "ten_at_once.yaml").read_text())

# Python reads this before anything else. An audit hook sees what gevent's sockets do as well.
WATCHER = """\
import sys
def watch(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen"):
        with open({trace!r}, "a") as trace:
            trace.write(f"{{event}} {{args}}\\n")
        raise PermissionError(f"{{event}}: nobody may be contacted")
sys.addaudithook(watch)
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Where each attempt to reach somebody is written down."""
    (tmp_path / "watcher").mkdir()
    path = tmp_path / "trace"
    (tmp_path / "watcher" / "sitecustomize.py").write_text(WATCHER.format(trace=str(path)))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    root = Path(shutil.copytree(BAD / "base", tmp_path / "bad"))
    edit(root, TOLD)
    return root


def python(trace: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    checkout = Path(__file__).parent.parent.parent
    environment = os.environ | {"PYTHONPATH": f"{trace.parent / 'watcher'}:{checkout}", "NO_COLOR": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_watcher_sees_a_connection(trace: Path, tmp_path: Path) -> None:
    connect = (
        "import gevent.monkey; gevent.monkey.patch_all(); import socket; socket.socket().connect(('127.0.0.1', 9))"
    )
    assert "nobody may be contacted" in python(trace, tmp_path, "-c", connect).stderr
    assert "socket.connect" in trace.read_text()


def test_a_bad_environment_is_ten_problems_and_no_connection(trace: Path, bad: Path) -> None:
    answer = python(trace, bad, "-m", "unterbau", "plan", "demo")
    lines = answer.stderr.splitlines()
    assert answer.returncode == 1
    assert (lines[0].removeprefix("Error: "), *lines[1:10]) == tuple(TOLD["problems"])
    assert lines[10:] == ["cannot use environment demo: 10 problems; correct and run again"]
    assert answer.stdout == ""
    assert not trace.exists(), trace.read_text()


def test_a_bad_environment_is_ten_problems_for_a_machine(trace: Path, bad: Path) -> None:
    answer = python(trace, bad, "-m", "unterbau", "plan", "demo", "--json")
    document = json.loads(answer.stdout)
    assert (answer.returncode, document["exit_code"]) == (1, 1)
    assert document["error"].splitlines()[:10] == TOLD["problems"]
    places = [f"{p['file']}:{p['line']}: {p['object']}: {p['field']}: " for p in document["problems"]]
    assert len(places) == 10
    assert all(told.startswith(place) for told, place in zip(TOLD["problems"], places, strict=True))
    assert "Traceback" not in answer.stderr
    assert not trace.exists(), trace.read_text()
