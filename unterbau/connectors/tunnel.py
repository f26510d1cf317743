"""A TLS connection to an API that is exposed nowhere: through a node's SSH connection, with no listening port here.

The stream is an SSH channel (`direct-tcpip`). The TLS on it is verified against the internal roots by the address of
the member it ends at: the node in between sees ciphertext, and cannot answer in the member's place.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from paramiko import Channel, ChannelException, SSHException, Transport
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssltransport import SSLTransport
from urllib3.util.wait import wait_for_read

OPEN_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 10
CONNECT_FAILED = 2  # RFC 4254 5.1

# Whoever asks is told why a channel could not be opened; paramiko prints it besides, into every output.
logging.getLogger("paramiko.transport").addFilter(lambda record: not record.getMessage().startswith("Secsh channel"))

Open = Callable[[str, int], "ChannelSocket"]


class ChannelSocket:
    """An SSH channel as far as TLS and `http.client` want a socket; closed when its last reader is."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._io_refs, self._closed = channel, 0, False

    @property
    def lost(self) -> bool:
        """Whether nothing more can come of it."""
        return bool(self._channel.closed or self._channel.eof_received)

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end; TimeoutError."""
        return self._channel.recv(size)

    def sendall(self, data: bytes) -> None:
        """Send everything, or OSError."""
        self._channel.sendall(data)

    def settimeout(self, timeout_s: float | None) -> None:
        """For each receive and send."""
        self._channel.settimeout(timeout_s)

    def close(self) -> None:
        """Close it once nobody reads from it any more."""
        self._closed = True
        if self._io_refs < 1:
            self._channel.close()

    def _decref_socketios(self) -> None:
        self._io_refs -= 1
        if self._closed:
            self.close()


def open_channel(transport: Transport, address: str, port: int) -> ChannelSocket:
    """A TCP stream to address:port as the node sees it; OSError within OPEN_TIMEOUT_S if there is none.

    ConnectionRefusedError: the node is a way, but nobody answers at its end.
    """
    try:
        channel = transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=OPEN_TIMEOUT_S)
    except ChannelException as error:
        refused = error.code == CONNECT_FAILED
        raise (ConnectionRefusedError if refused else OSError)(str(error.text)) from error
    except (SSHException, EOFError) as error:
        raise OSError(str(error) or type(error).__name__) from error
    channel.settimeout(OPEN_TIMEOUT_S)
    return ChannelSocket(channel)


class DirectSocket(ChannelSocket):
    """The same for a TCP connection of our own, to a service that needs no way in."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(cast(Any, connection))
        self._connection = connection

    @property
    @override
    def lost(self) -> bool:
        return wait_for_read(self._connection, timeout=0)  # between requests nobody sends: it is the end


def connect_directly(address: str, port: int) -> ChannelSocket:
    """A TCP stream to address:port from this machine; OSError within OPEN_TIMEOUT_S if there is none."""
    connection = socket.create_connection((address, port), OPEN_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a body follows its headers at once
    return DirectSocket(connection)


def public_context() -> ssl.SSLContext:
    """TLS that trusts what this machine trusts: for a service on the internet."""
    return ssl.create_default_context()


def tls_context(roots: Sequence[str], client: str | None = None) -> ssl.SSLContext:
    """TLS 1.3 that trusts these roots only (PEM); `client` is a key and its certificate, for a server that asks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the name and the chain
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata="\n".join(roots))
    if client is not None:
        _load_client(context, client)
    return context


def _load_client(context: ssl.SSLContext, pem: str) -> None:
    """Python takes files only; these are pipes: the key is in no file, not even a temporary one."""
    with _pipe(pem) as certificate, _pipe(pem) as key:  # one is read for each
        context.load_cert_chain(f"/dev/fd/{certificate.fileno()}", f"/dev/fd/{key.fileno()}")


def _pipe(text: str) -> io.FileIO:
    """Its reading end, with the whole text in it. Not os.close: gevent's leaves a pipe open until its loop runs."""
    reader, writer = os.pipe()
    with io.FileIO(writer, "w") as stream:
        stream.write(text.encode())  # a key and a certificate are far smaller than a pipe
    return io.FileIO(reader, "r")


class _Connection(HTTPSConnection):
    def __init__(self, opened: Open, context: ssl.SSLContext, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._opened, self._context = opened, context
        self._stream: ChannelSocket | None = None

    @override
    def connect(self) -> None:
        try:
            stream = self._opened(self.host, self.port or 443)
            try:
                tls = SSLTransport(cast(Any, stream), self._context, self.host, suppress_ragged_eofs=False)
            except BaseException:
                stream.close()
                raise
        except OSError as error:  # ssl.SSLError and TimeoutError too; so far nothing was asked for
            raise NewConnectionError(self, str(error)) from error
        self._stream, self.sock, self.is_verified = stream, cast(Any, tls), True

    @property
    @override
    def is_connected(self) -> bool:
        return self.sock is not None and self._stream is not None and not self._stream.lost


class _Adapter(HTTPAdapter):
    def __init__(self, opened: Open, context: ssl.SSLContext) -> None:
        self._connection = partial(_Connection, opened, context)
        self._pools: dict[tuple[str, int], HTTPSConnectionPool] = {}
        super().__init__(max_retries=0)

    @override
    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPSConnectionPool:
        parts = urlsplit(request.url or "")
        host, port = str(parts.hostname), parts.port or 443
        if (host, port) not in self._pools:
            pool = HTTPSConnectionPool(host, port, maxsize=1)
            pool.ConnectionCls = self._connection  # type: ignore[assignment]
            self._pools[host, port] = pool
        return self._pools[host, port]

    @override
    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """What is verified stands in the TLS context."""

    @override
    def close(self) -> None:
        for pool in self._pools.values():
            with suppress(OSError, EOFError):
                pool.close()


def session(opened: Open, context: ssl.SSLContext) -> requests.Session:
    """A `requests` session whose every connection is made by `opened`; no proxy, no netrc, no redirect to elsewhere."""
    made = requests.Session()
    made.trust_env = False
    made.mount("https://", _Adapter(opened, context))
    made.adapters.pop("http://")
    return made
