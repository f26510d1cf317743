"""Who is at work here, and from which commit."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from pathlib import Path

GIT_TIMEOUT_S = 10


def who() -> str:
    """'alice@desk', or 'root@desk for alice' when sudo or CI says for whom."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = f"uid {os.getuid()}"
    principal = os.environ.get("SUDO_USER") or os.environ.get("GITLAB_USER_LOGIN") or os.environ.get("GITHUB_ACTOR")
    behind = f" for {_plain(principal)}" if principal and principal != user else ""
    return f"{user}@{socket.gethostname()}{behind}"


def _plain(text: str) -> str:
    """What an environment variable may add to a line of the trail: a name, no more."""
    return "".join(letter for letter in text if letter.isalnum() or letter in "-._@+")[:64]


def commit(folder: Path | None = None) -> str | None:
    """The checkout's commit, with '-dirty' if files differ from it; None outside of one, or without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(
            command, cwd=folder or Path.cwd(), capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None
