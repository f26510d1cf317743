"""What a command on a node says, as lines of text: from its channel, or from an answer that was read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from pyinfra import logger

from unterbau.connectors.prefetch import Answer


class Ended(Protocol):
    """What has an exit status: a channel, or an answer that was read ahead."""

    def recv_exit_status(self) -> int:  # noqa: D102  # paramiko's name
        ...


@dataclass(frozen=True)
class Lines:
    """An output of a channel as lines of text."""

    channel: Ended
    raw: Iterable[bytes]

    def __iter__(self) -> Iterator[str]:
        for line in self.raw:
            yield line.decode("utf-8", "backslashreplace")


def exec_tolerant(
    execute: Callable[..., tuple[Any, Any, Any]], answers: dict[str, Answer], command: str, **kwargs: Any
) -> tuple[Any, Lines, Lines]:
    """paramiko's exec_command, whose output is decoded line by line: a byte that is not UTF-8 is shown as an escape.

    paramiko's own files raise at such a byte, and what came after it would be missing without a word. A command that
    has its answer in `answers` is not sent: this answer is used up.
    """
    answer = answers.pop(command, None)
    if answer is not None:
        logger.debug("--> It was read ahead")
        return BytesIO(), Lines(answer, BytesIO(answer.stdout)), Lines(answer, BytesIO(answer.stderr))
    stdin, stdout, stderr = execute(command, **kwargs)
    return (
        stdin,
        Lines(stdout.channel, stdout.channel.makefile("rb")),
        Lines(stderr.channel, stderr.channel.makefile_stderr("rb")),
    )
