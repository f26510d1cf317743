"""Programs of the operator's machine that know how to get something: pip, apt-get, go. Bounded, never asking."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from unterbau.artifacts.errors import SourceError

LIMIT_S = 900
LINES_QUOTED = 4


def run(
    command: Sequence[str],
    work: Path,
    environment: Mapping[str, str | None] | None = None,
    limit_s: float = LIMIT_S,
    to: Path | None = None,
) -> str:
    """Its output, or "" if it goes to the file `to`. SourceError with its last words, or that it took too long.

    It runs in `work`, with its temporary files there; `environment` adds to this process's, None takes away.
    """
    out, errors = to or work / "output", work / "errors"
    with out.open("wb") as stdout, errors.open("wb") as stderr:
        process = _started(command, work, stdout=stdout, stderr=stderr, env=_environment(work, environment or {}))
        code = _awaited(process, command, limit_s)
    if code != 0:
        words = _read(errors) or ("" if to else _read(out))
        quoted = "; ".join(line.strip() for line in words.splitlines()[-LINES_QUOTED:])
        raise SourceError(f"`{_short(command)}` ended with {code}: {quoted or 'without a word'}")
    return "" if to else _read(out)


def only_file(directory: Path, pattern: str, who: str) -> Path:
    """The one file that a program made there. Raises SourceError if it is none or several."""
    found = [path for path in directory.glob(pattern) if path.is_file()]
    if len(found) != 1:
        raise SourceError(f"{who} made {', '.join(sorted(path.name for path in found)) or 'nothing'}, not one file")
    return found[0]


def _started(command: Sequence[str], work: Path, **options: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, start_new_session=True, **options)
    except FileNotFoundError as error:
        raise SourceError(f"`{command[0]}` is not installed on this machine") from error


def _awaited(process: subprocess.Popen[bytes], command: Sequence[str], limit_s: float) -> int:
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"`{_short(command)}` did not end within {limit_s:g} s") from error
    finally:
        with suppress(ProcessLookupError):  # it and whatever it started: it leads a session of its own
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(work: Path, changed: Mapping[str, str | None]) -> dict[str, str]:
    wanted = {**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": str(work), **changed}
    return {name: value for name, value in wanted.items() if value is not None}


def _short(command: Sequence[str]) -> str:
    """Enough of it to know it again, without its options: "python -m pip download"."""
    return " ".join([Path(command[0]).name, *takewhile(lambda word: word[:1] != "-" or word == "-m", command[1:])])


def _read(path: Path) -> str:
    return path.read_text(errors="replace").strip()
