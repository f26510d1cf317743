"""Every test, in two rows at once: those on the usual lab and those without machines, and beside them the others.

`python -m tests.run [PYTEST ARGUMENTS]`. The first row speaks at once; then comes the end of what each failure of
either row said, for who sees only a part of a long log; then what the second row said. Exit code 0 if both passed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

NOTHING_COLLECTED = 5
PYTEST = [sys.executable, "-m", "pytest"]
LINES = 25


def main(arguments: list[str]) -> int:
    """Run both rows; the larger of their exit codes."""
    up = [sys.executable, "-m", "unterbau", "lab", "cloud", "up"]  # with what both need, once
    if subprocess.run(up, check=False).returncode:
        return 1
    with tempfile.TemporaryFile() as beside_says, tempfile.TemporaryDirectory() as folder:
        reports = [Path(folder, f"{row}.xml") for row in ("usual", "beside")]
        beside = subprocess.Popen(
            [*PYTEST, "-m", "beside", "-p", "no:cacheprovider", f"--junitxml={reports[1]}", *arguments],
            stdin=subprocess.DEVNULL, stdout=beside_says, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            usual = [*PYTEST, "-m", "not beside", f"--junitxml={reports[0]}", *arguments]
            first = subprocess.run(usual, check=False).returncode
            second = beside.wait()
        finally:
            if beside.poll() is None:  # an interrupt: its fixtures take their machines down
                beside.send_signal(signal.SIGINT)
                beside.wait()
        for failure in failures(reports):
            print(failure)  # noqa: T201
        beside_says.seek(0)
        print("beside it, on machines of their own:", flush=True)  # noqa: T201
        sys.stdout.buffer.write(beside_says.read())
        sys.stdout.flush()
    codes = [code for code in (first, second) if code != NOTHING_COLLECTED]
    return max(codes, default=NOTHING_COLLECTED)


def failures(reports: list[Path]) -> Iterator[str]:
    """Each failed test of these rows: its name, and the last lines of what it said.

    A row that died left no report, or half of one.
    """
    for report in filter(Path.exists, reports):
        with suppress(ElementTree.ParseError):
            for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # our own file
                for bad in (*case.iterfind("failure"), *case.iterfind("error")):
                    said = (bad.text or bad.get("message") or "").strip().splitlines()
                    yield "\n".join([f"{bad.tag}: {case.get('classname')}::{case.get('name')}", *said[-LINES:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
