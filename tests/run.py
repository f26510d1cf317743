"""Every test, in rows at once: those on the usual lab and those without machines, and beside them the others.

`python -m tests.run [PYTEST ARGUMENTS]`. The first row speaks at once; then comes the end of what each failure of
any row said, for who sees only a part of a long log; then what the other rows said. Exit code 0 if all passed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree

NOTHING_COLLECTED = 5
PYTEST = [sys.executable, "-m", "pytest"]
FIRST = "not beside and not storage"
OTHERS = ("beside", "storage")  # each has machines of its own; see tests/lab/conftest.py
LINES = 25


def main(arguments: list[str]) -> int:
    """Run all rows; the largest of their exit codes."""
    if subprocess.run(
        [sys.executable, "-m", "unterbau", "lab", "cloud", "up"], check=False
    ).returncode:  # what all need, once
        return 1
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        others = [stack.enter_context(row(mark, folder, arguments)) for mark in OTHERS]
        usual = [*PYTEST, "-m", FIRST, f"--junitxml={folder / 'usual.xml'}", *arguments]
        codes = [subprocess.run(usual, check=False).returncode, *(other.wait() for other in others)]
        for failure in failures(sorted(folder.glob("*.xml"))):
            print(failure)  # noqa: T201
        for mark in OTHERS:
            print(f"{mark}, on machines of its own:", flush=True)  # noqa: T201
            sys.stdout.buffer.write((folder / mark).read_bytes())
            sys.stdout.flush()
    return max((code for code in codes if code != NOTHING_COLLECTED), default=NOTHING_COLLECTED)


@contextmanager
def row(mark: str, folder: Path, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The tests of a mark, under way; what they say goes to a file of that name."""
    command = [*PYTEST, "-m", mark, "-p", "no:cacheprovider", f"--junitxml={folder / mark}.xml", *arguments]
    with (folder / mark).open("wb") as says:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=says, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            if process.poll() is None:  # an interrupt: its fixtures take their machines down
                process.send_signal(signal.SIGINT)
                process.wait()


def failures(reports: Iterable[Path]) -> Iterator[str]:
    """Each failed test of these rows: its name, and the last lines of what it said.

    A row that died left half of a report.
    """
    for report in reports:
        with suppress(ElementTree.ParseError):
            for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # our own file
                for bad in (*case.iterfind("failure"), *case.iterfind("error")):
                    said = (bad.text or bad.get("message") or "").strip().splitlines()
                    yield "\n".join([f"{bad.tag}: {case.get('classname')}::{case.get('name')}", *said[-LINES:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
