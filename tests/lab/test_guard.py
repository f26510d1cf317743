"""No change of sshd or firewall can lock us out: it is proven, or the node takes it back by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.commands import ADDRESS, ROOT, changes, checkouts, converge, on, pins, plan, settled, unterbau
from unterbau.lab.layout import Lab

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("on_the_ground")]

NODE = "wrk-1"
REVERTED_WITHIN_S = 30

# What nobody should declare. Each takes away the way in, at once and for good, were it not for the guard.
CLOSED_FIREWALL = """
from operations import firewall
firewall.default_deny(accepts=[], pingers=["10.77.0.0/24"], name="firewall", _serial=True)
"""
NOBODY_ALLOWED = """
from deploys import access
from operations import ssh_server
ssh_server._FIXED["AllowUsers"] = "nobody"
access.ssh_server()
"""
PORT_MOVED = """
from deploys import access
from pyinfra import host
host.data.ssh_server = host.data.ssh_server.model_copy(update={"port": 2222})
access.ssh_server()
"""
KILLED_BEFORE_THE_PROOF = (
    """
import os
from operations import guard

def prove_new_connection(state, host, what):
    os.kill(os.getpid(), 9)

guard.prove_new_connection = prove_new_connection
"""
    + CLOSED_FIREWALL
)
KILLED_WITH_A_WAY_IN = KILLED_BEFORE_THE_PROOF.replace("accepts=[]", 'accepts=[(["10.77.0.1"], "tcp", ["22"])]')
# However long a busy machine takes to its next plan, it finds the change unproven, and not put back by the node.
LEFT_UNPROVEN = f"from operations import guard\nguard.REVERT_AFTER_S = 600\n{KILLED_WITH_A_WAY_IN}"
UNKNOWN_CIPHER = """
from deploys import access
from pyinfra import host
host.data.ssh_server = host.data.ssh_server.model_copy(update={"ciphers": ("nonsense",)})
access.ssh_server()
"""


def apply(folder: Path, deploy: str, node: str) -> subprocess.CompletedProcess[str]:
    """Apply another deploy to the lab's inventory, on one node."""
    folder.mkdir()
    for name in ("inventories", "group_data"):
        (folder / name).symlink_to(checkouts[0] / name)
    (folder / "deploys").mkdir()
    (folder / "deploys" / "site.py").write_text(deploy)
    return unterbau("apply", "lab", "-y", "--limit", node, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})


def logs_in(lab: Lab, node: str) -> bool:
    """Whether a bare new login gets in, within 2 s."""
    options = ("BatchMode=yes", "ConnectTimeout=2", "IdentitiesOnly=yes", f"UserKnownHostsFile={pins(lab)}")
    flags = [part for option in options for part in ("-o", option)]
    command = ["ssh", "-F", "none", "-i", str(lab.key), *flags, f"root@{ADDRESS[node]}", "true"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def lets_in(node: str) -> bool:
    """Whether a new connection gets in, and finds no change that is still to be proven."""
    return unterbau("lab", "shell", node, "--", "sh", "-c", "! ls -d /var/lib/unterbau/guard/*/saved").returncode == 0


def lets_in_again(node: str) -> bool:
    """Wait until `node` lets us in, but not longer than the guard may take."""
    limit = time.monotonic() + REVERTED_WITHIN_S
    while time.monotonic() < limit:
        if lets_in(node):
            return True
        time.sleep(0.2)
    return False


def reverted_after_s(node: str) -> float:
    """From the node's journal: seconds between the last change (just before it the timer is armed) and its end."""
    done = "while systemctl --quiet is-active 'unterbau-revert-*.service'; do sleep 0.05; done; journalctl --sync"
    journal = on(node, f"{done}; journalctl --no-pager -b -o short-unix -u 'unterbau-revert-*'").splitlines()
    armed, reverted = (
        [float(line.split()[0]) for line in journal if re.search(words, line)]
        for words in (r"Started unterbau-revert-[a-z-]+\.timer", "unterbau: put back the ")
    )
    return reverted[-1] - armed[-1]


def test_a_change_that_locks_us_out_reverts_by_itself(lab: Lab, tmp_path: Path) -> None:
    # On srv-3 the change that fails finds one that nobody has proven: both must go.
    assert apply(tmp_path / "before", KILLED_WITH_A_WAY_IN, "srv-3").returncode == -signal.SIGKILL
    for node, deploy, code in (
        ("srv-3", CLOSED_FIREWALL, 1),
        ("wrk-1", NOBODY_ALLOWED, 1),
        ("wrk-2", PORT_MOVED, 1),
        ("srv-2", KILLED_BEFORE_THE_PROOF, -signal.SIGKILL),
    ):
        ran = apply(tmp_path / node, deploy, node)
        assert ran.returncode == code, ran.stdout + ran.stderr
        # A run on a busy machine may end after that: then the node's journal has it.
        assert not logs_in(lab, node) or reverted_after_s(node) > 0, node
        assert code != 1 or "puts the old one back by itself" in ran.stdout + ran.stderr
    for node in ("srv-3", "wrk-1", "wrk-2", "srv-2"):
        assert lets_in_again(node), node
        assert logs_in(lab, node), node
        assert 0 < reverted_after_s(node) <= REVERTED_WITHIN_S, node
    assert changes(plan()[1]) == set()


def test_a_run_that_finds_an_unproven_change_replaces_it(tmp_path: Path) -> None:
    assert apply(tmp_path / "killed", LEFT_UNPROVEN, "srv-2").returncode == -signal.SIGKILL
    code, found = plan("--limit", "srv-2")
    assert code == 2
    assert ("srv-2", "firewall change of an interrupted run") in changes(found)
    converge()
    armed = "systemctl list-units --all --no-legend 'unterbau-revert-*'; ls -d /var/lib/unterbau/guard/*/saved"
    assert on("srv-2", f"{armed} 2>/dev/null || true") == ""


def test_a_node_that_loses_power_before_the_proof_comes_back_as_it_was(tmp_path: Path) -> None:
    assert apply(tmp_path / "killed", KILLED_BEFORE_THE_PROOF, "srv-2").returncode == -signal.SIGKILL
    assert unterbau("lab", "fault", "kill", "srv-2").returncode == 0
    assert unterbau("lab", "up").returncode == 0
    assert lets_in("srv-2")
    settled()


def test_an_invalid_configuration_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    before = on(NODE, "stat -c %z /etc/ssh/sshd_config.d/00-unterbau.conf")
    ran = apply(tmp_path / "invalid", UNKNOWN_CIPHER, NODE)
    assert ran.returncode == 1
    assert "Bad SSH2 cipher spec" in ran.stdout + ran.stderr
    assert on(NODE, "stat -c %z /etc/ssh/sshd_config.d/00-unterbau.conf") == before
    assert plan("--limit", NODE)[0] == 0
