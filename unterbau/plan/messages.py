"""What pyinfra says while it runs, kept by host instead of printed: reports quote it, machine output stays clean."""

from __future__ import annotations

import logging
from collections import defaultdict

from click import unstyle
from pyinfra import logger
from pyinfra.context import ctx_host
from typing_extensions import override

from unterbau.secrets.hidden import redact

EVERYWHERE = ""


class Messages(logging.Handler):
    """The warnings and errors of one run, redacted, by host name."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._errors: dict[str, list[str]] = defaultdict(list)
        for old in [handler for handler in logger.handlers if isinstance(handler, Messages)]:
            logger.removeHandler(old)
        logger.addHandler(self)
        logger.propagate = False

    @override
    def emit(self, record: logging.LogRecord) -> None:
        host = ctx_host.get()
        name = host.name if host is not None else EVERYWHERE
        text = redact(unstyle(record.getMessage())).strip().removeprefix(f"[{name}]").strip()
        if text:
            self._errors[name].append(text)

    def errors_of(self, name: str) -> list[str]:
        """What was said of a host, in order."""
        return list(self._errors[name])

    def take_errors_of(self, name: str) -> list[str]:
        """What was said of a host since the last time."""
        return self._errors.pop(name, [])
