"""A real kube-apiserver on a real etcd on loopback, for tests: certificates of the run itself, stopped by process.

The program is the one that servers run too (`k3s`): it has etcd, kube-apiserver and kube-controller-manager in it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyinfra.api import StringCommand
from pyinfra.api.state import StateStage

from tests.unit import k3s_program
from tests.unit.s3_server import free_ports
from unterbau.connectors.endpoint import NotThereError
from unterbau.connectors.kubernetes import KubernetesConnector
from unterbau.connectors.tunnel import connect_directly, session, tls_context

STARTS_WITHIN_S = 90
CONTROLLERS = (
    "garbage-collector-controller,namespace-controller,serviceaccount-controller,"
    "certificatesigningrequest-signing-controller,clusterrole-aggregation-controller"
)


@dataclass
class Authority:
    """Signs certificates of servers and clients."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests of kubernetes")])
        built = _builder(name, key.public_key()).issuer_name(name)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(key, built.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, user: str, group: str = "") -> str:
        """Key and certificate (PEM) of a server on loopback, or of a user."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
        built = _builder(x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)]), key.public_key())
        built = built.issuer_name(self.certificate.subject)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        built = built.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        names_of = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        built = built.add_extension(names_of, critical=False)
        signed = built.sign(self.key, hashes.SHA256())
        return _pem(key) + signed.public_bytes(serialization.Encoding.PEM).decode()


def _builder(subject: x509.Name, key: Any) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(x509.random_serial_number())
    return built.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(encoding, shape, serialization.NoEncryption()).decode()


@dataclass
class Server:
    """One that runs."""

    port: int
    authority: Authority
    admin: str  # key and certificate, PEM
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def session(self, client: str | None = None) -> requests.Session:
        return session(connect_directly, tls_context([self.authority.pem], client or self.admin))

    def call(self, method: str, path: str, body: Any = None, manager: str = "kubectl-edit", **more: Any) -> Any:
        """As somebody else does it, by hand: with another field manager."""
        kind = {"PATCH": "application/merge-patch+json", "APPLY": "application/apply-patch+yaml"}
        headers = {"Content-Type": more.pop("content_type", kind.get(method, "application/json"))}
        with self.session() as http:
            answer = http.request(
                "PATCH" if method == "APPLY" else method, self.url + path, json=body, headers=headers,
                params={"fieldManager": manager, **more} if method != "GET" else more,
            )  # fmt: skip
            assert answer.ok, answer.text
            return answer.json()

    def kubectl(self, *arguments: str) -> str:
        """What people type."""
        command = [str(self.folder / "k3s"), "kubectl", f"--kubeconfig={self.folder / 'kubeconfig'}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, path: str) -> Any:
        """None if absent."""
        with self.session() as http:
            answer = http.get(self.url + path)
            return None if answer.status_code == 404 else answer.json()


@contextmanager
def kubernetes(folder: Path) -> Iterator[Server]:
    """etcd, the API and the controllers that finish deletions; their logs are in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    binary, authority = folder / "k3s", Authority.new()  # it does what it is called by
    binary.symlink_to(k3s_program.k3s())
    port, clients, peers, controllers = free_ports(4)
    admin = authority.issue("admin", "system:masters")
    for name, text in {"ca.crt": authority.pem, "admin.pem": admin, "server.pem": authority.issue("api")}.items():
        (folder / name).write_text(text)
    (folder / "accounts.key").write_text(_pem(authority.key))
    (folder / "kubeconfig").write_text(_kubeconfig(folder, port))
    store, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    commands = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={store}", f"--advertise-client-urls={store}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            f"--etcd-servers={store}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
            f"--secure-port={port}", f"--tls-cert-file={folder / 'server.pem'}",
            f"--tls-private-key-file={folder / 'server.pem'}", f"--client-ca-file={folder / 'ca.crt'}",
            f"--service-account-key-file={folder / 'accounts.key'}", "--service-cluster-ip-range=10.43.0.0/24",
            f"--service-account-signing-key-file={folder / 'accounts.key'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", "--anonymous-auth=false",
            "--allow-privileged=true",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={folder / 'kubeconfig'}", "--leader-elect=false", f"--controllers={CONTROLLERS}",
            f"--secure-port={controllers}", "--bind-address=127.0.0.1",
            f"--cluster-signing-cert-file={folder / 'ca.crt'}",
            f"--cluster-signing-key-file={folder / 'accounts.key'}",
        ],
    }  # fmt: skip
    server = Server(port, authority, admin, folder, {})
    with ExitStack() as stack:
        for name, arguments in commands.items():
            server.processes[name] = stack.enter_context(_running(folder, name, [str(binary), name, *arguments]))
            if name == "kube-apiserver":
                awaited(lambda: ready(server), server.processes[name], folder / f"{name}.log")
        yield server


def _kubeconfig(folder: Path, port: int) -> str:
    return f"""apiVersion: v1
kind: Config
clusters: [{{name: it, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {folder}/ca.crt}}}}]
users: [{{name: it, user: {{client-certificate: {folder}/admin.pem, client-key: {folder}/admin.pem}}}}]
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
current-context: it
"""


@contextmanager
def _running(folder: Path, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()  # what it holds is nobody's
        process.wait()


def ready(server: Server) -> bool:
    try:
        with server.session() as http:
            return http.get(server.url + "/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def awaited(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(STARTS_WITHIN_S * 10):
        if condition():
            return
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        gevent.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


class Endpoint:
    """`@kubernetes/…` on a server, as pyinfra has it, without an inventory and without nodes in between."""

    def __init__(self, server: Server, **state: Any) -> None:
        self.unguarded, self.there, self._server = False, True, server
        one = object.__new__(KubernetesConnector)
        data = SimpleNamespace(kubernetes=SimpleNamespace(members="servers", port=server.port))
        one.host = SimpleNamespace(name="kubernetes", print_prefix="[kubernetes] ", data=data)  # type: ignore[assignment]
        inventory = SimpleNamespace(get_group=lambda _name: [])
        stage = {"current_stage": StateStage.Execute, "inventory": inventory, "ops": {}, "op_meta": {}, **state}
        one.state = SimpleNamespace(**stage)  # type: ignore[assignment]
        one._way = lambda: self  # type: ignore[method-assign]
        one._keyring = lambda: SimpleNamespace(keyed_hash=keyed_hash)  # type: ignore[method-assign,assignment,return-value]
        self.connector = one

    def url(self, patience_s: float) -> str:
        if not self.there:
            raise NotThereError("cannot reach the Kubernetes API: no server answers")
        return self._server.url

    def session(self) -> requests.Session:
        return self._server.session()

    def answers(self) -> bool:
        return self.there

    def roots(self) -> str:
        return self._server.authority.pem

    def forget(self) -> None:
        """Tests renew nothing."""

    def lock(self, holder: str) -> None:
        """Nobody else is here."""

    def close(self) -> None:
        """Nothing is held."""

    def ran(self, command: str | StringCommand) -> tuple[bool, str]:
        """(whether it was done, what was said)."""
        text = command if isinstance(command, StringCommand) else StringCommand(command)
        done, output = self.connector.run_shell_command(text)
        return done, output.output


def keyed_hash(purpose: str, text: str) -> str:
    """As the keyring's, with a key of the tests."""
    return hmac.new(b"tests", f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
