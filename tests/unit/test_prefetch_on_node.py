"""The program that nodes get, run here: each command says what it says when it is run alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unterbau.connectors.prefetch import frames, runner
from unterbau.connectors.prefetch_on_node import WIDTH

PROGRAM = [sys.executable, "-I", "-S", "-c", runner()]
SAYS = [
    "echo one; echo two >&2; exit 3",
    "printf 'no end of line'",
    "printf 'a\\000b\\377\\r\\n\\n\\n'",
    "printf 's 0 0\\nx 0 1\\n0unterbau prefetch 1\\n'",
    "true",
    "cat; echo end of input",
    "kill -9 $$",
    "no-such-command",
    "echo 'not closed",
    "yes | head -n 1",
    "head -c 300000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero | tr '\\0' y >&2",
    "(sleep 0.2; echo late) & echo early",
    "exec >&- 2>&-; sleep 0.1; exit 7",
    "env | grep -v '^_=' | sort",
    "pwd; umask; ulimit -a",
    "echo 'ü; reboot' \"$0\" $#",
    "sed -nE 's/^Sig(Ign|Blk).*(.{7})$/\\1 \\2/p' /proc/self/status",  # without those that belong to the C library
]


def alone(command: str) -> tuple[bytes, bytes, int]:
    ran = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return ran.stdout, ran.stderr, max(ran.returncode, -1)


def together(*commands: str) -> list[tuple[bytes, bytes, int]]:
    text = "\0".join(commands).encode()
    ran = subprocess.run(PROGRAM, input=text, capture_output=True, timeout=60, check=True)
    found = {(kind, number): [] for number in range(len(commands)) for kind in (b"s", b"o", b"e", b"x")}
    for kind, number, piece in frames([ran.stdout]):
        found[kind, number].append(piece)
    assert ran.stderr == b""
    return [
        (b"".join(found[b"o", number]), b"".join(found[b"e", number]), int(found[b"x", number][0]))
        for number in range(len(commands))
    ]


def test_each_says_what_it_says_alone() -> None:
    assert dict(zip(SAYS, together(*SAYS), strict=True)) == {command: alone(command) for command in SAYS}


def test_a_login_without_a_locale_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    assert together("env | grep ^LC_ || echo none") == [(b"none\n", b"", 0)]


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The program with one command that hangs for ever, and a file that its lock is on as long as it does."""
    held = tmp_path / "held"
    process = subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    hangs = f"exec 9>{held}; flock 9; echo begun; sleep 1000"
    process.stdin.write("\0".join([hangs, *(f"echo {number}" for number in range(2 * WIDTH))]).encode())
    process.stdin.close()
    yield process, held
    process.stdout.close()  # it ends what hangs then; killed, it would leave that behind
    process.wait()


def those_that_ended(process: subprocess.Popen[bytes]) -> set[int]:
    """The numbers of 2 * WIDTH commands that ended, once the one that hangs has said all that it will."""
    assert process.stdout
    ended: set[int] = set()
    said = False
    for kind, number, _piece in frames(iter(lambda: process.stdout.read1(4096), b"")):
        said |= (kind, number) == (b"o", 0)
        ended |= {number} if kind == b"x" else set()
        if said and len(ended) == 2 * WIDTH:
            break
    return ended


def test_one_that_hangs_holds_up_nobody(hanging: tuple[subprocess.Popen[bytes], Path]) -> None:
    assert those_that_ended(hanging[0]) == set(range(1, 2 * WIDTH + 1))


def test_when_nobody_reads_any_more_what_runs_is_ended(hanging: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, held = hanging
    assert process.stdout
    those_that_ended(process)  # now nothing is left to be said
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    freed = subprocess.run(["flock", "--timeout", "30", held, "true"], check=False)
    assert freed.returncode == 0
