"""The connector: host keys are never learned, and small packets leave at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from unterbau.connectors import node
from unterbau.connectors.node import CONNECT_TIMEOUT_S, SILENCE_LIMIT_S, NodeConnector, low_latency_transport


def connector(**data: Any) -> NodeConnector:
    state: Any = SimpleNamespace(config=SimpleNamespace(CONNECT_TIMEOUT=10))
    host: Any = SimpleNamespace(name="srv-1", data={"ssh_hostname": "192.0.2.1", **data})
    return NodeConnector(state, host)


@pytest.mark.parametrize("asked", [None, "accept-new", "no", "off", "ask"])
def test_an_unknown_host_key_is_refused_whatever_the_data_say(asked: Any) -> None:
    data = {} if asked is None else {"ssh_strict_host_key_checking": asked}
    found = connector(ssh_known_hosts_file="/a/known_hosts", **data).make_paramiko_kwargs()
    assert found["_pyinfra_ssh_strict_host_key_checking"] == "yes"
    assert found["_pyinfra_ssh_known_hosts_file"] == "/a/known_hosts"
    assert found["hostname"] == "192.0.2.1"


def test_what_paramiko_is_told_beside_keeps_our_transport() -> None:
    found = connector(ssh_paramiko_connect_kwargs={"banner_timeout": 3}).make_paramiko_kwargs()
    told = found["_pyinfra_ssh_paramiko_connect_kwargs"]
    assert (told["banner_timeout"], told["auth_timeout"]) == (3, CONNECT_TIMEOUT_S)
    assert told["transport_factory"] is low_latency_transport


@pytest.fixture
def connected() -> Iterator[socket.socket]:
    """Our end of a real TCP connection over loopback; the other end has it as well, until the test ends."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0],
    ):
        yield ours


def test_small_packets_leave_at_once_and_silence_is_noticed(connected: socket.socket) -> None:
    def options() -> tuple[int, int, int]:
        asked = ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        nodelay, keepalive = (connected.getsockopt(*each) for each in asked)
        return nodelay, keepalive, connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert options() == (0, 0, 0)  # as the kernel gives them
    transport = low_latency_transport(connected)
    assert options() == (1, 1, SILENCE_LIMIT_S * 1000)
    transport.close()


@pytest.mark.parametrize(("deaf", "closed"), [(1, False), (2, True)])
def test_a_node_is_given_up_after_two_questions_without_an_answer(
    deaf: int, closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that goes unanswered may be this process's own fault: it had no processor."""
    monkeypatch.setattr(node, "KEEPALIVE_INTERVAL_S", 0.01)
    monkeypatch.setattr(node, "SILENCE_LIMIT_S", 0.05)

    class Transport:
        asked, closed = 0, False

        def global_request(self, _kind: str, *, wait: bool) -> None:
            self.asked += 1
            if wait and self.asked <= deaf:
                gevent.sleep(60)

        def close(self) -> None:
            self.closed = True

    transport = Transport()
    watch = gevent.spawn(node.close_when_silent, transport)
    with gevent.Timeout(10):
        while transport.asked < deaf + 2 and not transport.closed:
            gevent.sleep(0.001)
    watch.kill()
    assert transport.closed is closed
