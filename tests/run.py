"""Every test, in two rows at once: those on the usual lab, and beside them those with machines of their own or none.

`python -m tests.run [PYTEST ARGUMENTS]`. The second row's output comes last, whole. Exit code 0 if both rows passed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile

NOTHING_COLLECTED = 5
PYTEST = [sys.executable, "-m", "pytest"]


def main(arguments: list[str]) -> int:
    """Run both rows; the larger of their exit codes."""
    if subprocess.run([sys.executable, "-m", "unterbau", "lab", "up"], check=False).returncode:  # what both need, once
        return 1
    with tempfile.TemporaryFile() as beside_says:
        beside = subprocess.Popen(
            [*PYTEST, "-m", "beside or not lab", "-p", "no:cacheprovider", *arguments],
            stdin=subprocess.DEVNULL, stdout=beside_says, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            first = subprocess.run([*PYTEST, "-m", "lab and not beside", *arguments], check=False).returncode
            second = beside.wait()
        finally:
            if beside.poll() is None:  # an interrupt: its fixtures take their machines down
                beside.send_signal(signal.SIGINT)
                beside.wait()
        beside_says.seek(0)
        print("beside it, on machines of their own or none:", flush=True)  # noqa: T201
        sys.stdout.buffer.write(beside_says.read())
        sys.stdout.flush()
    codes = [code for code in (first, second) if code != NOTHING_COLLECTED]
    return max(codes, default=NOTHING_COLLECTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
