"""Commands on the machine that carries the lab."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from unterbau.lab.errors import LabError

# apt and others speak the operator's language otherwise, and sbin is not on everyone's path.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with a known language and path."""
    return {**os.environ, **_ENVIRONMENT, **(extra or {})}


def run(*command: str, stdin: str = "", extra: Mapping[str, str] | None = None, timeout_s: float | None = None) -> str:
    """Run one command and return its stdout. Raises LabError with what it said last."""
    result = _run(command, stdin, extra, timeout_s)
    if result.returncode != 0:
        said = "\n".join((result.stderr or result.stdout).strip().splitlines()[-8:])
        raise LabError(f"cannot run `{' '.join(command)}`: exit code {result.returncode}: {said}")
    return result.stdout


def succeeds(*command: str, timeout_s: float | None = None) -> bool:
    """Whether the command ends with exit code 0 (in time)."""
    try:
        return _run(command, "", None, timeout_s).returncode == 0
    except LabError:
        return False


def _run(
    command: Sequence[str], stdin: str, extra: Mapping[str, str] | None, timeout_s: float | None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=stdin, env=environment(extra), capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except FileNotFoundError as error:
        raise LabError(f"cannot run `{command[0]}`: it is not installed; run `unterbau lab up`, which does") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"cannot wait longer for `{' '.join(command)}`: no end after {timeout_s} s") from error
