"""Health checks of load balancers' targets. Source: Hetzner Cloud API, "Load Balancers", health_check."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from fnmatch import fnmatch

from unterbau.lab.cloud.answer import Record

_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Check:
    """What is asked of one target; times in seconds. `path` is None for a check that only connects."""

    address: str
    port: int
    interval: int
    timeout: int
    retries: int
    path: str | None = None
    domain: str = ""
    tls: bool = False
    codes: tuple[str, ...] = ()
    response: str = ""

    @staticmethod
    def of(address: str, service: Record) -> Check:
        """A service's check of the target at an address."""
        asked = service["health_check"]
        times = asked["interval"], asked["timeout"], asked["retries"]
        if asked["protocol"] == "tcp":
            return Check(address, asked["port"], *times)
        http = asked["http"]
        return Check(
            address, asked["port"], *times, path=http["path"], domain=http["domain"] or address, tls=http["tls"],
            codes=tuple(http["status_codes"]), response=http["response"],
        )  # fmt: skip


async def found_by(check: Check) -> bool:
    """Whether the target answers as it should, in time."""
    try:
        return await asyncio.wait_for(_asked(check), check.timeout)
    except (OSError, TimeoutError, ValueError, IndexError):
        return False


async def _asked(check: Check) -> bool:
    reader, writer = await asyncio.open_connection(check.address, check.port, ssl=_context() if check.tls else None)
    try:
        if check.path is None:
            return True
        writer.write(f"GET {check.path} HTTP/1.0\r\nHost: {check.domain}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split()[1].decode()
        right = any(fnmatch(status, pattern) for pattern in check.codes)
        return right and (not check.response or check.response.encode() in await reader.read(_HEAD_BYTES))
    finally:
        writer.close()


def _context() -> ssl.SSLContext:
    """Any certificate is good: at Hetzner, too, a check does not verify it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
