"""The cloud on sockets: its API, its metadata service, its faults; and the threads that do its work.

The standard library's server is enough for it: a few clients in a lab, on loopback or on the lab's bridge.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from unterbau.lab.cloud import bodies
from unterbau.lab.cloud.answer import Answer, ApiError, json_answer
from unterbau.lab.cloud.api import CloudApi
from unterbau.lab.cloud.faults import Fault

WORKERS = 4  # machines that boot at the same time
BODY_BYTES = 1 << 20
IDLE_S = 60.0

Respond = Callable[["_Handler", bytes], Answer]


@dataclass(frozen=True)
class Tls:
    """Files with a certificate and its key."""

    certificate: Path
    key: Path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], respond: Respond) -> None:
        self.respond = respond
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not believe the certificate, is no error of the server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: _Server

    def _any(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # nobody reads that body
            return self._send(ApiError("invalid_input", f"a body of {length} bytes is not read").answer())
        return self._send(self.server.respond(self, self.rfile.read(int(length))))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any  # noqa: N815  # the base class calls them so

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
        self.close_connection = self.close_connection or answer.cut

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: `CloudApi.requests` has them."""


def respond_as_api(api: CloudApi) -> Respond:
    """The API itself."""

    def respond(request: _Handler, body: bytes) -> Answer:
        url = urlsplit(request.path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        return api.handle(request.command, url.path, parse_qs(url.query, keep_blank_values=True), headers, body)

    return respond


def respond_as_metadata(api: CloudApi) -> Respond:
    """The metadata service: who asks is known by the address that the request comes from."""
    return lambda request, _: api.metadata(str(request.client_address[0]), urlsplit(request.path).path)


def respond_as_admin(api: CloudApi) -> Respond:
    """Faults: GET, POST and DELETE of /faults, DELETE of /faults/{id}. It has no token: for loopback only."""

    def respond(request: _Handler, body: bytes) -> Answer:
        try:
            return _admin(api, request.command, urlsplit(request.path).path, body)
        except ApiError as error:
            return error.answer()

    return respond


def _admin(api: CloudApi, method: str, path: str, body: bytes) -> Answer:
    number = path.removeprefix("/faults/")
    if method == "DELETE" and number.isdigit():
        api.remove_fault(int(number))
        return json_answer(204)
    if path != "/faults" or method not in {"GET", "POST", "DELETE"}:
        raise ApiError("not_found", f"there is no {method} {path}")
    if method == "POST":
        return json_answer(201, {"id": api.add_fault(bodies.read(Fault, body))})
    if method == "DELETE":
        api.remove_fault()
        return json_answer(204)
    return Answer(200, {"Content-Type": "application/json"}, json.dumps({"faults": api.faults()}).encode())


@contextmanager
def listening(respond: Respond, address: tuple[str, int] = ("127.0.0.1", 0), tls: Tls | None = None) -> Iterator[str]:
    """Answer on an address while the context lasts; its URL. Port 0: a free one."""
    server = _Server(address, respond)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://{address[0]}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def working(api: CloudApi, workers: int = WORKERS) -> Iterator[None]:
    """Do the cloud's work while the context lasts."""
    end = threading.Event()
    threads = [threading.Thread(target=_work, args=(api, end), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        with api.changed:
            api.changed.notify_all()
        for thread in threads:
            thread.join()


def _work(api: CloudApi, end: threading.Event) -> None:
    while not end.is_set():
        if api.work_once():
            continue
        with api.changed:
            if not end.is_set() and not api.has_work():
                api.changed.wait(_wait_s(api))


def _wait_s(api: CloudApi) -> float | None:
    at = api.next_at()
    return None if at is None else max(0.0, (at - api.project.clock()).total_seconds())
