"""Files over HTTP(S). What arrives is bytes that nobody vouches for: who asked compares a checksum."""

from __future__ import annotations

import time
from collections.abc import Callable

import requests
from urllib3.exceptions import HTTPError

CONNECT_TIMEOUT_S = 10
SILENCE_LIMIT_S = 30
LIMIT_S = 1800
CHUNK_BYTES = 1 << 20


class DownloadError(Exception):
    """What was found instead of the file."""


def download(url: str, write: Callable[[bytes], None], limit_s: float = LIMIT_S) -> None:
    """Give every chunk of the file at `url` to `write`. Raises DownloadError; what `write` raises passes through."""
    ends_s = time.monotonic() + limit_s
    try:
        # As it is on the server: a .gz that is unpacked on the way would not have the checksum that was pinned.
        with requests.get(
            url, stream=True, timeout=(CONNECT_TIMEOUT_S, SILENCE_LIMIT_S), headers={"Accept-Encoding": "identity"}
        ) as answer:
            if answer.status_code != requests.codes.ok:
                raise DownloadError(f"the server answered {answer.status_code} {answer.reason}")
            for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
                write(chunk)
                if time.monotonic() > ends_s:
                    raise DownloadError(f"it took longer than {limit_s:g} s")
    except (requests.RequestException, HTTPError) as error:
        raise DownloadError(f"the download failed: {_innermost(error)}") from error


def _innermost(error: BaseException) -> str:
    """requests wraps what happened three times over; the reason is inside."""
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, Exception) else next((a for a in error.args if isinstance(a, Exception)), None)
    return _innermost(inner) if inner is not None else str(error) or type(error).__name__
