"""Known secrets are put through everything, and then searched for everywhere: outputs, files, process lists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from tests.lab.commands import LIMIT_S, ROOT, checkouts, on, unterbau

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("converged")]

NODE = "wrk-1"
ALLOWED = "/etc/unterbau-canary"
LAB_KEYS = Path("/var/lib/unterbau/lab")

DEPLOY = """
import os
from pyinfra.operations import server
from pyinfra.api import StringCommand, deploy
from operations import config_file
from unterbau.secrets.hidden import Hidden

SECRET = Hidden(os.environ["CANARY"])

@deploy("canary")
def canary():
    config_file.put(name="secret file", path="/etc/unterbau-canary", content=SECRET, mode="600")
    leak = [StringCommand("sleep 1; echo", SECRET, ">&2; exit 1")]
    server.shell(name="failing command", commands=leak if {leaky} else [])

canary()
"""


@pytest.fixture
def watched() -> Iterator[None]:
    """Everything that any process of the node is called with, and its environment, noted while the test runs."""
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>/run/canary-processes 2>/dev/null"
    note = f"while :; do {look}; sleep 0.02; done"
    on(NODE, f"systemd-run --quiet --collect --unit=canary-watch sh -c '{note}'")
    yield
    on(NODE, "systemctl stop canary-watch || true; rm -f /run/canary-processes /etc/unterbau-canary")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout of its own: the lab's inventory and data, another deploy."""
    for folder in ("inventories", "group_data"):
        (tmp_path / folder).symlink_to(checkouts[0] / folder)
    (tmp_path / "deploys").mkdir()
    return tmp_path


def environment(canary: str) -> dict[str, str]:
    return {**os.environ, "CANARY": canary, "PYTHONPATH": str(ROOT), "HOME": os.environ.get("HOME", "/root")}


def ours(root: Path, canary: str, *, leaky: bool) -> str:
    """Everything that our own commands and files say, in every mode; each ends as it should."""
    (root / "deploys" / "site.py").write_text(DEPLOY.replace("{leaky}", str(leaky)))
    limit, done, left = ["--limit", NODE], int(leaky), 2 * leaky  # the failing command fails, and stays to be done
    said = []
    for by_hand, arguments, code in (
        ("true", ["plan", "lab", *limit], 2),
        ("true", ["plan", "lab", *limit, "--json"], 2),
        ("true", ["plan", "lab", *limit, "-o", "plan.json"], 2),
        (f"echo other > {ALLOWED}", ["apply", "plan.json"], 3),
        (f"rm {ALLOWED}", ["apply", "plan.json"], done),
        (f"rm {ALLOWED}", ["apply", "lab", *limit, "-y"], done),
        ("true", ["plan", "lab", *limit], left),
        (f"rm {ALLOWED}", ["apply", "lab", *limit, "-y", "--json"], done),
    ):
        on(NODE, by_hand)
        ran = unterbau(*arguments, cwd=root, env=environment(canary))
        said += [ran.stdout, ran.stderr]
        assert ran.returncode == code, (arguments, *hidden(canary, *said[-2:]))
        if code == 3:
            assert "agreed plan" in ran.stderr
    assert secret_file() == [canary, "600"]
    return "\n".join([*said, (root / "plan.json").read_text()])


def hidden(canary: str, *texts: str) -> list[str]:
    return [text.replace(canary, "(the canary)") for text in texts]


def secret_file() -> list[str]:
    return on(NODE, f"cat {ALLOWED}; stat -c %a {ALLOWED}").split()


def plain(root: Path, canary: str, *, leaky: bool) -> str:
    """Everything that plain pyinfra says at its loudest, of the same deploy."""
    on(NODE, f"rm -f {ALLOWED}")
    loud = [sys.executable, "-m", "pyinfra", "-vvv", "--debug", "--diff", "--limit", NODE]
    texts = []
    for last, code in (("--dry", 0), ("-y", int(leaky))):
        said = subprocess.run(
            [*loud, last, "inventories/lab.py", "deploys/site.py"],
            cwd=root, env=environment(canary), text=True, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert said.returncode == code, hidden(canary, said.stdout, said.stderr)
        texts += [said.stdout, said.stderr]
    assert secret_file() == [canary, "600"]
    return "\n".join([*texts, *(path.read_text() for path in root.glob("*.log"))])


def found_on_node(canary: str) -> list[str]:
    """Files of the node that have it, the one that should left out; process notes included, but not of this search."""
    on(NODE, "systemctl stop canary-watch")
    where = "/etc /var /root /home /tmp /run /usr/local /opt /srv"
    said = on(NODE, f"grep -rlsF -e {canary} {where} || test $? -le 2")
    return [line for line in said.splitlines() if line != ALLOWED]


@pytest.mark.usefixtures("watched")
def test_a_secret_is_nowhere_but_in_its_file(root: Path) -> None:
    canary = f"canary-{token_hex(8)}"
    for said in (ours(root, canary, leaky=False), plain(root, canary, leaky=False)):
        assert "secret file" in said
        assert canary not in said
    assert found_on_node(canary) == []
    search = ["grep", "-rlsF", "--exclude-dir=.venv", "--exclude-dir=.git", canary, "/tmp", str(ROOT)]
    assert subprocess.run(search, text=True, capture_output=True, check=False).stdout == ""


@pytest.mark.usefixtures("watched")
def test_the_search_finds_a_leak(root: Path) -> None:
    """A secret on a command line stands in the process list, and its own error tells it: ours is redacted even so."""
    canary = f"canary-{token_hex(8)}"
    said = ours(root, canary, leaky=True)
    assert "failing command" in said
    assert canary not in said
    assert canary in plain(root, canary, leaky=True)
    assert "/run/canary-processes" in found_on_node(canary)


def test_the_labs_private_keys_are_readable_by_root_only_and_in_no_output() -> None:
    found = [path for path in (LAB_KEYS / "ssh").rglob("*") if path.is_file()]
    keys = [path for path in found if b"PRIVATE KEY" in path.read_bytes()[:64]]
    assert len(keys) == 6  # the operator's and one a machine
    assert [path for path in keys if path.stat().st_mode & 0o077] == []
    said = "".join(
        (ran := unterbau(*arguments)).stdout + ran.stderr
        for arguments in (["lab", "status"], ["lab", "status", "--json"], ["lab", "up"], ["plan", "lab", "--json"])
    )
    for key in keys:
        body = re.sub(rb"-----[^-]+-----", b"", key.read_bytes()).split()
        assert not any(line.decode() in said for line in body)
