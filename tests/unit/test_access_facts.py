"""What a node cannot say of its way in is unknown: a program that fails ends the fact's command with an error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from facts import firewall, operator_account, ssh_server

WORKS = {"find": "echo changed 1", "nft": "true", "systemctl": "true", "getent": 'test "$1" != group || exit 2'}
COMMANDS = {
    "firewall": firewall.State().command(),
    "operators": operator_account.State().command(names=["alice"]),
    "ssh server": ssh_server.State().command(keywords=["Port"]),
}


def status(command: str, folder: Path, programs: dict[str, str]) -> int:
    """Exit status of a fact's command on a node with such programs, and with every file of ours there."""
    for name, text in {**WORKS, "sshd": "echo port 22", **programs}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    for path in (firewall.RULES, operator_account.SUDOERS, ssh_server.DROP_IN):
        (folder / "file").touch()
        command = command.replace(path, str(folder / "file"))
    command = command.replace("/usr/sbin/sshd", "sshd")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("fact", COMMANDS)
def test_a_node_whose_programs_work_is_known(fact: str, tmp_path: Path) -> None:
    assert status(COMMANDS[fact], tmp_path, {}) == 0


@pytest.mark.parametrize(
    ("fact", "program", "text"),
    [
        ("firewall", "find", "exit 1"),
        ("firewall", "systemctl", "exit 1"),
        ("firewall", "nft", "exit 1"),
        ("operators", "find", "exit 1"),
        ("operators", "getent", 'case "$1" in group) exit 2;; passwd) exit 1;; esac'),
        ("operators", "getent", 'case "$1" in group) exit 2;; shadow) exit 1;; esac'),
        ("ssh server", "find", "exit 1"),
        ("ssh server", "systemctl", "exit 1"),
        ("ssh server", "sshd", "echo usepam yes"),
    ],
)
def test_a_node_whose_programs_fail_is_unknown(fact: str, program: str, text: str, tmp_path: Path) -> None:
    assert status(COMMANDS[fact], tmp_path, {program: text}) != 0
