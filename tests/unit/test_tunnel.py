"""TLS through something that is no socket: who is believed, what is shown to whom, what is left behind."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from unterbau.connectors.tunnel import ChannelSocket, session, tls_context
from unterbau.connectors.vault_client import _never_sent
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden

NOW = datetime.now(UTC).replace(microsecond=0)
ADDRESS = "192.0.2.7"  # nobody's: only the stream's far end has it


class Channel:
    """As much of an SSH channel as a stream needs, on a socket of loopback."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream, self.closed, self.eof_received = stream, False, False
        self.recv, self.sendall, self.settimeout = stream.recv, stream.sendall, stream.settimeout

    def close(self) -> None:
        self.closed = True
        self.stream.close()


@pytest.fixture(scope="module")
def root() -> Hidden:
    return pki.new_root("root", 30, NOW)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        who = self.connection.getpeercert() or {}  # type: ignore[attr-defined]
        name = str(dict(pair[0] for pair in who.get("subject", ())).get("commonName", "nobody"))
        text = self.headers.get("Authorization", "none") if self.path == "/authorization" else name
        self.send_response(200)
        if self.path != "/open":  # whose end is the end of the connection, which says no goodbye here
            self.send_header("Content-Length", str(len(text) + (9 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(text.encode())
        self.close_connection = self.path in ("/cut", "/open")

    def log_message(self, *args: object) -> None:
        pass


Opened = list[Channel]


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def serve(root: Hidden, tmp_path: Path) -> Iterator[Callable[..., tuple[Callable[[str, int], ChannelSocket], Opened]]]:
    servers = []

    def start(leaf: pki.Leaf, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, clients: str = ""):  # type: ignore[no-untyped-def]
        pem = tmp_path / "leaf.pem"
        pem.write_text(pki.issue(root, leaf, NOW).unmask())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.maximum_version = most
        if clients:
            context.load_verify_locations(cadata=clients)
            context.verify_mode = ssl.CERT_OPTIONAL
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *args: None  # type: ignore[method-assign]  # a refused handshake is what is tried
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        channels: Opened = []

        def opened(address: str, port: int) -> ChannelSocket:
            assert (address, port) == (ADDRESS, 8200)
            stream = socket.create_connection(server.server_address[:2], timeout=30)
            channels.append(Channel(stream))
            return ChannelSocket(channels[-1])  # type: ignore[arg-type]

        return opened, channels

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


LEAF = pki.Leaf("member", addresses=(ADDRESS,))
URL = f"https://{ADDRESS}:8200/"


def test_a_member_is_believed_by_its_address_and_one_stream_serves_many_requests(serve, root) -> None:  # type: ignore[no-untyped-def]
    opened, channels = serve(LEAF)
    with session(opened, tls_context([pki.root_certificate(root)])) as http_session:
        assert [http_session.get(URL, timeout=30).text for _ in range(3)] == ["nobody"] * 3
        assert len(channels) == 1
    assert channels[0].closed


def test_two_roots_are_trusted_while_one_takes_over(serve, root) -> None:  # type: ignore[no-untyped-def]
    opened, _ = serve(LEAF)
    new = pki.new_root("new root", 30, NOW)
    with session(opened, tls_context([pki.root_certificate(new), pki.root_certificate(root)])) as http_session:
        assert http_session.get(URL, timeout=30).status_code == 200


def test_a_stranger_s_certificate_is_refused_before_anything_is_asked(serve) -> None:  # type: ignore[no-untyped-def]
    opened, channels = serve(LEAF)
    other = pki.new_root("root", 30, NOW)
    http_session = session(opened, tls_context([pki.root_certificate(other)]))
    with pytest.raises(requests.ConnectionError, match="certificate verify failed") as error:
        http_session.get(URL, timeout=30)
    assert _never_sent(error.value)
    assert channels[0].closed


def test_another_member_s_certificate_is_refused(serve, root) -> None:  # type: ignore[no-untyped-def]
    opened, _ = serve(pki.Leaf("member", addresses=("192.0.2.8",)))
    http_session = session(opened, tls_context([pki.root_certificate(root)]))
    with pytest.raises(requests.ConnectionError, match="IP address mismatch"):
        http_session.get(URL, timeout=30)


def test_tls_1_2_is_not_spoken(serve, root) -> None:  # type: ignore[no-untyped-def]
    opened, _ = serve(LEAF, most=ssl.TLSVersion.TLSv1_2)
    http_session = session(opened, tls_context([pki.root_certificate(root)]))
    with pytest.raises(requests.ConnectionError):
        http_session.get(URL, timeout=30)


def test_the_client_s_certificate_is_shown_and_its_key_is_in_no_file(serve, root, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    authority = pki.new_root("deployers", 30, NOW)
    opened, _ = serve(LEAF, clients=pki.root_certificate(authority))
    client = pki.client_certificate(authority, "unterbau-deploy", timedelta(hours=1))
    before = descriptors()
    context = tls_context([pki.root_certificate(root)], client.unmask())
    assert descriptors() == before
    with session(opened, context) as http_session:
        assert http_session.get(URL, timeout=30).text == "unterbau-deploy"


@pytest.mark.parametrize("path", ["cut", "open"])
def test_an_answer_that_breaks_off_is_an_error_and_not_a_shorter_answer(serve, root, path) -> None:  # type: ignore[no-untyped-def]
    opened, _ = serve(LEAF)
    http_session = session(opened, tls_context([pki.root_certificate(root)]))
    with pytest.raises(requests.RequestException) as error:
        http_session.get(URL + path, timeout=30)
    assert not _never_sent(error.value)


def test_neither_a_proxy_nor_a_password_of_the_environment_is_used(serve, root, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "netrc").write_text(f"machine {ADDRESS} login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    opened, _ = serve(LEAF)
    with session(opened, tls_context([pki.root_certificate(root)])) as http_session:
        assert http_session.get(URL + "authorization", timeout=30).text == "none"
        with pytest.raises(requests.exceptions.InvalidSchema):
            http_session.get("http://192.0.2.7/", timeout=30)
