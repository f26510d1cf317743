"""Ctrl-C and SIGTERM reach the main greenlet: an exception in whichever greenlet runs could be swallowed there."""

from __future__ import annotations

import signal
from types import TracebackType
from typing import Self

import click
import gevent

from unterbau.plan.execute import Run

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Before a run: KeyboardInterrupt. During it what runs may end and nothing more begins; the second ends at once."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self._main = gevent.getcurrent()

    def __enter__(self) -> Self:
        self._handlers = [gevent.signal_handler(number, self._interrupt) for number in SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handler in self._handlers:
            handler.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # cancelling leaves no handler at all
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _interrupt(self) -> None:
        if self.run is None or self.run.stopped:
            gevent.kill(self._main, KeyboardInterrupt)
        else:
            self.run.stop()
            click.echo("stopping after the operation that runs; once more to stop at once", err=True)
