"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import freezegun
import pytest
from pyinfra_testing.util import FakeState

from tests.unit import kube_server
from unterbau.secrets import pki
from unterbau.secrets.hidden import Hidden

freezegun.configure(extend_ignore_list=["kubernetes"])  # its modules import their parts when somebody looks at them


@pytest.fixture(autouse=True)
def certificates_of_cases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the cases of `certificate.*` it is 2026-11-22, and what is issued says what was asked for, not random keys."""
    if not getattr(request.cls, "__name__", "").startswith("operations_certificate_"):
        return
    now = datetime(2026, 11, 22, 0, 50, tzinfo=UTC)

    def issue(issuer: Hidden, leaf: pki.Leaf, at: datetime) -> Hidden:
        assert at == now
        who = pki.read_certificate(issuer.unmask()).fingerprint
        return Hidden(f"key and certificate, signed by {who}: {leaf}")

    monkeypatch.setattr("operations.certificate.controller_clock", lambda: now)
    monkeypatch.setattr(pki, "issue", issue)
    monkeypatch.setattr(FakeState, "failed_hosts", frozenset(), raising=False)


@pytest.fixture(autouse=True)
def program_of_cases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the cases of `openbao_snapshot.*` the program is one line: it has tests of its own."""
    if getattr(request.cls, "__name__", "").startswith("operations_openbao_snapshot_"):
        monkeypatch.setattr("operations.openbao_snapshot.PROGRAM_TEXT", "print('a snapshot')\n")


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kube_server.Server]:
    """A Kubernetes API with etcd behind it; a test takes a namespace of its own."""
    with kube_server.kubernetes(tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture(scope="session")
def kube_endpoint(kube: kube_server.Server) -> kube_server.Endpoint:
    """`@kubernetes/…` on it."""
    return kube_server.Endpoint(kube)
