"""How long a second `make lab` takes, against connecting to its nodes and running `true`. Needs a converged lab."""

import os
import statistics
import subprocess
import sys
import time

RUNS = 5
FLOOR = [
    ".venv/bin/python",
    "-m",
    "pyinfra",
    "-y",
    "--limit",
    "servers",
    "--limit",
    "workers",
    "inventories/lab.py",
    "exec",
    "--",
    "true",
]
SECOND = ["make", "--silent", "lab"]
PLAN = [".venv/bin/unterbau", "plan", "lab"]


def seconds(command: list[str]) -> float:
    """Wall time of one run; the bench ends if the command fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def main() -> None:
    """Interleave the runs, so that a busy moment of the machine meets all of them; print medians and ratios."""
    for command in (FLOOR, SECOND, PLAN):
        seconds(command)
    times = [[seconds(command) for command in (FLOOR, SECOND, PLAN)] for _ in range(RUNS)]
    floor, second, plan = (statistics.median(column) for column in zip(*times, strict=True))
    sys.stdout.write(
        f"connect to the nodes and run `true` (pyinfra exec): {floor:.2f} s\n"
        f"unterbau plan lab, nothing to change:               {plan:.2f} s, ratio {plan / floor:.2f}\n"
        f"make lab, nothing to change:                        {second:.2f} s, ratio {second / floor:.2f}\n"
        f"medians of {RUNS} runs each, interleaved\n"
    )


if __name__ == "__main__":
    main()
