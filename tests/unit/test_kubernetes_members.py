"""Servers of a real Kubernetes API, reached as through their nodes: who answers, who is let in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import StringCommand

from tests.unit.kube_server import Authority, Endpoint, Server
from tests.unit.s3_server import free_ports
from unterbau.connectors import members as ways
from unterbau.connectors.endpoint import NotThereError
from unterbau.connectors.kubernetes_members import Login, Members
from unterbau.connectors.tunnel import connect_directly
from unterbau.secrets.hidden import Hidden


@pytest.fixture
def members(kube: Server, monkeypatch: pytest.MonkeyPatch) -> Members:
    node = SimpleNamespace(address="127.0.0.1")
    hosts = [SimpleNamespace(name="srv-1", connected=True, connector=None, data=SimpleNamespace(node=node))]
    state: Any = SimpleNamespace(
        inventory=SimpleNamespace(get_group=lambda _name: hosts), is_host_in_limit=lambda _host: True
    )
    one = Members(state, "servers", kube.port)
    monkeypatch.setattr(one, "_ways", lambda _nearest: [("srv-1", object())])
    monkeypatch.setattr(ways, "open_channel", lambda _way, address, port: connect_directly(address, port))
    monkeypatch.setattr(one, "_read", lambda: Login(kube.authority.pem, Hidden(kube.admin)))
    return one


def test_a_server_that_is_ready_is_spoken_with(members: Members, kube: Server) -> None:
    assert members.look(every=True) == {"srv-1": "ready"}
    endpoint = Endpoint(kube)
    endpoint.connector._way = lambda: members  # type: ignore[method-assign]
    done, output = endpoint.connector.run_shell_command(StringCommand("GET v1/Namespace/-/default"))
    assert done, output.output
    endpoint.connector.disconnect()


def test_who_is_not_let_in_reads_the_certificate_again(
    members: Members, kube: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority.new()
    monkeypatch.setattr(
        members, "_read", lambda: Login(kube.authority.pem, Hidden(other.issue("admin", "system:masters")))
    )
    assert "ready" not in members.look(every=True)["srv-1"]


def test_a_server_that_another_authority_signed_is_none(
    members: Members, kube: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "_read", lambda: Login(Authority.new().pem, Hidden(kube.admin)))
    assert members.look(every=True)["srv-1"].startswith("does not answer")
    with pytest.raises(NotThereError, match="no server answers; found srv-1 does not answer"):
        members.url(0)


def test_nobody_is_there(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    members.all = [ways.Member(members.all[0].host, port)]
    assert not members.answers()

    def nowhere() -> Login:
        raise NotThereError("cannot log in to the Kubernetes API: no node has its certificates")

    monkeypatch.setattr(members, "_read", nowhere)
    members.forget()
    with pytest.raises(NotThereError, match="no node has its certificates"):
        members.url(0)
