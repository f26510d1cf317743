"""`unterbau` as a process of its own that waits for a cloud no longer than it must: its clock runs as it sleeps.

`python -m tests.unit.cloud_program ARGUMENTS`.
"""

from __future__ import annotations

import unterbau.cooperative  # noqa: F401  # isort: skip  # first, as in the program

from types import SimpleNamespace
from typing import Any

import gevent
import hcloud._client as vendors_client

from unterbau.cli import main
from unterbau.connectors import hcloud_client, hcloud_objects

A_MOMENT_S = 0.005


class Clock:
    """Seconds that were slept."""

    now_s = 0.0

    def sleep(self, seconds: float = 0) -> None:
        """Let the cloud do something meanwhile."""
        self.now_s += seconds
        gevent.sleep(A_MOMENT_S if seconds else 0)

    def monotonic(self) -> float:
        """As `time` has it."""
        return self.now_s


def hurry() -> None:
    """Whoever asks a cloud waits by this clock."""
    clock: Any = Clock()
    vendors_client.time = clock  # type: ignore[attr-defined]
    for module in (hcloud_client, hcloud_objects):
        module.time = clock  # type: ignore[attr-defined]
        module.gevent = SimpleNamespace(sleep=clock.sleep)  # type: ignore[attr-defined]


if __name__ == "__main__":
    hurry()
    main()
