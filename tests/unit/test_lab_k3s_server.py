"""The lab's K3s as one server: what K3s promises of its files, commands and ports holds for what stands in for it.

K3s' ports are fixed, so it runs in a network of its own, without a way out.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit import k3s_program

ADDRESS = "10.79.255.1"
READY_WITHIN_S = 120
ASKED_WITHIN_S = 60
SECRET = "a value that nobody may read on the disk"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=ASKED_WITHIN_S).stdout


@dataclass
class Server:
    """One that answers."""

    network: str
    binary: Path
    data: Path

    def inside(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.network, *command)

    def k3s(self, *command: str) -> str:
        """One of K3s' commands, which asks the server."""
        return self.inside(str(self.binary), *command, "--data-dir", str(self.data))

    def kubectl(self, *command: str) -> str:
        """As the operator whom the server made a kubeconfig for."""
        return self.inside(str(self.binary), "kubectl", "--kubeconfig", str(self.data / "k3s.yaml"), *command)

    def etcd(self, path: str, **asked: Any) -> Any:
        """etcd's own answer, asked with the certificates that K3s keeps for that."""
        tls = self.data / "server" / "tls" / "etcd"
        pair = ("--cacert", f"{tls}/server-ca.crt", "--cert", f"{tls}/client.crt", "--key", f"{tls}/client.key")
        return json.loads(self.inside("curl", "-sS", *pair, f"https://127.0.0.1:2382{path}", "-d", json.dumps(asked)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("k3s")
    network = f"k3s-{os.getpid()}"
    run("ip", "netns", "add", network)
    try:
        run("ip", "-n", network, "link", "set", "lo", "up")
        run("ip", "-n", network, "address", "add", f"{ADDRESS}/32", "dev", "lo")
        yield from serving(Server(network, k3s_program.k3s(), folder / "data"), folder)
    finally:
        run("ip", "netns", "delete", network)


def heard(told: socket.socket, process: subprocess.Popen[bytes]) -> bytes:
    """What it says first; nothing if it ends before that, or says nothing in time."""
    for _ in range(READY_WITHIN_S):
        with suppress(TimeoutError):
            return told.recv(100)
        if process.poll() is not None:
            break
    return b""


def serving(server: Server, folder: Path) -> Iterator[Server]:
    """Until it has told systemd, as it were, that it is ready; at the end it is stopped as systemd stops it."""
    (folder / "config.yaml").write_text(
        f"cluster-init: true\nnode-name: srv-1\nnode-ip: {ADDRESS}\ntoken: the-token\nsecrets-encryption: true\n"
        f"disable-agent: true\ndata-dir: {server.data}\nwrite-kubeconfig: {server.data}/k3s.yaml\n"
    )
    command = ["ip", "netns", "exec", server.network, str(server.binary), "server", f"--config={folder}/config.yaml"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, (folder / "log").open("w") as log:
        told.bind(str(folder / "notify"))
        told.settimeout(1)
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        with subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
            try:
                assert heard(told, process) == b"READY=1", (folder / "log").read_text()[-2000:]
                yield server
            finally:
                process.send_signal(signal.SIGTERM)
        assert process.returncode == 0, (folder / "log").read_text()[-2000:]


def test_it_says_that_it_stands_in(server: Server) -> None:
    assert run(str(server.binary), "--version").startswith("k3s version v1.34.4+standin (")
    assert json.loads(server.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"] == "v1.34.4+standin"


def test_the_api_is_ready_with_its_etcd_and_closed_to_strangers(server: Server) -> None:
    checks = server.kubectl("get", "--raw", "/readyz?verbose").splitlines()
    assert {"[+]etcd ok", "[+]etcd-readiness ok"} < set(checks)
    assert (
        server.inside("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:6443/readyz") == "401"
    )
    assert server.inside("curl", "-sk", "https://127.0.0.1:6443/ping") == "pong"


def test_the_service_leads_to_the_port_in_front(server: Server) -> None:
    [found] = json.loads(server.kubectl("get", "endpointslices", "-o", "json"))["items"]
    assert (found["endpoints"][0]["addresses"], found["ports"][0]["port"]) == ([ADDRESS], 6443)


def test_the_token_names_the_authority_and_the_secret(server: Server) -> None:
    authority = (server.data / "server" / "tls" / "server-ca.crt").read_bytes()
    token = (server.data / "server" / "token").read_text().strip()
    assert token == f"K10{hashlib.sha256(authority).hexdigest()}::server:the-token"
    assert (server.data / "server" / "node-token").read_text().strip() == token
    assert (server.data / "server" / "token").stat().st_mode & 0o777 == 0o600


def test_a_wrong_token_joins_nothing(server: Server) -> None:
    asked = (
        "curl",
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "https://127.0.0.1:6443/v1-k3s/server-bootstrap",
        "-u",
    )
    assert server.inside(*asked, "server:another") == "401"
    assert server.inside(*asked, "node:the-token") == "401"
    assert server.inside(*asked, "server:the-token") == "200"


def test_a_secret_is_ciphertext_in_etcd(server: Server) -> None:
    server.kubectl("create", "secret", "generic", "hidden", f"--from-literal=value={SECRET}")
    [found] = server.etcd("/v3/kv/range", key=b64encode(b"/registry/secrets/default/hidden").decode())["kvs"]
    kept = b64decode(found["value"])
    assert kept.startswith(b"k8s:enc:aescbc:v1:aescbckey:")
    assert SECRET.encode() not in kept
    read = json.loads(server.kubectl("get", "secret", "hidden", "-o", "json"))["data"]["value"]
    assert b64decode(read).decode() == SECRET


def test_etcd_has_one_voter_under_the_nodes_name(server: Server) -> None:
    [member] = server.etcd("/v3/cluster/member/list")["members"]
    assert member["name"] == (server.data / "server" / "db" / "etcd" / "name").read_text()
    assert member["name"].startswith("srv-1-")
    assert "isLearner" not in member
    checks = server.inside("curl", "-sS", "http://127.0.0.1:2381/readyz?verbose")
    assert "[+]non_learner ok" in checks.splitlines()


def test_a_snapshot_is_recorded_with_the_hash_of_its_token(server: Server) -> None:
    said = server.k3s("etcd-snapshot", "save", "--name", "drill")
    name = said.removeprefix("Snapshot ").removesuffix(" saved.\n")
    found = json.loads(server.k3s("etcd-snapshot", "ls", "-o", "json"))
    [record] = [one for one in found["items"] if one["spec"]["snapshotName"] == name]
    hashes = record["metadata"]["annotations"]
    assert hashes == {"etcd.k3s.cattle.io/snapshot-token-hash": hashlib.sha256(b"the-token").hexdigest()[:12]}
    path = Path(record["spec"]["location"].removeprefix("file://"))
    assert path == server.data / "server" / "db" / "snapshots" / name
    assert record["status"]["size"] == str(path.stat().st_size)
    assert server.k3s("etcd-snapshot", "delete", name) == f"Snapshot {name} deleted.\n"
    assert not path.exists()
    left = json.loads(server.k3s("etcd-snapshot", "ls", "-o", "json"))["items"]
    assert name not in [one["spec"]["snapshotName"] for one in left]


def test_the_state_of_encryption_and_certificates_is_told_as_json(server: Server) -> None:
    status = json.loads(server.k3s("secrets-encrypt", "status", "-o", "json"))
    assert status == {"stage": "start", "activekey": "AES-CBC aescbckey", "enable": True, "hashmatch": True}
    certificates = json.loads(server.k3s("certificate", "check", "--output", "json"))["Certificates"]
    assert {"client-admin.crt", "serving-kube-apiserver.crt", "peer-server-client.crt"} < {
        one["Filename"] for one in certificates
    }
    assert {one["Status"] for one in certificates} == {"OK"}
